"""Checks of the network: ports that are really tried, and a firewall that is not guessed at."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from sealmesh.config.settings import Mode, Settings
from sealmesh.doctor.checks import Check, Verdict
from sealmesh.doctor.network import check_firewall, check_ipv6_socket, check_peer_paths, check_port_free, check_ports

KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])


def port(number: int, kind: int, *, running: bool = False) -> Check:
    return check_port_free("p", "127.0.0.1", number, kind=kind, flag="--port", running=running)


@KINDS
def test_a_taken_port_is_a_problem_unless_the_node_has_it(kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        number = holder.getsockname()[1]
        found = port(number, kind)
        assert found.verdict is Verdict.PROBLEM
        assert "--port" in found.advice
        assert port(number, kind, running=True).verdict is Verdict.OK
    assert port(number, kind).verdict is Verdict.OK
    assert port(number, kind, running=True).verdict is Verdict.WARNING


def test_port_0_is_any(tmp_path: Path) -> None:
    assert port(0, socket.SOCK_STREAM).verdict is Verdict.OK
    settings = Settings(mode=Mode.SERVE, home=tmp_path, port=0, console_port=0, bind="[::1]:0")
    assert [one.id for one in check_ports(settings, last_udp=0, running=False)] == [
        "api_port",
        "console_port",
        "quic_port",
    ]
    headless = Settings(mode=Mode.SERVE, home=tmp_path, port=0, headless=True)
    assert [one.id for one in check_ports(headless, last_udp=0, running=False)] == ["api_port", "quic_port"]


def test_an_ipv6_socket_is_tried() -> None:
    assert check_ipv6_socket().verdict in (Verdict.OK, Verdict.WARNING)


def firewall(tmp_path: Path, **answers: tuple[int, str]) -> Check:
    def run(command: Sequence[str]) -> tuple[int, str] | None:
        return answers.get(command[0])

    return check_firewall(run, tmp_path)


def test_nothing_there_is_not_called_open(tmp_path: Path) -> None:
    assert firewall(tmp_path).verdict is Verdict.UNKNOWN


def test_rules_that_cannot_be_read_are_not_judged(tmp_path: Path) -> None:
    found = firewall(tmp_path, nft=(1, ""), iptables=(4, ""))
    assert found.verdict is Verdict.UNKNOWN
    assert "root" in found.advice


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ("-P INPUT DROP\n", Verdict.WARNING),
        ("-P INPUT ACCEPT\n", Verdict.OK),
        ("-P INPUT ACCEPT\n-A INPUT -p udp -j DROP\n", Verdict.UNKNOWN),
    ],
)
def test_rules_of_iptables(rules: str, verdict: Verdict, tmp_path: Path) -> None:
    assert firewall(tmp_path, iptables=(0, rules)).verdict is verdict


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ("chain input {\n type filter hook input priority 0; policy drop;\n", Verdict.WARNING),
        ("chain input {\n type filter hook input priority 0; policy accept;\n", Verdict.UNKNOWN),
        ("", Verdict.OK),
    ],
)
def test_rules_of_nft(rules: str, verdict: Verdict, tmp_path: Path) -> None:
    assert firewall(tmp_path, nft=(0, rules)).verdict is verdict


def test_ufw_is_seen(tmp_path: Path) -> None:
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    assert "ufw allow" in firewall(tmp_path).advice


@pytest.mark.parametrize(("said", "verdict"), [("disabled", Verdict.OK), ("enabled", Verdict.WARNING)])
def test_the_firewall_of_a_mac(said: str, verdict: Verdict, tmp_path: Path) -> None:
    assert firewall(tmp_path, socketfilterfw=(0, f"Firewall is {said}.")).verdict is verdict


def test_the_ways_to_peers() -> None:
    def peer(path: str, connected: bool) -> dict[str, object]:
        return {"path": path, "connected": connected}

    assert check_peer_paths(None).verdict is Verdict.UNKNOWN
    assert check_peer_paths({"peers": []}).verdict is Verdict.UNKNOWN
    assert check_peer_paths({"peers": [peer("", False)]}).verdict is Verdict.PROBLEM
    found = check_peer_paths({"peers": [peer("direct", True), peer("relayed", True), peer("", False)]})
    assert found.found == "1 direct, 1 not connected, 1 relayed"
    assert check_peer_paths({"peers": "odd"}).verdict is Verdict.UNKNOWN
