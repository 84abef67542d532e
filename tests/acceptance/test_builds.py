"""Builds in real environments: the measurement of fresh ones, what a change does to it, a list that revokes one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node

from kit.builds import signed, trust
from kit.environments import build_wheel, make_environment
from sealmesh.attestation.builds import Build
from sealmesh.cli.bless import Addition, publish, read_measured

#: As a user has it: nothing here says how Python should run.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("builds")]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two fresh environments with the same wheel in both."""
    folder = tmp_path_factory.mktemp("builds")
    wheel = build_wheel(folder)
    return make_environment(folder / "one", wheel), make_environment(folder / "some where" / "two", wheel)


def measured(interpreter: Path) -> dict[str, object]:
    """What `sealmesh measure` says in an environment; it leaves bytecode behind."""
    command = [str(interpreter.parent / "sealmesh"), "measure", "--json"]
    run = subprocess.run(command, capture_output=True, check=True, cwd="/", env=_ENVIRONMENT)
    found: dict[str, object] = json.loads(run.stdout)
    return found


def site_of(interpreter: Path) -> Path:
    (site,) = (interpreter.parents[1] / "lib").glob("python*/site-packages")
    return site


def test_two_fresh_environments_and_after_use(environments: tuple[Path, Path]) -> None:
    first, second = environments
    fresh = measured(first)
    assert fresh["unblessed"] == []
    assert measured(second) == fresh
    assert list(site_of(first).glob("sealmesh/__pycache__/*.pyc"))
    assert measured(first) == fresh
    command = [str(second), "-m", "sealmesh", "measure", "--manifest"]
    manifest = subprocess.run(command, capture_output=True, check=True, cwd="/").stdout
    assert hashlib.sha256(manifest).hexdigest() == fresh["measurement"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("sealmesh/host/serve.py", None), ("nacl/_sodium.abi3.so", None), ("stray.py", b""), ("a.pth", b"import sys\n")],
)
def test_a_change_shows(environments: tuple[Path, Path], name: str, content: bytes | None) -> None:
    untouched, changed = environments
    path = site_of(changed) / name
    before = path.read_bytes() if path.exists() else None
    after = content if content is not None else before[:-1] + bytes([before[-1] ^ 1])  # type: ignore[index]
    path.unlink(missing_ok=True)  # it may be a link to another environment's file
    path.write_bytes(after)
    try:
        command = [str(untouched), "-I", "-c", _MEASURE, str(site_of(changed))]
        found = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
        assert found != measured(untouched)["measurement"]
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)
    command = [str(untouched), "-I", "-c", _MEASURE, str(site_of(changed))]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    assert found == measured(untouched)["measurement"]


# --- three real nodes: two builds, and an asker that wants blessed ones ----------------------------------------------

#: What a revocation may take, from the moment when it is published at another node.
REVOKED_WITHIN_S = 60.0
#: Nobody promises how soon nodes have found and judged each other; on a machine that is busy it takes its time.
STARTED_WITHIN_S = 300.0
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}


def policy_file(path: Path) -> Path:
    keys = ", ".join(f'"{key.hex()}"' for key in trust().keys)
    path.write_text(f'[measurement]\nlist = "{trust().name}"\nkeys = [{keys}]\nthreshold = {trust().threshold}\n')
    return path


def listed(name: str, said: dict[str, object]) -> Build:
    """A build as `sealmesh bless add` reads it."""
    addition = Addition(measured=(), label=name)
    return read_measured(json.dumps(said).encode(), Path(name), addition)


def publish_list(home: Path, policy: Path, *builds: Build, version: int) -> None:
    """What the holders do, and somebody with a node among them."""
    home.mkdir(mode=0o700, exist_ok=True)
    path = home.with_name(f"list-{version}.json")
    path.write_bytes(signed(*builds, now=time.time(), version=version))
    publish(path, policy, home)


def answered_by(client: Node, times: int) -> set[str]:
    """Which hosts answer, over several requests at once."""
    with ThreadPoolExecutor(times) as pool:
        ask = lambda _: httpx.post(f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=120)  # noqa: E731
        answers = list(pool.map(ask, range(times)))
    assert {answer.status_code for answer in answers} == {200}
    return {answer.headers["x-sealmesh-host"] for answer in answers}


