"""A23: an asker learns another asker's prompt from cached tokens or timing.

The attacker sends a right guess of the victim's prompt. Had the model's state served it, the count
of cached tokens (or the clock) would say that the guess is right.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sealmesh.backend.base import BackendRequest, Usage
from sealmesh.backend.llama import LlamaBackend, LlamaOptions
from sealmesh.backend.models import ModelFile
from sealmesh.backend.openai import salted
from sealmesh.wire.operations import Operation

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

VICTIM, ATTACKER = b"v" * 32, b"a" * 32
SLOTS = 2
TEMPLATE_TOKENS = 27  # what every prompt of these tests begins with, up to the subject


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(model_file: ModelFile) -> AsyncIterator[LlamaBackend]:
    backend = LlamaBackend(lambda: model_file, LlamaOptions(threads=1, context=512, parallel=SLOTS))
    await backend.start()
    yield backend
    await backend.close()


def prompt(subject: str) -> list[dict[str, str]]:
    return [
        {
            "role": "user",
            "content": f"My {subject} is the seventh of May, and nobody else may know of it. Remember that.",
        }
    ]


async def ask(backend: LlamaBackend, key: bytes, messages: Any, **more: Any) -> tuple[int, Usage | None, bytes]:
    body = json.dumps({"messages": messages, "max_tokens": 1, "temperature": 0, **more}).encode()
    request = BackendRequest(operation=Operation.CHAT_COMPLETIONS, model="m", body=body, stream=False, cache_key=key)
    data = b""
    async with await backend.ask(request) as answer:
        while piece := await answer.read():
            data += piece
    return answer.status, answer.usage, data


async def cached(backend: LlamaBackend, key: bytes, messages: Any, **more: Any) -> int:
    status, usage, data = await ask(backend, key, messages, **more)
    assert status == 200
    assert usage is not None
    shown = json.loads(data)
    assert shown["usage"]["prompt_tokens_details"]["cached_tokens"] == usage.cached_tokens
    assert shown["timings"]["cache_n"] == usage.cached_tokens
    return usage.cached_tokens


async def test_the_same_conversation_is_served_from_its_own_state(backend: LlamaBackend) -> None:
    """Without this the other tests could pass because nothing is ever cached."""
    messages = prompt("birthday")
    assert await cached(backend, VICTIM, messages) == 0
    assert await cached(backend, VICTIM, messages) > 20


@pytest.mark.parametrize("key", [ATTACKER, b""], ids=["another key", "no key"])
async def test_a_right_guess_under_another_key_shows_no_cached_tokens(backend: LlamaBackend, key: bytes) -> None:
    messages = prompt("wedding")
    await cached(backend, VICTIM, messages)
    # As often as there are slots: one of them holds the victim's state.
    guesses = [await cached(backend, key + bytes([number]) if key else b"", messages) for number in range(SLOTS + 1)]
    assert guesses == [0] * (SLOTS + 1)


async def test_the_victim_gains_nothing_from_the_attacker_either(backend: LlamaBackend) -> None:
    """Or the victim's clock would say, to whoever watches it, what the attacker put there."""
    messages = prompt("divorce")
    for number in range(SLOTS):
        await cached(backend, ATTACKER + bytes([number]), messages)
    assert await cached(backend, VICTIM + b"fresh", messages) == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"id_slot": 0, "cache_prompt": True},
        {"id_slot": 1, "cache_prompt": True},
        {"id_slot": -1, "cache_prompt": True, "n_cache_reuse": 1},
    ],
)
async def test_an_asker_cannot_choose_the_slot_or_the_cache(backend: LlamaBackend, extra: dict[str, Any]) -> None:
    messages = prompt("operation")
    await asyncio.gather(*(ask(backend, VICTIM + bytes([number]), messages) for number in range(SLOTS)))
    assert await cached(backend, ATTACKER, messages, **extra) == 0
    assert await cached(backend, b"", messages, **extra) == 0


async def test_state_that_has_left_its_slot_does_not_come_back_for_another(backend: LlamaBackend) -> None:
    """A prompt cache in RAM would keep the victim's state, and load it for whoever may use the cache at all."""
    messages = prompt("inheritance")
    await cached(backend, VICTIM, messages)
    others = [ATTACKER + bytes([number]) for number in range(SLOTS)]
    own = [await cached(backend, other, prompt("Z")) for other in others]
    assert own == [0] * SLOTS
    for other in others:  # each in its own slot, where it may use what it left there itself
        assert await cached(backend, other, messages) <= TEMPLATE_TOKENS


async def test_state_is_not_copied_into_the_slot_of_another(backend: LlamaBackend) -> None:
    """Asked for two choices, the engine would copy the victim's state into slots that the attacker's keys own."""
    owners = [ATTACKER + bytes([number]) for number in range(SLOTS)]
    for owner in owners:
        await cached(backend, owner, prompt("X"))
    own = await cached(backend, owners[0], prompt("Y"))  # the template, and the first word: the attacker's own state
    messages = [{"role": "user", "content": "Y" + prompt("address")[0]["content"]}]
    status, _, data = await ask(backend, VICTIM, messages, n=SLOTS)
    assert (status, len(json.loads(data)["choices"])) == (200, SLOTS)
    # One slot is as its owner left it; the victim had the other, and its owner finds nothing there.
    first, second = [await cached(backend, owner, messages) for owner in owners]
    assert 0 < first <= own
    assert second == 0


async def test_an_engine_by_url_gets_salts_that_keep_conversations_apart() -> None:
    body = json.dumps({"messages": prompt("test"), "cache_salt": salted(b"{}", VICTIM).decode()}).encode()
    mine, victims = json.loads(salted(body, ATTACKER)), json.loads(salted(body, VICTIM))
    assert mine["cache_salt"] != victims["cache_salt"]
