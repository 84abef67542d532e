"""The OpenAI surface: paths, requests in, answers out.

A streamed answer is passed on as it comes, whole events at a time and the last word only after the authenticated end.
A plain answer is held until that end, so that its failure is a whole error response and never a cut body.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from sealmesh.api.bodies import Budget, Holder
from sealmesh.api.connection import OK, HttpRequest
from sealmesh.api.doors import Doorkeeper
from sealmesh.api.errors import CODES, WAITING_HELPS, PublicError, public_error
from sealmesh.api.events import EventGate
from sealmesh.api.fields import Fields, parse_fields_untrusted
from sealmesh.api.heads import RequestHead
from sealmesh.api.kept import ResponseStore
from sealmesh.api.reply import JSON, SSE, Reply
from sealmesh.api.responses import Turn, require_previous
from sealmesh.api.source import AttestationSource
from sealmesh.client.asker import Answer, AppRequest, Asker, ModelListing
from sealmesh.errors import BackendError, RemoteProtocolError, RoutingError, RoutingFault
from sealmesh.limits import BACKEND_ERROR_BODY_MAX, HELD_ANSWER_MAX, HELD_TOTAL_MAX, RETRY_AFTER_MAX
from sealmesh.wire.operations import REQUEST_HEADERS, RESPONSE_HEADERS, Operation, find_operation

_LOG: Final = logging.getLogger("sealmesh.api")
_INLINE_MAX: Final = 256 * 1024  # a larger body is checked off the event loop: it takes milliseconds
_MODELS: Final = "/v1/models"
_RESPONSES: Final = "/v1/responses/"
_ATTESTATION: Final = "/v1/mesh/attestation/"
_OPERATIONS: Final = {operation.path: operation for operation in Operation}
_HEADER_VALUE_MAX: Final = 1024


class OpenAIHandler:
    """Answers the requests of apps.

    Args:
        asker: Produces the answers.
        doorkeeper: Holds the API keys.
        attestations: Where verdicts about hosts are read, if the node has it.
        held_max: Bytes of one plain answer.
        held_total_max: Bytes of all plain answers at once.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        doorkeeper: Doorkeeper,
        attestations: AttestationSource | None = None,
        held_max: int = HELD_ANSWER_MAX,
        held_total_max: int = HELD_TOTAL_MAX,
    ) -> None:
        self._asker = asker
        self._doorkeeper = doorkeeper
        self._attestations = attestations
        self._held_max = held_max
        self._held = Budget(held_total_max)
        self._created = int(time.time())
        self._store = ResponseStore(time.monotonic)
        self._parser = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sealmesh-api-parse")

    def close(self) -> None:
        """Let the parser's thread end, and forget what was kept."""
        self._store.clear()
        self._parser.shutdown(wait=False, cancel_futures=True)

    def check_head(self, head: RequestHead) -> None:
        """Demand the key before any body is read.

        Raises:
            RequestError: 401.
        """
        if head.method != "OPTIONS":
            self._doorkeeper.require_key(head)

    async def respond(self, request: HttpRequest, reply: Reply) -> str:
        """Answer one request; returns the result's code."""
        head = request.head
        allowed = self._allowed(head.path)
        if not allowed:
            return _refuse(reply, CODES["not_found"])
        if head.method == "OPTIONS":  # no CORS: it says what there is, and gives no other page leave
            reply.send(200, b"", headers=(("allow", allowed),))
            return OK
        if head.method not in allowed.split(", "):
            return _refuse(reply, CODES["method_not_allowed"], ("allow", allowed))
        if head.path.startswith(_RESPONSES):
            return self._kept(head, head.path.removeprefix(_RESPONSES), reply)
        operation = find_operation(head.method, head.path)
        if operation is not None:
            return await self._ask(operation, request, reply)
        if head.path.startswith(_ATTESTATION):
            return self._attestation(head.path.removeprefix(_ATTESTATION), reply)
        return self._models(head.path.removeprefix(_MODELS), reply)

    def _allowed(self, path: str) -> str:
        """The methods of a path, "" if there is nothing."""
        if path in _OPERATIONS:
            return "POST, OPTIONS"
        if path.startswith(_RESPONSES) and len(path) > len(_RESPONSES):
            return "GET, HEAD, DELETE, OPTIONS"
        for prefix in (f"{_MODELS}/", _ATTESTATION):
            if path.startswith(prefix) and len(path) > len(prefix):
                return "GET, HEAD, OPTIONS"
        return "GET, HEAD, OPTIONS" if path == _MODELS else ""

    # --- reading -----------------------------------------------------------------------------------------------------

    def _models(self, rest: str, reply: Reply) -> str:
        listings = self._asker.models()
        if not rest:
            data = [self._describe(listing) for listing in listings]
            reply.send(200, msgspec.json.encode({"object": "list", "data": data}))
            return OK
        name = urllib.parse.unquote(rest.removeprefix("/"))
        for listing in listings:
            if listing.name == name:
                reply.send(200, msgspec.json.encode(self._describe(listing)))
                return OK
        return _refuse(reply, public_error(RoutingError(RoutingFault.UNKNOWN_MODEL)))

    def _describe(self, listing: ModelListing) -> dict[str, Any]:
        return {
            "id": listing.name,
            "object": "model",
            "created": self._created,
            "owned_by": "sealmesh",
            "context_length": listing.context_length,
            "sealmesh": {
                "usable": listing.usable,
                "hosts": listing.hosts,
                "best_tier": listing.best_tier,
                "plain": listing.plain,
                "refused": dict(listing.refused),
            },
        }

    def _attestation(self, rest: str, reply: Reply) -> str:
        """Each candidate host's evidence, and the verdict on it as this node sees it now."""
        if self._attestations is None:
            return _refuse(reply, CODES["not_supported"])
        name = urllib.parse.unquote(rest)
        if all(listing.name != name for listing in self._asker.models()):
            return _refuse(reply, public_error(RoutingError(RoutingFault.UNKNOWN_MODEL)))
        hosts = self._attestations.attestation(name)
        reply.send(200, msgspec.json.encode({"object": "list", "model": name, "data": hosts}))
        return OK

    def _kept(self, head: RequestHead, identifier: str, reply: Reply) -> str:
        """Show or forget an answer of the Responses API that is kept here."""
        owner = self._owner(head)
        if head.method == "DELETE":
            if not self._store.delete(identifier, owner=owner):
                return _refuse(reply, CODES["response_not_found"])
            reply.send(200, msgspec.json.encode({"id": identifier, "object": "response", "deleted": True}))
            return OK
        kept = self._store.find(identifier, owner=owner)
        if kept is None:
            return _refuse(reply, CODES["response_not_found"])
        reply.send(200, kept.body)
        return OK

    def _owner(self, head: RequestHead) -> bytes:
        """Digest of the API key where there are keys: nobody finds what another's key has asked."""
        if not self._doorkeeper.keys:
            return b""
        given = (head.get(b"authorization") or b"").partition(b" ")[2]  # `bearer` is written in any case
        return hashlib.sha256(given.strip()).digest()

    def _session(self, head: RequestHead, session: str) -> str:
        """A conversation of one API key: whoever guesses how another's began shares nothing with it (A23)."""
        owner = self._owner(head)
        return hashlib.sha256(owner + session.encode()).hexdigest() if owner and session else session

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, operation: Operation, request: HttpRequest, reply: Reply) -> str:
        fields = await self._parse(operation, request.body)
        turn = await self._turn(fields, request) if fields.converses else None
        question = AppRequest(
            operation=operation,
            model=fields.model,
            body=request.body if turn is None else turn.take_body(),
            stream=fields.stream,
            headers=_request_headers(request.head),
            session=self._session(request.head, fields.session if turn is None else turn.session),
        )
        asking = self._asker.ask(question)
        del question
        answer = await asking
        request.drop_body()
        async with answer:
            _require_final_status(answer)
            if fields.stream and answer.status == 200 and _content_type(answer) == SSE:
                return await _pass_on(answer, reply, turn)
            return await self._hold(answer, reply, turn)

    async def _turn(self, fields: Fields, request: HttpRequest) -> Turn:
        owner = self._owner(request.head)
        before = require_previous(self._store, fields, owner=owner)
        make = functools.partial(Turn, self._store, fields, before=before, owner=owner, body=request.body)
        if len(request.body) + (0 if before is None else before.size) <= _INLINE_MAX:
            return make()
        return await asyncio.get_running_loop().run_in_executor(self._parser, make)

    async def _parse(self, operation: Operation, body: bytes) -> Fields:
        if len(body) <= _INLINE_MAX:
            return parse_fields_untrusted(operation, body)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parser, parse_fields_untrusted, operation, body)

    async def _hold(self, answer: Answer, reply: Reply, turn: Turn | None) -> str:
        """Hold a plain answer until its authenticated end, then write it whole."""
        holder = Holder(limit=self._held_max, budget=self._held)
        try:
            while data := await answer.read():
                if not holder.add(data):
                    return _refuse(reply, CODES["answer_too_large"])
            body = holder.take()
            if answer.status >= 400:
                return _pass_error(answer, body, reply)
            if turn is not None:
                body = turn.take_whole_untrusted(body)
            reply.send(200, body, content_type=_content_type(answer), headers=_answer_headers(answer))
            return OK
        finally:
            holder.release()


