"""One answer of a model in this process: the engine's events in a thread, read on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.backend.answers import JSON_HEADERS, SSE_HEADERS, WholeAnswer, engine_error, error_answer, usage_from
from sealmesh.backend.base import BackendAnswer, BackendRequest, Usage
from sealmesh.backend.bridge import Bridge
from sealmesh.backend.llama_events import EventShaper
from sealmesh.backend.llama_request import Collector, EngineRequest, usage_from_timings
from sealmesh.errors import BackendError
from sealmesh.wire.operations import Operation

_log = logging.getLogger("sealmesh.backend")

_ERROR: Final = b'{"error":'
_PROGRESS: Final = b'"prompt_progress":'  # with bare quotes: in a string they would be escaped
_TIMINGS: Final = b'"timings":'


#: The engine leaves its slot within microseconds of its last event; longer is not waited for.
_LEAVING_S: Final = 1.0


class LlamaAnswer(BackendAnswer):
    """One answer: its `run` is called in a thread, all else on the loop."""

    def __init__(self, request: BackendRequest, asked: EngineRequest) -> None:
        self.operation = request.operation
        self.status = 200
        self.headers = SSE_HEADERS if request.stream else JSON_HEADERS
        self.bridge = Bridge(asyncio.get_running_loop())
        self.refusal: WholeAnswer | None = None
        self.left = asyncio.Event()  # set once the engine has left the slot
        self._stream = request.stream
        self._collector = None if request.stream else Collector(request.operation)
        self._bodies = asked.bodies
        self._run = 0  # which of the choices is being made
        self._shaper = EventShaper(
            request.operation,
            choices=len(asked.bodies),
            with_usage=asked.with_usage,
            calls=asked.calls,
            bare_logprobs=asked.bare_logprobs,
        )
        self._prompts = asked.prompts
        self._ends_missing = asked.prompts
        self._usage = Usage()
        self._done = False

    # --- in a thread -----------------------------------------------------------------------------------------------

    def run(self, call: Callable[..., Any]) -> None:
        """Call the engine and see the answer through. Never raises."""
        try:
            if self.bridge.stopped:
                return
            if self.operation is Operation.EMBEDDINGS:
                self._take_embeddings(call(self._bodies[0]))
                return
            for run, body in enumerate(self._bodies):
                self._run, self._ends_missing = run, self._prompts
                call(body, self._on_event)
                if self.bridge.stopped or self.bridge.ended:
                    return
                if self._ends_missing > 0:
                    self.bridge.fail(BackendError(502, "engine_cut", "The model stopped in the middle of an answer."))
                    return
            closing = self._shaper.closing()
            if self._collector is not None:
                self._collector.add(closing or {})
                self.bridge.put(self._collector.whole())
            else:
                said = b"" if closing is None else b"data: " + msgspec.json.encode(closing) + b"\n\n"
                self.bridge.put(said + b"data: [DONE]\n\n")
            self.bridge.finish()
        except (ValueError, RuntimeError) as error:
            # The engine throws what it finds wrong with a request: images without a projector, roles out of order.
            self._refuse(error_answer(400, "invalid_request", str(error)))
        except BaseException as error:
            self._fail(error)

    def _on_event(self, event: bytes) -> bool:
        """Take one event; True stops the engine. The library swallows what is raised here, so nothing is."""
        try:
            return self._take_event(event)
        except BaseException as error:
            self._fail(error)
            return True

    def _take_event(self, event: bytes) -> bool:
        if event.startswith(_ERROR):
            self._take_error(event)
            return True
        if _PROGRESS in event or event == b"null":
            self.bridge.open()
            return self.bridge.stopped
        if _TIMINGS in event:
            self._take_end(event)
        if self._collector is not None or self._shaper.changes(event):
            self.bridge.open()
            shaped = self._shaper.shape(self._run, msgspec.json.decode(event))
            if shaped is None:
                return self.bridge.stopped
            if self._collector is not None:
                self._collector.add(shaped)
                return self.bridge.stopped
            event = msgspec.json.encode(shaped)
        self.bridge.put(b"data: " + event + b"\n\n")
        return self.bridge.stopped

    def _take_end(self, event: bytes) -> None:
        self._ends_missing -= 1
        counts = usage_from_timings(msgspec.json.decode(event)["timings"])
        first = self._run == 0  # a prompt counts once, however many choices it has
        self._usage = Usage(
            prompt_tokens=self._usage.prompt_tokens + (counts.prompt_tokens if first else 0),
            completion_tokens=self._usage.completion_tokens + counts.completion_tokens,
            cached_tokens=self._usage.cached_tokens + (counts.cached_tokens if first else 0),
        )

    def _take_error(self, event: bytes) -> None:
        status = 500
        with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError, ValueError):
            status = int(msgspec.json.decode(event)["error"]["code"])
        refusal = engine_error(status if 400 <= status < 600 else 500, event)
        self._refuse(refusal)

    def _take_embeddings(self, body: bytes) -> None:
        if body.startswith(_ERROR):
            self._take_error(body)
            return
        self._usage = usage_from(msgspec.json.decode(body).get("usage")) or Usage()
        self.bridge.put(body)
        self.bridge.finish()

    def _refuse(self, refusal: WholeAnswer) -> None:
        """Before the answer has begun an error is an answer of its own; after, the answer has failed."""
        if self.bridge.begun:
            self.bridge.fail(BackendError(500, "engine_error", "The model failed in the middle of an answer."))
        else:
            self.refusal = refusal
            self.bridge.finish()

    def _fail(self, error: BaseException) -> None:
        _log.error("the model's answer failed: %s", type(error).__name__)  # its text may hold the prompt's
        self.bridge.fail(BackendError(500, "engine_error", "The model failed."))

    # --- on the loop -------------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """Return what the model has said since the last call."""
        data = await self.bridge.take(limits.BACKEND_CHUNK)
        self._done = self._done or not data
        return data

    @property
    def ready(self) -> bool:
        """See `BackendAnswer.ready`."""
        return self.bridge.ready

    @property
    def usage(self) -> Usage | None:
        """Token counts, once all has been read."""
        return self._usage if self._done else None

    async def close(self) -> None:
        """Stop the model at its next event, at the latest after one batch.

        After a whole answer, wait until its slot is free again: the conversation's next request finds its state there.
        """
        self.bridge.stop()
        if self._done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVING_S):
                    await self.left.wait()
