"""The validation on two machines, as code: two network namespaces with a cable between them, where root allows it.

At the end of a run a table of what passed is printed, and kept in out/two-machines.txt.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

import sealmesh
from kit.machines import Machine, MachineProcess, two_machines
from kit.marker import MARKER, allow

MODEL = "smollm2-135m"
SLOW = "echo:?tokens=10000&rate=50"
PROMPT = f"Which rivers run through Hamburg and Vienna? {MARKER}"
#: Silence is an error after about 5 s, a stopping host's grace is 10 s; a hang would be a minute and more.
IN_TIME_S = 16.0
BACK_WITHIN_S = 15.0
_T = TypeVar("_T")
pytestmark = [pytest.mark.process, pytest.mark.xdist_group("two-machines")]


@dataclass
class OnMachine:
    """A node on one of the machines."""

    machine: Machine
    process: MachineProcess
    home: Path
    ready: dict[str, str]
    recording: Path | None = None

    def get(self, path: str, *, console: bool = False) -> Any:
        """Read from the node, on its own machine."""
        base = self.ready["console_url" if console else "api_url"]
        return self.machine.run(lambda: httpx.get(f"{base}{path}", timeout=20).json())

    def post(self, path: str, body: dict[str, Any] | bytes) -> httpx.Response:
        """Ask the node, on its own machine."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.machine.run(lambda: httpx.post(f"{self.ready['api_url']}{path}", content=content, timeout=60))

    def events(self, path: str, body: dict[str, Any], first: Callable[[], None] | None = None) -> list[str]:
        """Ask for a stream and read it to its end; `first` is called after its first event."""

        def work() -> list[str]:
            url, found = f"{self.ready['api_url']}{path}", []
            with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        found.append(line[6:])
                        if len(found) == 1 and first is not None:
                            first()
            return found

        return self.machine.run(work)

    def until(self, holds: Callable[[dict[str, Any]], _T], *, timeout_s: float = 30.0) -> _T:
        """Follow the node's events until its status holds."""

        def work() -> _T:
            url = f"{self.ready['console_url']}/api/events"
            with httpx.stream("GET", url, timeout=timeout_s) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: ") and (found := holds(json.loads(line[6:]))):
                        return found
            raise AssertionError("the event stream ended")

        return self.machine.run(work)

    def usable(self, model: str) -> None:
        """Wait until the node can use a model."""
        self.until(lambda status: any(one["name"] == model and one["usable"] for one in status["models"]))

    def sealed_streams(self) -> int:
        """How many sealed exchanges it has opened."""
        assert self.recording is not None
        return sum(path.read_bytes()[:1] == b"\xe1" for path in self.recording.glob("*-sent.bin"))

    def recorded(self, *, sealed: bool = False) -> bytes:
        """Every byte of its streams, or of the sealed ones only, as a relay would see it."""
        assert self.recording is not None
        if not sealed:
            return b"".join(path.read_bytes() for path in sorted(self.recording.iterdir()))
        sent = [path for path in sorted(self.recording.glob("*-sent.bin")) if path.read_bytes()[:1] == b"\xe1"]
        received = [path.with_name(path.name.replace("-sent", "-received")) for path in sent]
        return b"".join(path.read_bytes() for path in (*sent, *received) if path.exists())


@dataclass
class Pair:
    """Two machines and the nodes on them."""

    here: Machine
    there: Machine
    root: Path
    stack: contextlib.ExitStack
    port: int = 0
    count: int = 0
    ticket: str = ""
    nodes: list[OnMachine] = field(default_factory=list)

    def start(self, machine: Machine, command: str, *arguments: str, home: Path | None = None) -> OnMachine:
        """Start a node, recording what it sends and receives."""
        self.count += 1
        home = home or self.root / f"{command}-{self.count}"
        recording = self.root / f"recording-{self.count}"
        if self.ticket and not (home / "mesh.json").exists():
            file = self.root / f"ticket-{self.count}"
            file.touch(mode=0o600)
            file.write_text(self.ticket)
            arguments = (*arguments, "--join-file", str(file))
        if "--bind" not in arguments:
            arguments = (*arguments, "--bind", f"{machine.address}:0")
        process = self.stack.enter_context(
            MachineProcess(
                machine,
                command,
                home=home,
                arguments=arguments,
                environment={"SEALMESH_RECORD_STREAMS": str(recording)},
            )
        )
        ready = process.wait_for("ready")
        self.ticket = self.ticket or ready.get("ticket", "")
        return OnMachine(machine, process, home, ready, recording)


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    with (
        two_machines() as (here, there),
        tempfile.TemporaryDirectory(prefix="sealmesh-test-", ignore_cleanup_errors=True) as root,
        contextlib.ExitStack() as stack,
    ):
        yield Pair(here, there, Path(root), stack)


@pytest.fixture(scope="module")
def steady() -> Iterator[tuple[Pair, OnMachine, OnMachine]]:
    """A host with the real model, and a client."""
    with pair() as made:
        host = made.start(made.there, "serve", "--model", MODEL, "--threads", "1")
        client = made.start(made.here, "client")
        client.usable(MODEL)
        yield made, host, client


