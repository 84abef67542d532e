"""`python -m tools.soak`: mixed requests for minutes while hosts are killed and started again.

Real processes: one client, one host that stays, two that do not. What each answer must be is known from the seed, so a
wrong or a mixed one is found; what is left of memory, descriptors and exchanges is measured. Exit code 1 if anything is
wrong; the counts are printed, with `--json` for machines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sealmesh.cli.processes import NodeProcess

#: Words a second of each host: an answer lasts long enough to be cut.
SPEED = 400
ASKERS = 6
ENDPOINTS = ("chat", "chat", "chat", "completions", "responses", "embeddings")
#: What a request may come back with while hosts die. Anything else is a fault of ours.
EXPECTED_ERRORS = frozenset({"host_lost", "no_host", "busy"})
#: Growth of a process after the first third: noise of the allocator in a short run, nothing in a long one.
SLOPE_MAX_KIB_PER_MINUTE = 1024.0
GROWTH_ALLOWED_KIB = 8 * 1024.0
SAMPLE_S = 2.0


@dataclass(frozen=True)
class Question:
    """One request and the only answer that is right."""

    path: str
    body: dict[str, Any]
    right: Any


def question(seed: int, number: int) -> Question:
    """The request of that number. Every word names its request: no other request's answer can pass for it."""
    draw = random.Random(f"{seed}/{number}")  # noqa: S311 - to be drawn again the same
    kind = draw.choice(ENDPOINTS)
    long = draw.random() < 0.01
    count = draw.choice((3, 20, 100, 400))
    words = [f"r{number}w{at}x{draw.randrange(1 << 32):x}" for at in range(count)]
    text = " ".join(words) if not long else " ".join(words) + "y" * (2 << 20)
    stream = draw.random() < 0.6
    if kind == "chat":
        messages = [{"role": "user", "content": "another word"}, {"role": "user", "content": text}]
        return Question("/v1/chat/completions", {"model": "echo", "messages": messages, "stream": stream}, text)
    if kind == "completions":
        return Question("/v1/completions", {"model": "echo", "prompt": text, "stream": stream}, text)
    if kind == "responses":
        text = " ".join(words)  # a streamed one repeats it in its last event, and is bounded for that
        # Not kept: what the client keeps for an hour is memory that is meant to grow, up to its bound.
        body = {"model": "echo", "input": text, "stream": stream, "store": False}
        return Question("/v1/responses", body, text)
    digests = [hashlib.sha256(json.dumps(word).encode()).digest() for word in words]
    vectors = [[byte / 255 for byte in digest[:8]] for digest in digests]
    return Question("/v1/embeddings", {"model": "echo", "input": words}, vectors)


def whole_answer(path: str, body: dict[str, Any]) -> Any:
    """What a plain answer says."""
    if path == "/v1/chat/completions":
        return body["choices"][0]["message"]["content"]
    if path == "/v1/completions":
        return body["choices"][0]["text"]
    if path == "/v1/responses":
        return "".join(part["text"] for item in body["output"] for part in item["content"])
    return [each["embedding"] for each in body["data"]]


def said_by(path: str, event: dict[str, Any]) -> str:
    """What one event of a stream adds."""
    if path == "/v1/responses":
        return event["delta"] if event["type"] == "response.output_text.delta" else ""
    return "".join(
        choice["text"] if path == "/v1/completions" else choice["delta"].get("content") or ""
        for choice in event["choices"]
    )


@dataclass
class Counts:
    """What happened."""

    asked: int = 0
    right: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    killed: int = 0
    stopped: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


