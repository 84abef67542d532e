"""`/v1/responses` on an engine that speaks only chat: the request goes in translated, the answer comes back so."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from sealmesh import limits
from sealmesh.backend.answers import JSON_HEADERS, SSE_HEADERS, error_answer
from sealmesh.backend.base import BackendAnswer, BackendRequest, Usage
from sealmesh.backend.responses import Answered, garbled, response_from_chat_untrusted
from sealmesh.backend.responses_events import ChatEvents, ResponseEvents
from sealmesh.backend.responses_request import chat_from_responses_untrusted
from sealmesh.errors import BackendError, RequestError
from sealmesh.wire.operations import Operation

_INLINE_MAX: Final = 256 * limits.KIB  # a larger body is translated beside the event loop: it takes milliseconds


async def ask_as_chat(
    ask: Callable[[BackendRequest], Awaitable[BackendAnswer]], request: BackendRequest
) -> BackendAnswer:
    """Ask a Responses request of an engine that speaks chat. An error of the engine is passed on as it is.

    Args:
        ask: Asks the engine.
        request: Its operation is `RESPONSES`.

    Raises:
        BackendError: As `ask` raises it, or the engine answered in another way than was asked for.
    """
    try:
        if len(request.body) <= _INLINE_MAX:
            question = chat_from_responses_untrusted(request.body, model=request.model, stream=request.stream)
        else:
            question = await asyncio.to_thread(
                chat_from_responses_untrusted, request.body, model=request.model, stream=request.stream
            )
    except RequestError as error:
        return error_answer(error.status, error.code, error.message, param=error.param)
    answer = await ask(replace(request, operation=Operation.CHAT_COMPLETIONS, body=question.body))
    if answer.status != 200:
        return answer
    kind = next((value for name, value in answer.headers if name == "content-type"), "")
    if kind.partition(";")[0].strip().lower().endswith("event-stream") != request.stream:
        await answer.close()
        raise garbled("The engine gave events where none were asked for, or none where they were.")
    answered = Answered(
        identifier=secrets.token_hex(16), created=int(time.time()), model=request.model, echo=question.echo
    )
    return TranslatedAnswer(answer, answered, stream=request.stream)


class TranslatedAnswer(BackendAnswer):
    """A chat answer in the words of the Responses API.

    A stream that fails after its first event ends with `response.failed`; before it, and in a plain answer, the failure
    is raised. Neither ever ends as complete.

    Args:
        answer: The engine's, with status 200.
        answered: What Response objects have in common.
        stream: Whether it comes as events.
    """

    def __init__(self, answer: BackendAnswer, answered: Answered, *, stream: bool) -> None:
        self.status = answer.status
        kept = tuple(header for header in answer.headers if header[0] != "content-type")
        self.headers = (*(SSE_HEADERS if stream else JSON_HEADERS), *kept)
        self._answer = answer
        self._answered = answered
        self._chat = ChatEvents()
        self._events = ResponseEvents(answered) if stream else None
        self._whole = bytearray()  # of a plain answer
        self._out = bytearray()
        self._ended = False

    async def read(self) -> bytes:
        """Return what the engine has said since the last call, translated."""
        while not self._out and not self._ended:
            if self._events is None:
                await self._read_whole()
            else:
                await self._read_events(self._events)
        data = bytes(self._out[: limits.BACKEND_CHUNK])
        del self._out[: len(data)]
        return data

    async def _read_whole(self) -> None:
        data = await self._answer.read()
        if data:
            self._whole += data
            if len(self._whole) > limits.HELD_ANSWER_MAX:
                raise garbled("The engine's answer is too long.")
            return
        self._out += response_from_chat_untrusted(bytes(self._whole), self._answered)
        self._whole.clear()
        self._ended = True

    async def _read_events(self, events: ResponseEvents) -> None:
        try:
            data = await self._answer.read()
            if data:
                for event in self._chat.feed_untrusted(data):
                    events.add_untrusted(event)
                return
            if not self._chat.between:
                raise BackendError(502, "engine_cut", "The engine ended its answer in the middle of an event.")
            events.end()
        except BackendError as error:
            if not events.begun:
                raise
            events.fail(error.message)
            await self._answer.close()
        finally:
            self._out += events.take()
        self._ended = True

    @property
    def ready(self) -> bool:
        """See `BackendAnswer.ready`."""
        return bool(self._out) or self._ended or self._answer.ready

    @property
    def usage(self) -> Usage | None:
        """The engine's token counts, once all has been read."""
        return self._answer.usage

    async def close(self) -> None:
        """Stop the engine."""
        self._ended = True
        self._out.clear()
        await self._answer.close()
