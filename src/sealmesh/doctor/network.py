"""Set-up checks of the network: ports, IPv6, firewall, and how peers are reached. Nothing is sent anywhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sealmesh.config.settings import Settings
from sealmesh.doctor.checks import Check, ok, problem, unknown, warning

_TIMEOUT_S: Final = 5.0
#: Runs a command of the system; gives its exit status and output, or None where there is no such command.
Run = Callable[[Sequence[str]], tuple[int, str] | None]


def check_port_free(name: str, address: str, port: int, *, kind: int, flag: str, running: bool) -> Check:
    """Whether a port can be taken.

    Args:
        name: Of the check.
        address: An address literal.
        port: 0 picks a free one.
        kind: `SOCK_STREAM` or `SOCK_DGRAM`.
        flag: What chooses another one.
        running: Whether a node runs on this home, which has the port then.
    """
    shown = f"{'TCP' if kind == socket.SOCK_STREAM else 'UDP'} {address} port {port}"
    if port == 0:
        return ok(name, "a free port is picked at each start")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, kind) as tried:
            if kind == socket.SOCK_STREAM:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node does
            tried.bind((address, port))
    except OSError as error:
        if running:
            return ok(name, f"{shown} is taken, as it should be: a node runs on this home")
        why = os.strerror(error.errno) if error.errno else str(error)
        return problem(name, f"{shown} cannot be taken: {why}", f"end what has it, or choose another with {flag}")
    if running:
        return warning(name, f"{shown} is free although a node runs on this home", "it was started with other ports")
    return ok(name, f"{shown} is free")


def check_ports(settings: Settings, *, last_udp: int, running: bool) -> list[Check]:
    """The ports that a node with these settings takes.

    Args:
        settings: As the home and the environment make them.
        last_udp: The UDP port that the node had last; 0 for none.
        running: Whether a node runs on this home.
    """
    address, port = "0.0.0.0", last_udp  # noqa: S104 - where the node listens for members
    if settings.bind is not None:
        address, _, number = settings.bind.rpartition(":")
        address, port = address.strip("[]"), int(number)
    found = [
        check_port_free(
            "api_port", settings.listen, settings.port, kind=socket.SOCK_STREAM, flag="--port", running=running
        ),
        check_port_free("quic_port", address, port, kind=socket.SOCK_DGRAM, flag="--bind", running=running),
    ]
    if not settings.headless:
        found.insert(
            1,
            check_port_free(
                "console_port",
                "127.0.0.1",
                settings.console_port,
                kind=socket.SOCK_STREAM,
                flag="--console-port",
                running=running,
            ),
        )
    return found


def check_ipv6_socket() -> Check:
    """Whether the second UDP socket, the one of IPv6, can be opened."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::", 0))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        return warning(
            "ipv6", f"no IPv6 socket ({why}): peers are reached over IPv4 only", "turn IPv6 on, if you want it"
        )
    return ok("ipv6", "an IPv6 socket can be opened; a node opens one beside the IPv4 one, on a port of its own")


def run_command(command: Sequence[str]) -> tuple[int, str] | None:
    """Run a program of the system; those of firewalls often lie outside of an ordinary user's path."""
    found = shutil.which(command[0]) or shutil.which(
        command[0], path="/usr/sbin:/sbin:/usr/libexec/ApplicationFirewall"
    )
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *command[1:]], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 1, ""
    return done.returncode, done.stdout


def check_firewall(run: Run = run_command, root: Path = Path("/")) -> Check:
    """What can be seen of a firewall, and no more: whether UDP from other machines gets in is often root's to know.

    Args:
        run: Runs a command.
        root: Where `etc` is.
    """
    advice = (
        "let the node's UDP port in; `sealmesh ticket` names it. Behind a router a ticket with that address is needed"
    )
    blind = "run this as root to see its rules, and let the node's UDP port in"
    mac = run(("socketfilterfw", "--getglobalstate"))
    if mac is not None:
        if "disabled" in mac[1]:
            return ok("firewall", "the application firewall of macOS is off")
        return warning(
            "firewall", "the application firewall of macOS is on, or does not say", "allow Python or sealmesh there"
        )
    ufw = root / "etc/ufw/ufw.conf"
    try:
        if "ENABLED=yes" in ufw.read_text():
            return warning("firewall", "ufw is on; its default refuses what comes in", "sudo ufw allow PORT/udp")
    except OSError:
        pass
    answers = {name: run(command) for name, command in _ASKED.items()}
    if all(answer is None for answer in answers.values()):
        return unknown("firewall", "no tool of a firewall (nft, iptables) is here; a router or a cloud may have one")
    readable = {name: answer[1] for name, answer in answers.items() if answer is not None and answer[0] == 0}
    if not readable:
        present = ", ".join(name for name, answer in answers.items() if answer is not None)
        return unknown("firewall", f"{present} is here, and its rules cannot be read by this user", blind)
    if any(_drops_input(text) for text in readable.values()):
        return warning("firewall", "what comes in is refused unless a rule allows it", advice)
    if any(_has_rules(text) for text in readable.values()):
        return unknown(
            "firewall", "there are rules, and none refuses all that comes in; what they do to UDP is not judged"
        )
    return ok("firewall", "no rules on this machine; a router or a cloud may have some")


_ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "nft": ("nft", "list", "ruleset"),
    "iptables": ("iptables", "-S", "INPUT"),
}


def _drops_input(rules: str) -> bool:
    if any(line.startswith(("-P INPUT DROP", "-P INPUT REJECT")) for line in rules.splitlines()):
        return True
    return any("hook input" in line and "policy drop" in line for line in rules.splitlines())


def _has_rules(rules: str) -> bool:
    return any(line.startswith("-A ") for line in rules.splitlines()) or "chain " in rules


def check_peer_paths(status: Mapping[str, Any] | None) -> Check:
    """How the running node reaches the others.

    Args:
        status: `/api/status`; None where no node runs.
    """
    if status is None:
        return unknown(
            "peers", "no node runs on this home", "start one, then run this again: which ways were tried is told"
        )
    listed = status.get("peers")
    peers = [peer for peer in listed if isinstance(peer, dict)] if isinstance(listed, list) else []
    if not peers:
        return unknown("peers", "the node knows no other member yet", "give another machine a ticket: sealmesh ticket")
    ways: dict[str, int] = {}
    for peer in peers:
        way = str(peer.get("path") or "unknown") if peer.get("connected") else "not connected"
        ways[way] = ways.get(way, 0) + 1
    found = ", ".join(f"{count} {way}" for way, count in sorted(ways.items()))
    if ways.keys() == {"not connected"}:
        return problem(
            "peers",
            f"none of {len(peers)} known members is connected",
            "check the firewall of both sides, and that their addresses are still right (a new ticket has new ones)",
        )
    return ok("peers", found)