async def ask(http: httpx.AsyncClient, url: str, one: Question, number: int, counts: Counts) -> bool:
    """Ask, and count what came back; whether it was the right and whole answer."""
    counts.asked += 1
    began = time.monotonic()
    try:
        if one.body.get("stream"):
            outcome = await ask_streamed(http, url, one, counts)
        else:
            answer = await http.post(url + one.path, json=one.body)
            if answer.status_code == 200:
                outcome = "" if whole_answer(one.path, answer.json()) == one.right else "a wrong answer"
            else:
                outcome = "error " + str(answer.json()["error"]["code"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        outcome = f"no valid answer: {type(error).__name__}"
    counts.slowest_s = max(counts.slowest_s, time.monotonic() - began)
    code = outcome.removeprefix("error ")
    if not outcome:
        counts.right[one.path] += 1
    elif code != outcome and code in EXPECTED_ERRORS:
        counts.errors[code] += 1
    else:
        counts.wrong.append(f"request {number} to {one.path}: {outcome}")
    return not outcome


async def ask_streamed(http: httpx.AsyncClient, url: str, one: Question, counts: Counts) -> str:
    """Read a stream to its end: "" if it was right and whole, "error CODE", or what was wrong."""
    said, error, ended = "", "", False
    async with http.stream("POST", url + one.path, json=one.body) as answer:
        if answer.status_code != 200:
            return "error " + str(json.loads(await answer.aread())["error"]["code"])
        async for line in answer.aiter_lines():
            if not line.startswith("data: "):
                continue
            if ended or error:
                return "something came after the end"
            if line == "data: [DONE]":
                ended = True
                continue
            event = json.loads(line[6:])
            if "error" in event and event.get("type") in (None, "error"):
                error = str(event["error"]["code"])
                continue
            ended = event.get("type") == "response.completed"
            said += said_by(one.path, event)
    if error:
        counts.cut += 1
        return f"error {error}" if one.right.startswith(said) else "a wrong beginning of an answer"
    if not ended:
        return "a cut answer without an error"
    return "" if said == one.right else "a wrong answer"


class Host:
    """A host that comes back with the same home and port."""

    def __init__(self, home: Path, ticket: Path | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.home = home
        self.ticket = ticket
        self.process: NodeProcess | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        arguments = ["--backend", f"echo:?rate={SPEED}", "--bind", f"127.0.0.1:{self.port}"]
        if self.ticket is not None and not (self.home / "mesh.json").exists():
            arguments += ["--join-file", str(self.ticket)]
        self.process = NodeProcess("serve", home=self.home, arguments=arguments)
        self.ready = self.process.wait_for("ready")

    def end(self, *, kill: bool) -> None:
        """End it at once, or ask it to."""
        if self.process is not None:
            if kill:
                self.process.kill()
            self.process.__exit__(None, None, None)
            self.process = None


@dataclass
class Measured:
    """One process, looked at every few seconds."""

    name: str
    pid: int
    rss_kib: list[tuple[float, float]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self, now: float) -> None:
        """Note memory and descriptors."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                self.rss_kib.append((now, float(line.split()[1])))
        self.descriptors.append(len(list(Path(f"/proc/{self.pid}/fd").iterdir())))

    def slope(self) -> float:
        """KiB a minute over all but the first third, by least squares."""
        points = self.rss_kib[len(self.rss_kib) // 3 :]
        if len(points) < 3:
            return 0.0
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        square = sum((x - mean_x) ** 2 for x, _ in points)
        return 60 * sum((x - mean_x) * (y - mean_y) for x, y in points) / square

    def faults(self) -> list[str]:
        """What speaks for a leak."""
        found = []
        points = self.rss_kib[len(self.rss_kib) // 3 :]
        grown = self.slope() * (points[-1][0] - points[0][0]) / 60
        if self.slope() > SLOPE_MAX_KIB_PER_MINUTE and grown > GROWTH_ALLOWED_KIB:
            found.append(f"{self.name} grows by {self.slope():.0f} KiB a minute")
        half = len(self.descriptors) // 2
        if max(self.descriptors[half:]) > 2 * max(self.descriptors[:half]) + 16:
            found.append(f"{self.name} opens ever more descriptors: {self.descriptors}")
        return found


async def until(http: httpx.AsyncClient, console_url: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Follow a node's events until its status holds."""
    async with asyncio.timeout(30), http.stream("GET", f"{console_url}/api/events") as events:
        async for line in events.aiter_lines():
            if line.startswith("data: ") and holds(json.loads(line[6:])):
                return


async def soak(root: Path, *, seconds: float, seed: int, rate: float) -> dict[str, Any]:
    """Run it; return the counts, and under `wrong` whatever is."""
    counts = Counts()
    draw = random.Random(seed)  # noqa: S311 - to be drawn again the same
    async with contextlib.AsyncExitStack() as stack:
        steady = Host(root / "steady", None)
        stack.callback(steady.end, kill=False)
        await asyncio.to_thread(steady.start)
        ticket = root / "ticket"
        ticket.touch(mode=0o600)
        ticket.write_text(steady.ready["ticket"])
        mortal = [Host(root / f"mortal-{number}", ticket) for number in (1, 2)]
        for host in mortal:
            stack.callback(host.end, kill=False)
            await asyncio.to_thread(host.start)
        client = stack.enter_context(
            NodeProcess("client", home=root / "client", arguments=["--join-file", str(ticket)])
        )
        ready = await asyncio.to_thread(client.wait_for, "ready")
        url, console_url = ready["api_url"], ready["console_url"]
        http = await stack.enter_async_context(
            httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=ASKERS + 2))
        )
        await until(http, console_url, lambda status: any(each["usable"] for each in status["models"]))
        assert steady.process is not None  # noqa: S101 - started above
        measured = [Measured("the client", client.pid), Measured("the steady host", steady.process.pid)]
        began = time.monotonic()
        end = began + seconds
        numbers = iter(range(1 << 62))

        async def asker() -> None:
            while time.monotonic() < end:
                number = next(numbers)
                if rate and (wait := began + number / rate - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await ask(http, url, question(seed, number), number, counts)

        async def reaper() -> None:
            while time.monotonic() < end - 8:
                await asyncio.sleep(draw.uniform(2, 6))
                host, kill = draw.choice(mortal), draw.random() < 0.6
                counts.killed += kill
                counts.stopped += not kill
                await asyncio.to_thread(host.end, kill=kill)
                await asyncio.sleep(draw.uniform(0, 2))
                await asyncio.to_thread(host.start)

        async def looker() -> None:
            while time.monotonic() < end:
                for one in measured:
                    one.look(time.monotonic() - began)
                await asyncio.sleep(SAMPLE_S)

        await asyncio.gather(*(asker() for _ in range(ASKERS)), reaper(), looker())
        for number in range(10):  # with all hosts alive again, and the steady one never gone
            if not await ask(http, url, question(seed, 1 << 40 | number), number, counts):
                counts.wrong.append(f"request {number} after the last kill was not answered: {dict(counts.errors)}")
        for name, console in (("the client", console_url), ("the steady host", steady.ready["console_url"])):
            try:
                await until(http, console, lambda status: status["exchanges"]["open"] == 0)
            except TimeoutError:
                counts.wrong.append(f"exchanges stay open at {name}")
    counts.wrong += [fault for one in measured for fault in one.faults()]
    return {
        "seed": seed,
        "seconds": round(seconds),
        "asked": counts.asked,
        "right": dict(counts.right),
        "errors": dict(counts.errors),
        "cut in mid-stream": counts.cut,
        "hosts killed": counts.killed,
        "hosts stopped": counts.stopped,
        "slowest answer, s": round(counts.slowest_s, 2),
        "memory": {
            one.name: {
                "first KiB": one.rss_kib[0][1],
                "last KiB": one.rss_kib[-1][1],
                "KiB a minute": round(one.slope(), 1),
                "descriptors": [one.descriptors[0], max(one.descriptors), one.descriptors[-1]],
            }
            for one in measured
        },
        "wrong": counts.wrong[:20],
    }


def run(*, minutes: float, seed: int, rate: float) -> dict[str, Any]:
    """Run it in a folder of its own."""
    root = Path(tempfile.mkdtemp(prefix="sealmesh-soak-"))
    try:
        return asyncio.run(soak(root, seconds=minutes * 60, seed=seed, rate=rate))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as they are answered")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    counts = run(minutes=options.minutes, seed=options.seed, rate=options.rate)
    if options.json:
        print(json.dumps(counts))
    else:
        for name, value in counts.items():
            print(f"{name}: {value}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