def free_port(machine: Machine) -> int:
    def work() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
            found.bind((machine.address, 0))
            return int(found.getsockname()[1])

    return machine.run(work)


@dataclass
class Restartable:
    """A slow host that can be started again where it was, and its client."""

    pair: Pair
    bind: str
    host: OnMachine
    client: OnMachine

    def start_again(self) -> None:
        self.host = self.pair.start(
            self.pair.there, "serve", "--backend", SLOW, "--bind", self.bind, home=self.host.home
        )

    def works_within(self, seconds: float) -> None:
        """The next requests: each an answer or an error, and soon an answer."""
        began = time.monotonic()
        while True:
            answer = self.client.post("/v1/chat/completions", {**CHAT, "max_tokens": 2})
            if answer.status_code == 200:
                return
            assert answer.json()["error"]["code"] in ("host_lost", "no_host", "model_not_found", "no_attested_host")
            assert time.monotonic() - began < seconds, answer.text


@pytest.fixture(scope="module")
def shaky() -> Iterator[Restartable]:
    with pair() as made:
        bind = f"{made.there.address}:{free_port(made.there)}"
        host = made.start(made.there, "serve", "--backend", SLOW, "--bind", bind)
        client = made.start(made.here, "client")
        client.usable("echo")
        yield Restartable(made, bind, host, client)


CHAT = {"model": "echo", "messages": [{"role": "user", "content": PROMPT}]}
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 16}
RESPONSE = {"model": MODEL, "input": PROMPT, "temperature": 0, "max_output_tokens": 16}
model = pytest.mark.model
Steady = tuple[Pair, OnMachine, OnMachine]


def text_of(events: list[str]) -> str:
    found = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for event in found for choice in event["choices"])


@model
def test_join_by_ticket_and_the_same_version_on_both(steady: Steady) -> None:
    _, host, client = steady
    seen = client.until(
        lambda status: [one for one in status["peers"] if one["endpoint_id"] == host.ready["endpoint_id"]]
    )
    assert client.get("/api/status", console=True)["version"] == sealmesh.__version__ == seen[0]["version"]
    assert host.get("/api/status", console=True)["version"] == sealmesh.__version__


@model
def test_models_are_visible(steady: Steady) -> None:
    _, _, client = steady
    (listed,) = client.get("/v1/models")["data"]
    assert (listed["id"], listed["sealmesh"]["usable"], listed["sealmesh"]["hosts"]) == (MODEL, True, 1)


@model
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_chat_is_what_the_host_itself_says(steady: Steady, stream: bool) -> None:
    _, host, client = steady
    own = host.post("/v1/chat/completions", ASKED).json()["choices"][0]["message"]["content"]
    assert len(own.split()) > 4
    if stream:
        events = client.events("/v1/chat/completions", ASKED)
        assert (text_of(events), events[-1]) == (own, "[DONE]")
    else:
        assert client.post("/v1/chat/completions", ASKED).json()["choices"][0]["message"]["content"] == own


@model
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_responses_are_what_the_host_itself_says(steady: Steady, stream: bool) -> None:
    _, host, client = steady
    own = host.post("/v1/chat/completions", ASKED).json()["choices"][0]["message"]["content"]
    if stream:
        events = [json.loads(event) for event in client.events("/v1/responses", RESPONSE)]
        assert "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta") == own
        assert events[-1]["type"] in ("response.completed", "response.incomplete")
    else:
        answer = client.post("/v1/responses", RESPONSE).json()
        assert "".join(part["text"] for item in answer["output"] for part in item["content"]) == own


@model
def test_the_encrypted_path_was_used(steady: Steady) -> None:
    _, host, client = steady
    before = client.sealed_streams()
    answer = client.post("/v1/chat/completions", ASKED)
    assert client.sealed_streams() == before + 1
    assert answer.headers["x-sealmesh-sealed"] == "xwing"
    assert answer.headers["x-sealmesh-host"] == host.ready["endpoint_id"]
    said = PROMPT + " " + answer.json()["choices"][0]["message"]["content"]
    words = [word.strip(".,:;!?'\"") for word in said.split()]
    phrases = [" ".join(three).encode() for three in zip(*(said.split()[start:] for start in range(3)), strict=False)]
    recorded, sealed = client.recorded(), client.recorded(sealed=True)
    assert len(phrases) >= 10
    assert len(sealed) > 1000
    # Single words only where nothing else may stand: records of hosts are made of words too.
    assert [word for word in words if len(word) >= 5 and word.encode() in sealed] == []
    assert [each for each in [*phrases, b"/v1/chat/completions"] if each in recorded] == []


@model
def test_attestation_required_and_met(steady: Steady) -> None:
    made, host, _ = steady
    client = made.start(made.here, "client", "--require-attested-hosts=self-asserted")
    client.usable(MODEL)
    answer = client.post("/v1/chat/completions", ASKED)
    assert (answer.status_code, answer.headers["x-sealmesh-tier"]) == (200, "self-asserted")
    assert answer.headers["x-sealmesh-host"] == host.ready["endpoint_id"]


