"""The one table from an error's class to the HTTP status, code and words that an app sees (DESIGN.md section 9).

Every answer that is not an app's own is an OpenAI error object, so that the official SDKs raise what their users
expect. No text of a request or an answer gets in here: what is said comes from this table, from `BackendError`'s
message (made by us or by the engine's error object) and from the reasons that routing gives for refused hosts.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from sealmesh.client.turns import may_help_elsewhere
from sealmesh.errors import (
    AttesterError,
    AttesterUnavailableError,
    BackendError,
    BusyError,
    ConfigError,
    ConnectionLostError,
    HardeningError,
    HostLostError,
    HostTooSlowError,
    LocalProtocolError,
    NotAdmittedError,
    RemoteProtocolError,
    RequestError,
    RoutingError,
    SealmeshError,
    StreamResetError,
    TransportError,
    TransportTimeoutError,
    VerificationError,
)

REFUSED_SHOWN_MAX: Final = 100  # hosts listed in one error object
REFUSED_WORDS_MAX: Final = 5  # hosts named in its message, which people read


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicError:
    """What an app is told: the status line's number, the error object and the headers that steer an SDK's retries.

    Attributes:
        status: HTTP status.
        code: Stable; programs may rely on it.
        kind: OpenAI's `type`.
        message: For people: what is wrong and what to do.
        param: The field of the request that is wrong, if one is.
        retry_after_s: Sent as `Retry-After`; None where waiting does not help.
        may_retry: False where an SDK would retry by itself and should not (`x-should-retry: false`).
        details: More members of the error object (the refused hosts).
    """

    status: int
    code: str
    kind: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None
    may_retry: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> bytes:
        """The OpenAI error object as JSON, on one line."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, **self.details}
        return msgspec.json.encode({"error": error})

    def event(self) -> bytes:
        """The same as one server-sent event, for a stream that has begun."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """`Retry-After` and `x-should-retry` where they apply."""
        headers: list[tuple[str, str]] = []
        if self.retry_after_s is not None:
            headers.append(("retry-after", str(self.retry_after_s)))
        if not self.may_retry:
            headers.append(("x-should-retry", "false"))
        if self.status == 401:
            headers.append(("www-authenticate", "Bearer"))
        return tuple(headers)


def _row(
    status: int, code: str, message: str, *, retry_after_s: int | None = None, may_retry: bool = True
) -> PublicError:
    return PublicError(
        status=status,
        code=code,
        kind=kind_of(status),
        message=message,
        retry_after_s=retry_after_s,
        may_retry=may_retry,
    )


def kind_of(status: int) -> str:
    """OpenAI's `type` for a status."""
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 404:
            return "not_found_error"
        case 429:
            return "rate_limit_error"
        case _ if status >= 500:
            return "server_error"
        case _:
            return "invalid_request_error"


#: Where waiting helps: `Retry-After` stands with these and with no other, whoever asks for it.
WAITING_HELPS: Final = frozenset({429, 503})

