"""A23: an asker learns another asker's prompt from timing: the real model, two askers, sealed from end to end.

The victim asks, the attacker sends a right guess of it or a wrong one, and watches its clocks. The model has one slot,
so every guess meets what the victim left there. What the attacker would learn is the share of pairs in which a right
guess was the faster one: one half is nothing, one is everything.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from kit.exchanges import World
from kit.sealed import Randomness
from sealmesh.backend.llama import LlamaBackend, LlamaOptions
from sealmesh.backend.models import ModelFile
from sealmesh.client.asker import AppRequest
from sealmesh.client.counters import Counters
from sealmesh.client.dial import Dialer
from sealmesh.wire.operations import Operation

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

#: Four standard deviations of the share of 30 by 30 pairs, where both kinds come of one distribution.
NOISE = 0.3
PROTECTED, SHARED = 30, 6  # repetitions; with shared state a few are more than enough
WORDS = "red house green tree old water cold stone black river long road small town good war".split()  # noqa: SIM905


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(model_file: ModelFile) -> AsyncIterator[LlamaBackend]:
    backend = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=256, parallel=1))
    await backend.start()
    yield backend
    await backend.close()


@dataclass
class Clocks:
    """What the attacker saw of its guesses of one kind."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


def share_faster(first: list[float], second: list[float]) -> float:
    """Mann and Whitney's U as a share: of all pairs, those in which the first is less; a tie is half."""
    won = sum((one < other) + (one == other) / 2 for one in first for other in second)
    return won / (len(first) * len(second))


def prompt(seed: str) -> str:
    """The same words in an order of their own: prompts of one length that differ from the first word on."""
    words = list(WORDS)
    random.Random(seed).shuffle(words)
    return " ".join(words)


def new_asker(world: World, seed: bytes) -> Dialer:
    """Another node's dialer: it shares nothing with the first but the host."""
    return Dialer(
        directory=world.directory,
        keys=world.keys,
        open_stream=world.open_stream,
        open_plain=world.open_plain,
        rtt_ms=world.rtts.get,
        now=lambda: world.now,
        random=Randomness(seed),
        counters=Counters(),
    )


async def ask(asker: Dialer, model: str, text: str, into: Clocks | None = None) -> None:
    """Ask in a conversation that every asker gives the same name."""
    body = {"model": model, "prompt": text, "stream": True, "max_tokens": 1, "temperature": 0}
    request = AppRequest(
        operation=Operation.COMPLETIONS,  # no template: its tokens are the same for all and only cost time
        model=model,
        body=json.dumps(body | {"stream_options": {"include_usage": True}}).encode(),
        stream=True,
        session="conversation",
    )
    wall, cpu = time.perf_counter(), time.process_time()
    async with await asker.ask(request) as answer:
        data = await answer.read()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        while piece := await answer.read():
            data += piece
    if into is None:
        return
    events = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    usage = next(event["usage"] for event in events if event.get("usage"))
    into.wall.append(wall)
    into.cpu.append(cpu)
    into.tokens.append(usage["prompt_tokens"])
    into.cached.append(usage["prompt_tokens_details"]["cached_tokens"])


@asynccontextmanager
async def serving(backend: LlamaBackend) -> AsyncIterator[tuple[World, str]]:
    async with World.running() as world:
        model = backend.models()[0].name
        world.add(backend=backend, models=(model,))
        yield world, model


async def guess(backend: LlamaBackend, repetitions: int, *, shared: bool) -> tuple[Clocks, Clocks]:
    """Right and wrong guesses after the victim's requests; `shared`: both ask as one conversation of one node."""
    right, wrong = Clocks(), Clocks()
    for start in range(0, repetitions, 10):  # a world lasts 40 s at most, whatever else runs
        async with serving(backend) as (world, model):
            victim = world.dialer
            attacker = victim if shared else new_asker(world, b"attacker")
            for number in range(start or -1, min(start + 10, repetitions)):  # -1 warms the engine up
                kinds = [(right, prompt(f"secret {number}")), (wrong, prompt(f"another {number}"))]
                for clocks, text in kinds if number % 2 else reversed(kinds):
                    await ask(victim, model, prompt(f"secret {number}"))
                    await ask(attacker, model, text, clocks if number >= 0 else None)
    return right, wrong


async def test_a23_a_right_guess_is_no_faster_than_a_wrong_one(backend: LlamaBackend) -> None:
    right, wrong = await guess(backend, PROTECTED, shared=False)
    assert right.cached == wrong.cached == [0] * PROTECTED
    assert set(right.tokens) == set(wrong.tokens)  # else the clocks would differ for another reason
    for name in ("cpu", "wall"):
        share = share_faster(getattr(right, name), getattr(wrong, name))
        assert abs(share - 0.5) < NOISE, f"{name}: a right guess is the faster one in {share:.0%} of all pairs"


async def test_a23_the_same_clocks_tell_guesses_apart_where_state_is_shared(backend: LlamaBackend) -> None:
    """The control: within one conversation state is reused, and what was measured above is far beyond its bound."""
    right, wrong = await guess(backend, SHARED, shared=True)
    assert min(right.cached) > max(wrong.cached)
    for name in ("cpu", "wall"):
        assert share_faster(getattr(right, name), getattr(wrong, name)) > 0.5 + NOISE + 0.1, name