def begun(host: Node) -> int:
    """How many exchanges a host was ever asked for; one that has ended may be counted a moment later."""
    counts = host.status()["exchanges"]
    return int(counts["open"]) + int(counts["done"])


def wait_for(
    client: Node, holds: Callable[[dict[str, dict[str, Any]]], bool], *, within_s: float = REVOKED_WITHIN_S
) -> None:
    """Follow the node's events until what it says of its peers (by their ids) holds."""
    deadline = time.monotonic() + within_s
    peers: dict[str, dict[str, Any]] = {}
    with httpx.stream("GET", f"{client.console_url}/api/events", timeout=within_s) as response:
        for text in response.iter_lines():
            if text.startswith("data: "):
                peers = {one["endpoint_id"]: one for one in json.loads(text[6:])["peers"]}
                if holds(peers):
                    return
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {peers}"
    raise AssertionError("the event stream ended")


def is_blessed(peer: dict[str, Any] | None, build: Build) -> bool:
    said = f"blessed: the host says that it runs {build.label}"
    return peer is not None and peer["build"] == said and peer["refused"] == []


def test_a_build_that_is_taken_off_gets_no_prompts_any_more(environments: tuple[Path, Path], mesh: Mesh) -> None:
    old, new = environments
    (site_of(new) / "patched.py").write_text("# what makes it another build\n")
    try:
        first, second = listed("first", measured(old)), listed("second", measured(new))
        assert first.measurement != second.measurement
        policy = policy_file(mesh.root / "policy.toml")
        backend = ("--backend", "echo:?rate=20", "--policy", str(policy))

        publish_list(mesh.next_home("serve"), policy, first, second, version=1)
        one = mesh.host(*backend, interpreter=old)
        client = mesh.client(one.ticket, "--policy", str(policy), "--require-blessed")
        wait_for(client, lambda peers: is_blessed(peers.get(one.endpoint_id), first), within_s=STARTED_WITHIN_S)
        # Which of two hosts is asked depends on the machine's load; of one it does not.
        assert answered_by(client, 1) == {one.endpoint_id}
        two = mesh.host(*backend, ticket=one.ticket, interpreter=new)
        wait_for(client, lambda peers: is_blessed(peers.get(two.endpoint_id), second), within_s=STARTED_WITHIN_S)
        assert answered_by(client, 8) <= {one.endpoint_id, two.endpoint_id}

        # The list without the first build enters at the second host: neither at the asker nor at the host it is about.
        served = begun(one)
        publish_list(two.home, policy, second, version=2)
        refusal = ["unblessed: its build is not on version 2 of the list"]
        wait_for(client, lambda peers: peers[one.endpoint_id]["refused"] == refusal)
        assert answered_by(client, 8) == {two.endpoint_id}
        assert begun(one) == served
        assert client.status()["blessed"]["version"] == 2

        # Nothing is blessed any more: an error that says why, and no prompt to anybody.
        publish_list(one.home, policy, listed("another", measured(old) | {"measurement": "07" * 32}), version=3)
        last = ["unblessed: its build is not on version 3 of the list"]
        wait_for(client, lambda peers: all(peers[host.endpoint_id]["refused"] == last for host in (one, two)))
        served = begun(one) + begun(two)
        answer = httpx.post(f"{client.api_url}/v1/chat/completions", json=CHAT, timeout=120)
        assert answer.status_code == 403
        assert last[0] in answer.text
        assert begun(one) + begun(two) == served
    finally:
        (site_of(new) / "patched.py").unlink()


#: Measures another environment than its own: a broken one need not run.
_MEASURE = """
import dataclasses, sys
from pathlib import Path
from sealmesh.hardening.measure import measure, this_environment
site = Path(sys.argv[1])
prefix = site.parents[2]
other = dataclasses.replace(this_environment(), sites=(site,), prefix=prefix, scripts=prefix / "bin")
print(measure(other).digest.hex())
"""
