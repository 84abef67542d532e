"""`--require-attested-hosts` by real processes over QUIC, with emulated TPMs of a CA that the policy names, or not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from tests.acceptance.attested import PROMPT, ask, ask_until, failed, host_with, policy_file
from tests.acceptance.conftest import Mesh, wait_until_usable

from kit.swtpm import SoftwareTpm
from sealmesh.cli.processes import NodeProcess

pytestmark = [pytest.mark.process, pytest.mark.swtpm, pytest.mark.xdist_group("attested")]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/attestation.schema.json").read_text())


def test_one_good_host_works_until_its_chip_is_stopped(mesh: Mesh, two_tpms: list[SoftwareTpm]) -> None:
    """The scenario of the seed, and both sides of the policy's roots."""
    tpm, _ = two_tpms
    good = host_with(mesh, tpm)
    soft = mesh.host("--backend", "echo:", ticket=good.ticket)
    roots = tpm.authority.roots
    trusting = mesh.client(
        good.ticket,
        "--require-attested-hosts",
        "--policy",
        str(policy_file(mesh.root / "trusting.toml", roots, max_age=4)),
        record=True,
    )
    wait_until_usable(trusting, "echo")

    # The chat works, by the good host only, and says what that host is.
    for _ in range(4):
        answer = ask(trusting)
        assert answer.status_code == 200
        assert answer.headers["x-sealmesh-host"] == good.endpoint_id
        assert answer.headers["x-sealmesh-tier"] == "hardware-rooted"
    peers = {peer["endpoint_id"]: peer for peer in trusting.status()["peers"]}
    assert peers[good.endpoint_id]["refused"] == []
    assert any("vendor_chain: no hardware vendor" in one for one in peers[soft.endpoint_id]["refused"])

    # Who does not name the CA refuses both, for what each lacks.
    stranger = mesh.client(
        good.ticket, "--require-attested-hosts", "--policy", str(policy_file(mesh.root / "strange.toml")), record=True
    )
    error = ask_until(stranger, "no_attested_host")
    assert failed(error, good)["vendor_chain"] == "fail"
    assert failed(error, soft)["vendor_chain"] == "absent"
    assert mesh.sealed_streams(stranger) == 0

    # Without the flag the same mesh works, and the header says the tier.
    lenient = mesh.client(good.ticket)
    wait_until_usable(lenient, "echo")
    assert ask(lenient).headers["x-sealmesh-tier"] == "self-asserted"

    # Its chip is stopped: out by the rules, and nothing is sent any more.
    tpm.stop()
    error = ask_until(trusting, "no_attested_host")
    assert failed(error, good)["freshness"] == "fail"
    assert "it can make no evidence now" in error["refused"][good.endpoint_id]
    sent = mesh.sealed_streams(trusting)
    assert ask(trusting).status_code == 403
    assert mesh.sealed_streams(trusting) == sent
    for client in (trusting, stranger):
        assert PROMPT.encode() not in mesh.recorded(client)
    # And in again with its chip, which is the one that it was.
    tpm.start()
    wait_until_usable(trusting, "echo")
    assert ask(trusting).headers["x-sealmesh-tier"] == "hardware-rooted"


def trust(home: Path, *arguments: str) -> tuple[int, Any, str]:
    """`sealmesh trust … --json`: the exit code, what it printed, and its words."""
    done = subprocess.run(
        [sys.executable, "-m", "sealmesh", "trust", *arguments, "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_pins_outlive_the_process_and_a_change_counts_at_once(mesh: Mesh, two_tpms: list[SoftwareTpm]) -> None:
    tpm, _ = two_tpms
    meeting = mesh.host("--backend", "echo:?name=elsewhere")  # where a host that was started anew finds its mesh
    host = host_with(mesh, tpm, meeting.ticket)
    policy = policy_file(mesh.root / "policy.toml", tpm.authority.roots)
    policy.write_text('on_first_use = "pin"\n' + policy.read_text())
    arguments = ["--require-attested-hosts", "--policy", str(policy), "--port", "0"]
    client = mesh.client(meeting.ticket, *arguments)
    wait_until_usable(client, "echo")
    shown = host.status()["hardware_key"]
    assert len(shown) == 64
    # First use, because the policy says so; then by hand, the same key.
    _, pins, _ = trust(client.home, "list")
    assert [(pin["endpoint_id"], pin["fingerprint"], pin["by"]) for pin in pins] == [
        (host.endpoint_id, shown, "first-use")
    ]
    # The host's process ends and another begins, with keys of its own and the same chip: the pin holds.
    assert host.process.stop() == 0
    host = mesh.restart(host, "serve", "--backend", "echo:", "--tpm", str(tpm.path))
    assert host.status()["hardware_key"] == shown
    ask_until(client, "none")
    assert trust(client.home, "list")[1] == pins
    code, pin, _ = trust(client.home, "add", host.endpoint_id[:12])
    assert (code, pin["fingerprint"], pin["by"]) == (0, shown, "hand")
    wait_until_usable(client, "echo")
    # What was checked, for programs.
    listing = httpx.get(f"{client.api_url}/v1/mesh/attestation/echo", timeout=10).json()
    jsonschema.validate(listing, SCHEMA)
    (entry,) = listing["data"]
    assert (entry["usable"], entry["tier"], entry["fingerprint"]) == (True, "hardware-rooted", shown)
    assert entry["meaning"].endswith("its owner can read prompts")
    assert {one["id"]: one["status"] for one in entry["factors"]}["pin"] == "pass"
    assert entry["evidence_digest"] == ask(client).headers["x-sealmesh-evidence"]
    # Another key than the host's: refused from the next request on, and it says which is which.
    assert trust(client.home, "add", host.endpoint_id, "ab" * 32)[0] == 0
    assert ask(client).status_code in (403, 503)
    error = ask_until(client, "no_attested_host")
    assert failed(error, host)["pin"] == "fail"
    assert f"{'ab' * 32} is pinned, it showed {shown}" in error["refused"][host.endpoint_id]
    # The process ends and another begins on the same home: the pin is there, without a node too, and holds.
    assert client.process.stop() == 0
    assert [pin["fingerprint"] for pin in trust(client.home, "list")[1]] == ["ab" * 32]
    with NodeProcess("client", home=client.home, arguments=arguments) as second:
        ready = second.wait_for("ready")
        again = replace(client, process=second, api_url=ready["api_url"], console_url=ready["console_url"])
        assert failed(ask_until(again, "no_attested_host"), host)["pin"] == "fail"
        assert trust(client.home, "remove", host.endpoint_id)[0] == 0
        wait_until_usable(again, "echo")
        assert trust(client.home, "list")[1][0]["by"] == "first-use"
    assert trust(client.home, "remove", host.endpoint_id)[0] == 0
    code, _, words = trust(client.home, "remove", host.endpoint_id)
    assert (code, "No pin is held" in words) == (1, True)


def test_a_node_says_at_the_start_what_the_flag_does_and_does_not(mesh: Mesh) -> None:
    host = mesh.host("--backend", "echo:", "--require-attested-hosts")
    said = " ".join(str(event.get("message")) for event in host.process.seen)
    assert "hosts must prove what they are" in said
    assert "does not stop their owners" in said
    assert "=confidential does more" in said