async def _pass_on(answer: Answer, reply: Reply, turn: Turn | None) -> str:
    """Write a stream as it comes. The head waits for the first bytes: a failure before them is a whole error."""
    gate = EventGate()

    def ready(data: bytes) -> bytes:
        if data:
            whole = gate.feed_untrusted(data)
            return whole if turn is None else turn.take_events_untrusted(whole)
        last = gate.finish()
        return last if turn is None else turn.take_end_untrusted(last)

    data = await answer.read()
    await reply.start(answer.status, ready(data), content_type=SSE, headers=_answer_headers(answer))
    while data:
        data = await answer.read()
        await reply.write(ready(data))
    reply.end()
    return OK


def _pass_error(answer: Answer, body: bytes, reply: Reply) -> str:
    """Pass on an engine's error object; what is none is replaced by one."""
    if len(body) <= BACKEND_ERROR_BODY_MAX and _is_error_object(body):
        headers = _answer_headers(answer)
        if answer.status == 503 and all(name != "retry-after" for name, _ in headers):  # never a bare 503
            headers = (*headers, *CODES["busy"].headers())
        reply.send(answer.status, body, headers=headers)
        return "backend_error"
    words = "The host's engine refused the request." if answer.status < 500 else "The host's engine failed."
    public = public_error(BackendError(answer.status, "backend_error", words))
    reply.refuse(public, headers=_answer_headers(answer))
    return public.code


