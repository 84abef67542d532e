"""A second implementation, written from docs/spec alone, against a real host and against the vectors."""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nacl.signing import SigningKey
from tests.acceptance.conftest import Mesh, Node

from kit.marker import MARKER

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "spec_client.py"
VECTORS = ROOT / "testvectors"
PROMPT = f"why is the sky blue, and café 日本 too? {MARKER}"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spec_client", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["spec_client"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


example = load()


# --- against a real host ----------------------------------------------------------------------------------------------


process = pytest.mark.process
together = pytest.mark.xdist_group("spec-client")


@pytest.fixture(scope="module")
def host(shared_mesh: Mesh) -> Node:
    return shared_mesh.host("--backend", "echo:")


def ask(ticket: str, prompt: str = PROMPT, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *arguments, prompt]
    return subprocess.run(
        command, input=ticket, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )


@process
@together
def test_it_gets_an_answer_with_an_authenticated_end(host: Node) -> None:
    done = ask(host.ticket)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PROMPT + "\n"
    assert done.stderr == f"sealed with xwing to {host.endpoint_id[:12]} (self-asserted), authentic to the end\n"


@process
@together
def test_a_long_prompt_in_several_frames_arrives_whole(host: Node) -> None:
    prompt = " ".join(str(number) for number in range(15_000))
    done = ask(host.ticket, prompt)
    assert done.returncode == 0, done.stderr
    assert done.stdout == prompt + "\n"


@process
@together
def test_it_remembers_the_best_suite_and_takes_no_weaker_one(host: Node, tmp_path: Path) -> None:
    memory = tmp_path / "seen.json"
    assert ask(host.ticket, PROMPT, "--memory", str(memory)).returncode == 0
    assert json.loads(memory.read_text()) == {host.endpoint_id: 2}
    memory.write_text(json.dumps({host.endpoint_id: 3}))  # as if it had offered a better one before
    done = ask(host.ticket, PROMPT, "--memory", str(memory))
    assert done.returncode == 1
    assert done.stderr == "refused: suite: weaker than what this host has offered before\n"
    assert done.stdout == ""


@process
@together
def test_a_mistyped_ticket_is_refused_before_anything_is_sent(host: Node) -> None:
    swapped = host.ticket[:40] + ("a" if host.ticket[40] != "a" else "b") + host.ticket[41:]
    done = ask(swapped)
    assert done.returncode == 1
    assert done.stderr == "refused: ticket_mistyped\n"
    assert swapped[20:60] not in done.stderr


@process
@together
def test_a_ticket_of_another_mesh_is_refused_by_the_host(host: Node) -> None:
    done = ask(ticket_of_another_mesh(host))
    assert done.returncode == 1
    assert done.stderr == "refused: wrong_mesh: says the other side\n"
    assert done.stdout == ""


def ticket_of_another_mesh(host: Node) -> str:
    """A ticket in order, with this host's address, by an issuer that the host does not know."""
    known = example.Ticket.parse(host.ticket)
    issuer, bearer, put = SigningKey.generate(), SigningKey.generate(), example.put
    now = int(time.time())
    mesh = example.mesh_id(bytes(issuer.verify_key))
    grant = put(1, 1) + put(2, mesh) + put(3, b"s" * 16) + put(4, 1) + put(5, now) + put(6, now + 600)
    grant += put(7, bytes(bearer.verify_key))
    signed = put(1, grant) + put(2, issuer.sign(b"sealmesh/1 grant\0" + grant).signature)
    ticket = put(1, bytes(issuer.verify_key)) + put(2, signed) + put(3, bytes(bearer)) + put(4, known.inviter)
    ticket += b"".join(put(5, address) for address in known.addresses)
    text = base64.b32encode(ticket + hashlib.sha256(b"sealmesh/1 ticket\0" + ticket).digest()[:4]).decode()
    return "sealmesh1" + text.rstrip("=").lower()


# --- it stands alone --------------------------------------------------------------------------------------------------