@model
def test_attestation_required_and_unmet(steady: Steady) -> None:
    made, host, _ = steady
    client = made.start(made.here, "client", "--require-attested-hosts=hardware-rooted")
    client.until(lambda status: any(MODEL in one["models"] and one["refused"] for one in status["peers"]))
    answer = client.post("/v1/chat/completions", ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "no_attested_host")
    assert host.ready["endpoint_id"] in answer.json()["error"]["refused"]
    assert client.sealed_streams() == 0


@model
@pytest.mark.parametrize("body", [b"{", b'{"model": 7}', b'{"model": "smollm2-135m"}', b"\xff\xfe"])
def test_a_malformed_request_is_a_clear_4xx_and_the_host_untouched(steady: Steady, body: bytes) -> None:
    _, host, client = steady
    before, served = client.sealed_streams(), host.get("/api/status", console=True)["exchanges"]
    answer = client.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("invalid_json", "invalid_request")
    assert answer.json()["error"]["message"]
    assert client.sealed_streams() == before
    assert host.get("/api/status", console=True)["exchanges"] == served


@model
def test_a_plain_host_is_seen_and_gets_nothing_unless_that_is_allowed(steady: Steady) -> None:
    made, _, client = steady
    plain = made.start(made.there, "serve", "--backend", "echo:?name=plainly", "--plain")
    assert plain.recording is not None
    allow(plain.recording)  # what is not sealed can be read on its way: that is shown below
    client.until(lambda status: any("plainly" in one["models"] and one["refused"] for one in status["peers"]))
    asked = {**CHAT, "model": "plainly"}
    before = client.recorded()
    answer = client.post("/v1/chat/completions", asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "no_attested_host")
    assert PROMPT.encode() not in client.recorded()[len(before) :]

    allowing = made.start(made.here, "client", "--allow-plain-hosts")
    assert allowing.recording is not None
    allow(allowing.recording)
    allowing.usable("plainly")
    allowing.usable(MODEL)
    answer = allowing.post("/v1/chat/completions", asked)
    assert (answer.status_code, answer.headers["x-sealmesh-sealed"]) == (200, "no")
    assert answer.json()["choices"][0]["message"]["content"] == PROMPT
    assert answer.headers["x-sealmesh-host"] == plain.ready["endpoint_id"]
    recorded = allowing.recorded()
    assert PROMPT.encode() in recorded, "what went unsealed is found: the search of the other tests can find something"

    marked = {**ASKED, "messages": [{"role": "user", "content": "Is Bratislava upstream of Budapest?"}]}
    answer = allowing.post("/v1/chat/completions", marked)
    assert (answer.status_code, answer.headers["x-sealmesh-sealed"]) == (200, "xwing")
    assert b"Bratislava" not in allowing.recorded()


@model
def test_a_plain_host_asks_a_sealed_one_sealed(steady: Steady) -> None:
    made, host, _ = steady
    plain = made.start(made.here, "serve", "--backend", "echo:?name=other", "--plain")
    plain.usable(MODEL)
    answer = plain.post("/v1/chat/completions", ASKED)
    assert (answer.status_code, answer.headers["x-sealmesh-sealed"]) == (200, "xwing")
    assert answer.headers["x-sealmesh-host"] == host.ready["endpoint_id"]
    assert b"Hamburg" not in plain.recorded()


def broken_off(shaky: Restartable, breaks: Callable[[], None]) -> float:
    """Break in mid-stream; the stream must end with an error, and not as if it were whole. Returns after how long."""
    at: list[float] = []

    def first() -> None:
        at.append(time.monotonic())
        breaks()

    events = shaky.client.events("/v1/chat/completions", CHAT, first)
    assert "[DONE]" not in events
    assert json.loads(events[-1])["error"]["code"] in ("host_lost", "shutting_down", "backend_error")
    return time.monotonic() - at[0]


def test_a_host_stopped_in_mid_stream(shaky: Restartable) -> None:
    assert broken_off(shaky, lambda: os.kill(shaky.host.process.pid, signal.SIGTERM)) < IN_TIME_S
    assert shaky.host.process.exit_code() == 0
    shaky.start_again()
    shaky.works_within(60)


def test_a_host_killed_in_mid_stream(shaky: Restartable) -> None:
    assert broken_off(shaky, shaky.host.process.kill) < IN_TIME_S
    shaky.start_again()
    shaky.works_within(60)


def test_a_link_cut_in_mid_stream_and_restored(shaky: Restartable) -> None:
    machine = shaky.pair.there
    if not machine.namespace:
        pytest.skip("there is no cable to pull: this needs root and iproute2")
    assert broken_off(shaky, machine.pull_cable) < IN_TIME_S
    assert shaky.client.post("/v1/chat/completions", CHAT).status_code in (502, 503)  # an error, and no hang
    machine.plug_cable()
    shaky.works_within(BACK_WITHIN_S)
    assert shaky.host.get("/api/status", console=True)["version"] == sealmesh.__version__  # the same process all along