def _is_error_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("error"), msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _require_final_status(answer: Answer) -> None:
    """Refuse a status that would change what follows on the wire (100, 204, 304, a redirect)."""
    if answer.status != 200 and not 400 <= answer.status <= 599:
        raise RemoteProtocolError("an answer has a status that no answer may have")


def _content_type(answer: Answer) -> str:
    """JSON or server-sent events, never a type that a browser would run."""
    for name, value in answer.headers:
        if name == "content-type" and value.partition(";")[0].strip().lower() == SSE:
            return SSE
    return JSON


def _request_headers(head: RequestHead) -> tuple[tuple[str, str], ...]:
    """The few headers of an app that go with its request; values that no header should have are left behind."""
    chosen: list[tuple[str, str]] = []
    for raw, value in head.headers:
        name = raw.decode("latin-1")
        text = value.decode("latin-1")
        if name in REQUEST_HEADERS and len(text) <= _HEADER_VALUE_MAX and text.isascii() and text.isprintable():
            chosen.append((name, text))
    return tuple(chosen)


def _answer_headers(answer: Answer) -> tuple[tuple[str, str], ...]:
    """The proof's headers and the host's few, without what this server says itself."""
    passed = (
        (name, value[:_HEADER_VALUE_MAX])
        for name, value in answer.headers
        if name in RESPONSE_HEADERS and name != "content-type"
        if name != "retry-after" or _may_say_retry(answer.status, value)
    )
    return (*answer.proof.headers(), *passed)


def _may_say_retry(status: int, value: str) -> bool:
    """Whether a host's `Retry-After` is passed on: in seconds, not for ever, and only where waiting helps."""
    seconds = value.strip()
    if status not in WAITING_HELPS or not (seconds.isascii() and seconds.isdigit()) or len(seconds) > 9:
        return False
    return int(seconds) <= RETRY_AFTER_MAX


def _refuse(reply: Reply, public: PublicError, *headers: tuple[str, str]) -> str:
    reply.refuse(public, headers=headers)
    return public.code
