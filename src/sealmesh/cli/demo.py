"""`sealmesh demo`: a sealed chat between two real nodes on this machine, and what was seen on the way.

Nothing of it is asserted: the bytes that a relay would have carried are recorded and searched, and the same search
is run over the plain answer to show that it would have found something.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealmesh.cli.processes import NodeProcess
from sealmesh.cli.stream import start_chat
from sealmesh.errors import ConfigError
from sealmesh.sealed.suites import Suite

PROMPT: Final = "In one short sentence: why is the sky blue?"
_TOKENS: Final = 48
_RUNS: Final = 5
_TIMEOUT_S: Final = 60.0  # a demo that hangs shows nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """One streamed answer: its text, its headers, and when its first and last tokens came, in milliseconds."""

    text: str
    headers: dict[str, str]
    first_ms: float
    total_ms: float


def chat(
    api_url: str, model: str, prompt: str, *, tokens: int, show: Callable[[str], None] | None = None
) -> ChatResult:
    """Stream one chat completion over plain HTTP, as any app would.

    Raises:
        SealmeshError: The API refused, or the stream ended with an error or without its proper end.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
    }
    began = time.perf_counter()
    first: float | None = None
    pieces: list[str] = []
    with start_chat(api_url, body, timeout_s=_TIMEOUT_S) as answer:
        for piece in answer.pieces():
            if first is None:
                first = time.perf_counter()
            pieces.append(piece)
            if show is not None:
                show(piece)
    ended = time.perf_counter()
    return ChatResult(
        text="".join(pieces),
        headers=answer.headers,
        first_ms=((first or ended) - began) * 1000,
        total_ms=(ended - began) * 1000,
    )


def run_demo(*, model: str = "smollm2-135m", say: Callable[[str], None], show: Callable[[str], None]) -> int:
    """Run the whole demo.

    Args:
        model: The model's reference.
        say: Prints a line.
        show: Prints a piece of text without a line's end.

    Returns:
        The exit code: 0 if everything held, 1 if the search found plaintext.

    Raises:
        ConfigError: A node could not be started.
        SealmeshError: A node did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="sealmesh-demo-") as folder:
        root = Path(folder)
        recording = root / "recording"
        say("Starting a host with the model in its process, and a client, as two processes of this machine …")
        with NodeProcess("serve", home=root / "host", arguments=["--model", model, "--name", "demo-host"]) as host:
            host_ready = host.wait_for("ready")
            ticket = root / "ticket"
            ticket.touch(mode=0o600)
            ticket.write_text(host_ready["ticket"])
            with NodeProcess(
                "client",
                home=root / "client",
                arguments=["--join-file", str(ticket), "--name", "demo-client"],
                environment={"SEALMESH_RECORD_STREAMS": str(recording)},
            ) as client:
                client_ready = client.wait_for("ready")
                return _tell(host_ready, client_ready, model, recording, say, show)


def _tell(
    host_ready: dict[str, str],
    client_ready: dict[str, str],
    model: str,
    recording: Path,
    say: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    api, direct = client_ready["api_url"], host_ready["api_url"]
    say(f"  host   {host_ready['endpoint_id']}")
    say(f"  client {client_ready['endpoint_id']}   OpenAI API at {api}/v1")
    say("")
    say(f"> {PROMPT}")
    answer = chat(api, model, PROMPT, tokens=_TOKENS, show=show)
    say("")
    say("")

    sent, received = _exchange_bytes(recording, answer)
    suite = Suite(sent[2])
    say("What was sealed")
    say(f"  suite      {suite.value} ({'X25519 + ML-KEM-768 by HPKE' if suite is Suite.XWING else 'X25519, NaCl box'})")
    say(f"  to the key {sent[3:11].hex()} of the host's present epoch, opened only in the host's process")
    say(f"  exchange   {answer.headers['x-sealmesh-exchange']}")
    say(f"  tier       {answer.headers['x-sealmesh-tier']}: a software key answered; the host's owner can read prompts")
    say("")

    say("What a relay would have seen (every byte of the streams above QUIC was recorded, then searched)")
    everything = _all_bytes(recording)
    words, phrases = _words(answer.text), _phrases(answer.text)
    found = [word for word in words if word in sent + received] + [each for each in phrases if each in everything]
    control = (PROMPT + " " + answer.text).encode()
    would_find = [piece for piece in (*words, *phrases) if piece in control]
    say(f"  {len(everything):,} bytes recorded; this exchange: {len(sent):,} sent, {len(received):,} received")
    say(f"  first bytes of it: {sent[:24].hex(' ')} …")
    say(f"  searched this exchange for {len(words)} words of the prompt and the answer, and everything for")
    say(f"  {len(phrases)} phrases of three words: {len(found)} found")
    say(f"  the same search over the plain prompt and answer finds {len(would_find)}")
    say("")

    via_mesh = [chat(api, model, PROMPT, tokens=8).first_ms for _ in range(_RUNS)]
    via_host = [chat(direct, model, PROMPT, tokens=8).first_ms for _ in range(_RUNS)]
    say(f"Time to first token, median of {_RUNS}")
    say(f"  at the host itself   {statistics.median(via_host):7.1f} ms")
    say(f"  through the mesh     {statistics.median(via_mesh):7.1f} ms")
    if found or not words or len(would_find) != len(words) + len(phrases):
        say("")
        say(
            "The search found plaintext on the wire, or was not able to find anything: "
            "this must not be. Please report it."
        )
        return 1
    return 0


def _words(text: str) -> tuple[bytes, ...]:
    """Words of five letters or more: looked for in the sealed exchange, where no other text may stand."""
    words = {word.strip(".,:;!?\"'()") for word in f"{PROMPT} {text}".split()}
    return tuple(sorted(word.encode() for word in words if len(word) >= 5))


def _phrases(text: str) -> tuple[bytes, ...]:
    """Three words in a row: looked for in everything. Records of hosts are made of words too, but not of these."""
    said = f"{PROMPT} {text}".split(" ")
    return tuple(sorted({" ".join(said[start : start + 3]).encode() for start in range(len(said) - 2)}))


def _all_bytes(recording: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(recording.iterdir()))


def _exchange_bytes(recording: Path, answer: ChatResult) -> tuple[bytes, bytes]:
    """The recorded bytes of the one sealed exchange: the stream whose first byte is the kind 0xE1."""
    del answer
    for path in sorted(recording.glob("*-sent.bin")):
        sent = path.read_bytes()
        if sent[:1] == b"\xe1":
            return sent, path.with_name(path.name.replace("-sent", "-received")).read_bytes()
    raise ConfigError("the recording holds no sealed exchange")


def print_demo(model: str = "smollm2-135m") -> int:
    """Run the demo on this terminal."""

    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return run_demo(model=model, say=lambda line: print(line, flush=True), show=show)