def test_it_imports_nothing_of_sealmesh() -> None:
    tree = ast.parse(EXAMPLE.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names
    assert not [name for name in names if name.partition(".")[0] == "sealmesh"]


# --- against the vectors ----------------------------------------------------------------------------------------------


def vectors(folder: str, *kinds: str) -> list[Any]:
    found = []
    for path in sorted((VECTORS / folder).glob("*.json")):
        vector = json.loads(path.read_text())
        if vector.get("kind", "") in kinds and "expected" in vector:
            found.append(pytest.param(vector, id=path.stem))
    assert found
    return found


def refusal(call: Callable[[], object]) -> str | None:
    """The id under which it refuses, or None."""
    try:
        call()
    except example.Refused as refused:
        return refused.ident
    return None


raw = bytes.fromhex


@pytest.mark.parametrize("vector", vectors("admission", "ticket"))
def test_tickets(vector: dict[str, Any]) -> None:
    assert refusal(lambda: example.Ticket.parse(vector["ticket"])) == vector["expected"]["failure"]


@pytest.mark.parametrize("vector", vectors("admission", "admission"))
def test_credentials(vector: dict[str, Any]) -> None:
    members = example.Membership.of(raw(vector["issuer"]))
    for successor in vector.get("successors", []):
        members.take_successor(raw(successor))
    for revocations in vector.get("revocations", []):
        members.take_revocations(raw(revocations), vector["now"])
    judged = refusal(lambda: members.judge(raw(vector["credentials"]), raw(vector["proven_id"]), vector["now"]))
    assert judged == vector["expected"]["failure"]


@pytest.mark.parametrize("vector", vectors("admission", "revocations"))
def test_lists_of_revocations(vector: dict[str, Any]) -> None:
    members, failures, in_force = example.Membership.of(raw(vector["issuer"])), [], None
    for successor in vector["successors"]:
        members.take_successor(raw(successor))
    for index, offered in enumerate(vector["offered"]):
        before = members.revoked
        failures.append(refusal(functools.partial(members.take_revocations, raw(offered), vector["now"])))
        in_force = in_force if members.revoked == before else index
    assert (failures, in_force) == (vector["expected"]["failures"], vector["expected"]["in_force"])


@pytest.mark.parametrize("vector", vectors("records", "summary", "keys"))
def test_records(vector: dict[str, Any]) -> None:
    reader = example.read_summary if vector["kind"] == "summary" else example.read_keys_part
    assert refusal(lambda: reader(raw(vector["data"]), vector["now"])) == vector["expected"]["failure"]


@pytest.mark.parametrize("vector", vectors("statements", "live"))
def test_live_answers(vector: dict[str, Any]) -> None:
    epoch = example.put(1, raw(vector["epoch_statement"])) + example.put(2, raw(vector["epoch_signature"]))

    def judge() -> Any:
        return example.judge_live(
            endpoint_id=raw(vector["endpoint_id"]),
            verifier_id=raw(vector["verifier_id"]),
            nonce=raw(vector["nonce"]),
            statement=raw(vector["host_statement"]),
            envelope=raw(vector["envelope"]),
            path=raw(vector["path"]),
            epochs=[epoch],
            now=vector["now_ms"] / 1000,
        )

    assert refusal(judge) == vector["expected"]["failure"]
    if vector["expected"]["failure"] is None:
        assert judge().tier == vector["expected"]["tier"]


@pytest.mark.parametrize("vector", vectors("statements", "answer"))
def test_answers_to_a_challenge(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    refused = refusal(lambda: example.read_answer(raw(vector["message"]))) is not None
    # A keys part, a refusal and an activated secret are well-formed answers, but none to a challenge.
    others = {"refused", "keys", "activated"}
    assert refused == (expected["failure"] is not None or not others.isdisjoint(expected))


@pytest.mark.parametrize("vector", [one for one in vectors("sealed", "") if "response" in one.values[0]])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_sealed_answers(vector: dict[str, Any], size: int) -> None:
    opening = example.Opening(raw(vector["derived"]["response_key"]))
    events: list[Any] = []

    def read() -> None:
        data = raw(vector["response"])
        for at in range(0, len(data), size):
            events.extend(opening.receive(data[at : at + size]))
        opening.end()

    assert (refusal(read) is not None) == (vector["expected"]["failure"] is not None)
    if size == 1:  # then everything before a failure has been released
        assert joined(events) == [simple(event) for event in vector["expected"]["released"]]


def joined(events: list[Any]) -> list[Any]:
    """Events as the vectors have them, adjacent bodies as one; an error by its status alone."""
    out: list[Any] = []
    for name, value in events:
        if name == "begun":
            continue
        if name == "body" and out and "body" in out[-1]:
            out[-1] = {"body": out[-1]["body"] + value.hex()}
        elif name == "body":
            out.append({"body": value.hex()})
        elif name == "error":
            out.append({"error": int(value.split()[0])})
        else:
            out.append(name if name == "ping" else {name: list(value) if isinstance(value, tuple) else value})
    return out


def simple(event: Any) -> Any:
    return {"error": event["error"][0]} if isinstance(event, dict) and "error" in event else event


@pytest.mark.parametrize("suite", ["x25519", "xwing"])
def test_key_schedule(suite: str) -> None:
    vector = json.loads((VECTORS / "sealed" / f"{suite}-request.json").read_text())
    derived = vector["derived"]
    keys = example.stream_keys(*(raw(derived[name]) for name in ("secret", "context", "encapsulation")))
    assert [key.hex() for key in keys] == [derived["request_key"], derived["response_key"]]
    epoch = example.Epoch(
        raw(vector["host"]["epoch_digest"]), 1, 0.0, 1.0, {vector["suite"]: raw(vector["host"]["public"])}
    )
    sealing = example.Sealing(raw(vector["host"]["endpoint_id"]), epoch, vector["suite"])
    assert sealing.opening[:13] == raw(vector["request"])[:13]