#: Every code of ours with its status and its words. `docs/reference/errors.md` is generated from this.
CODES: Final[Mapping[str, PublicError]] = {
    row.code: row
    for row in (
        _row(400, "bad_http", "This is not HTTP/1.1 that can be understood."),
        _row(400, "invalid_json", "The body is not valid JSON. Nothing was sent to any host."),
        _row(400, "invalid_request", "The request has a missing field or one of the wrong type."),
        _row(400, "context_length_exceeded", "The request needs more context than any usable host gives."),
        _row(
            400,
            "previous_response_not_found",
            "This node has no such answer of this model to go on from: it keeps them in memory for an hour at most. "
            "Send the whole conversation in `input`.",
        ),
        _row(401, "invalid_api_key", "This API needs a valid key: `Authorization: Bearer KEY`."),
        _row(403, "no_attested_host", "Hosts serve this model, but none meets this node's policy. Nothing was sent."),
        _row(403, "host_not_allowed", "The Host header names neither this machine's loopback nor a configured name."),
        _row(403, "origin_not_allowed", "Requests from other web pages are refused."),
        _row(403, "token_required", "Changing something needs the node's local token in `x-sealmesh-token`."),
        _row(404, "not_found", "There is nothing at this path."),
        _row(404, "model_not_found", "No host in this mesh offers this model. See /v1/models."),
        _row(404, "response_not_found", "This node keeps no answer with this id (any more)."),
        _row(405, "method_not_allowed", "This path does not take this method; the Allow header says which it takes."),
        _row(408, "request_timeout", "The request arrived too slowly."),
        _row(413, "request_too_large", "The body is larger than this API takes."),
        _row(415, "unsupported_encoding", "Compressed request bodies are not taken: nothing is ever decompressed."),
        _row(417, "expectation_failed", "Only `Expect: 100-continue` is understood."),
        _row(431, "head_too_large", "The request's head is too large or has too many headers."),
        _row(500, "internal_error", "This node made a mistake. Its log says where, without the request's content."),
        _row(501, "not_supported", "This node does not offer this."),
        _row(
            502,
            "host_lost",
            "The host was lost before its answer came to its authenticated end. What came before may be incomplete.",
            may_retry=False,
        ),
        _row(502, "answer_too_large", "The host's answer is larger than this node holds.", may_retry=False),
        _row(503, "no_host", "No host can be reached for this model now.", retry_after_s=5),
        _row(503, "busy", "This node, or every host that could answer, has no room now.", retry_after_s=1),
        _row(503, "shutting_down", "This node is stopping.", retry_after_s=5),
        _row(504, "host_too_slow", "The host is alive but did not answer within the set time.", may_retry=False),
        _row(505, "http_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here."),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCode:
    """A code that comes from a host or its engine.

    Attributes:
        status: The HTTP status that goes with it.
        code: Stable.
        meaning: For people.
    """

    status: int
    code: str
    meaning: str

    @property
    def elsewhere(self) -> bool:
        """Whether another host is tried, before the first byte."""
        return may_help_elsewhere(self.status, self.code)


#: Every code that a host of this version gives. A test looks for others in the code of hosts and engines.
HOST_CODES: Final = tuple(
    HostCode(status=status, code=code, meaning=meaning)
    for status, code, meaning in (
        (400, "context_length_exceeded", "The request needs more context than this host gives."),
        (400, "invalid_json", "The host could not read the body."),
        (400, "invalid_request", "The host or its engine does not take the request as it is."),
        (400, "unsupported_parameter", "The host's engine cannot do what a field asks for; `param` names it."),
        (400, "unsupported_content", "The host's engine cannot work on a part of that kind; `param` names it."),
        (501, "unsupported_operation", "The host's engine does not have that endpoint."),
        (400, "unsupported_value", "The host's engine cannot do what a field's value asks for; `param` names it."),
        (404, "model_not_found", "The host does not serve the model (any more)."),
        (404, "unknown_operation", "The host does not serve that endpoint."),
        (413, "body_too_large", "The body is longer than a host takes."),
        (500, "engine_error", "The engine failed in its work."),
        (500, "internal_error", "The host made a mistake."),
        (502, "backend_error", "The engine failed, and said nothing that can be passed on."),
        (502, "engine_broken", "The engine said what no engine may say."),
        (502, "engine_cut", "The engine broke off in the middle of its answer."),
        (502, "engine_lost", "The connection to the engine broke."),
        (503, "backend_busy", "The engine has no room."),
        (502, "backend_refused", "The engine does not take the host's key."),
        (503, "backend_stopped", "The host is stopping."),
        (503, "backend_unavailable", "The engine cannot be reached."),
        (503, "busy", "The host has no room: in memory, or a turn at the engine took too long."),
        (503, "model_mismatch", "The model's file is not the one that it should be."),
        (503, "model_unavailable", "The model cannot be loaded."),
        (504, "engine_too_slow", "The engine did not answer in time."),
    )
)


def refusal(code: str, message: str | None = None, *, param: str | None = None) -> RequestError:
    """Make the `RequestError` for a code of the table, with other words where they help more.

    Args:
        code: A 4xx code of `CODES`.
        message: Says what is wrong without any content of the request; None takes the table's words.
        param: The field that is wrong.
    """
    row = CODES[code]
    return RequestError(row.status, code, message or row.message, param=param)


def _routing(error: RoutingError) -> PublicError:
    row = CODES[error.fault.value]
    shown = dict(list(error.refused.items())[:REFUSED_SHOWN_MAX])
    failed = {host: error.failed_factors.get(host, ()) for host in shown}
    message = row.message
    if shown:
        named = [f"{host[:10]}: {reason}" for host, reason in list(shown.items())[:REFUSED_WORDS_MAX]]
        more = len(error.refused) - len(named)
        message += " Refused: " + "; ".join(named) + (f"; and {more} more." if more else ".")
    return replace(
        row,
        message=message,
        param="model" if row.status == 404 else None,
        retry_after_s=error.retry_after_s if error.retry_after_s is not None else row.retry_after_s,
        details={"refused": shown, "failed_factors": failed} if shown else {},
    )


def _backend(error: BackendError) -> PublicError:
    status = error.status if 400 <= error.status <= 599 else 502
    retry_after_s = error.retry_after_s if status in WAITING_HELPS else None
    if retry_after_s is None and status == 503:
        retry_after_s = CODES["busy"].retry_after_s  # never a bare 503
    return PublicError(
        status=status,
        code=error.code,
        kind=kind_of(status),
        message=error.message,
        param="messages" if error.code == "context_length_exceeded" else None,
        retry_after_s=retry_after_s,
    )


def _request(error: RequestError) -> PublicError:
    return PublicError(
        status=error.status, code=error.code, kind=kind_of(error.status), message=error.message, param=error.param
    )


#: Class to code, or to the function that reads what the error carries. A class is found by itself, never by its
#: parent: a new error class must be entered here, and a test walks the tree to see that it was.
CLASSES: Final[Mapping[type[SealmeshError], str | Callable[[Any], PublicError]]] = {
    SealmeshError: "internal_error",
    ConfigError: "internal_error",
    LocalProtocolError: "internal_error",
    HardeningError: "internal_error",
    AttesterError: "internal_error",
    AttesterUnavailableError: "internal_error",
    RemoteProtocolError: "host_lost",
    VerificationError: "no_attested_host",
    RoutingError: _routing,
    TransportError: "host_lost",
    StreamResetError: "host_lost",
    ConnectionLostError: "host_lost",
    TransportTimeoutError: "host_lost",
    NotAdmittedError: "host_lost",
    HostLostError: "host_lost",
    HostTooSlowError: "host_too_slow",
    BackendError: _backend,
    BusyError: "busy",
    RequestError: _request,
}


def public_error(error: BaseException) -> PublicError:
    """Say what an app is told about an error; whatever is not ours is `internal_error` without its words."""
    if not isinstance(error, SealmeshError):
        return CODES["internal_error"]
    # A room's own subclass means to an app what its parent in `sealmesh.errors` means.
    rule = next(CLASSES[kind] for kind in type(error).__mro__ if kind in CLASSES)
    return CODES[rule] if isinstance(rule, str) else rule(error)


def where_from(error: BaseException) -> str:
    """Say the class of an error and where it was raised, without its message: that may hold text of a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def reference() -> str:
    """Return `docs/reference/errors.md`, which a test compares with the file."""
    lines = [
        "# Errors of the API",
        "",
        "Generated from `sealmesh.api.errors`; a test compares this page with the table.",
        "",
        'Every error is an OpenAI error object: `{"error": {"message", "type", "param", "code"}}`. `no_attested_host`',
        "and `no_host` add `refused`: each host's endpoint id and what it lacked, in words; and `failed_factors`: its",
        "endpoint id and the factors that it fails or lacks, with `number`, `id`, `status`, `source` and `reason`.",
        "Where a host is silent, busy or not judged yet it is `no_host`: waiting may help. No message holds text of a",
        "prompt.",
        "",
        "| status | code | type | Retry-After | x-should-retry | message |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(CODES.values(), key=lambda row: (row.status, row.code)):
        retry = f"{row.retry_after_s} s" if row.retry_after_s is not None else ""
        steer = "" if row.may_retry else "false"
        lines.append(f"| {row.status} | `{row.code}` | `{row.kind}` | {retry} | {steer} | {row.message} |")
    lines += [
        "",
        "## From a host",
        "",
        "What a host says, or its engine. Before the first byte another host is tried where the last column says so;",
        "the app is told when none is left. An engine's own 4xx keeps its status, and its code where it has one.",
        "`Retry-After` stands with 429 and 503 only, and a 503 never comes without.",
        "",
        "| status | code | what happened | another host is tried |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row.status} | `{row.code}` | {row.meaning} | {'yes' if row.elsewhere else ''} |"
            for row in sorted(HOST_CODES, key=lambda row: (row.status, row.code))
        ),
        "",
        "## From which error class",
        "",
        "| class | code |",
        "| --- | --- |",
    ]
    for kind, rule in sorted(CLASSES.items(), key=lambda item: item[0].__name__):
        lines.append(f"| `{kind.__name__}` | {f'`{rule}`' if isinstance(rule, str) else 'what the error carries'} |")
    lines += [
        "",
        "## After the first byte",
        "",
        'A stream that fails after its first byte gets the same object as one event, `data: {"error": ...}`, never',
        "`data: [DONE]` nor any other last word of the engine, and the connection closes.",
        "A plain answer is held until its authenticated end, so its failure is always a whole error response.",
        "",
    ]
    return "\n".join(lines)
