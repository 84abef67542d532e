"""Every error that sealmesh raises on purpose, by whose fault it is.

One root, so that a seam can catch what it expects and let a bug through. The words that a
user sees are chosen in two tables (`sealmesh.api.errors` and `sealmesh.cli.terminal`), never here. No error
ever carries text from a prompt or an answer.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence


class SealmeshError(Exception):
    """The root of all errors that are raised on purpose."""


class ConfigError(SealmeshError):
    """The operator gave something that cannot be used: a flag, a file, a ticket. The message says what to do."""


class LocalProtocolError(SealmeshError):
    """Our own code made a move that the protocol does not allow. Nothing was changed by the attempt."""


class RemoteProtocolError(SealmeshError):
    """The other side sent something that the protocol does not allow, every failed opening included.

    Args:
        reason: Says which rule was broken; holds no peer-chosen text and no content.
        code: The `0xE0` code to answer with where one applies, else 0.
    """

    def __init__(self, reason: str, *, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class VerificationError(SealmeshError):
    """Evidence, a signature or a statement did not hold.

    Args:
        factor: The id of the factor or rule that failed.
        reason: In words, for people.
        expected: What was required, where that can be said.
        got: What was found instead.
    """

    def __init__(self, factor: str, reason: str, *, expected: str = "", got: str = "") -> None:
        super().__init__(f"{factor}: {reason}")
        self.factor = factor
        self.reason = reason
        self.expected = expected
        self.got = got


class RoutingFault(enum.Enum):
    """Why no host can answer; each has its own HTTP code (DESIGN.md section 9)."""

    UNKNOWN_MODEL = "model_not_found"
    NO_HOST = "no_host"
    NO_ATTESTED_HOST = "no_attested_host"


class RoutingError(SealmeshError):
    """No host can take the request.

    Args:
        fault: Which of the three cases it is.
        refused: Endpoint id (hex) to the reason why that host was not used.
        failed_factors: Endpoint id (hex) to the factors that it fails or lacks, each as JSON-ready data.
        retry_after_s: When trying again may help, in seconds; None where waiting does not help.
    """

    def __init__(
        self,
        fault: RoutingFault,
        *,
        refused: Mapping[str, str] | None = None,
        failed_factors: Mapping[str, Sequence[Mapping[str, str | int]]] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.refused = dict(refused or {})
        self.failed_factors = {host: tuple(factors) for host, factors in (failed_factors or {}).items()}
        self.retry_after_s = retry_after_s


class TransportError(SealmeshError):
    """The way between two nodes failed: not reached, lost, reset, too slow."""


class StreamResetError(TransportError):
    """The peer (or this side) reset the stream: it has ended without a proper finish."""


class ConnectionLostError(TransportError):
    """The connection below the stream is gone."""


class TransportTimeoutError(TransportError):
    """The peer did not answer in time, or no stream became free in time."""


class NotAdmittedError(TransportError):
    """Admission failed on a connection: one side does not take the other for a member.

    Args:
        factor: The stable name of what failed (`sealmesh.identity.admission.Factor`, or a name of the links' own).
        by_peer: Whether it was the peer that refused this node.
    """

    def __init__(self, factor: str, *, by_peer: bool = True) -> None:
        super().__init__(f"the other side does not admit this node: {factor}" if by_peer else f"not admitted: {factor}")
        self.factor = factor
        self.by_peer = by_peer


class HostLostError(TransportError):
    """The host fell silent, or the exchange ended without its authenticated end."""


class HostTooSlowError(TransportError):
    """The host is alive (it pings) but produced no head, or no body, within the set time."""


class BackendError(SealmeshError):
    """The engine behind a host refused or failed.

    Args:
        status: The HTTP status that fits, as the engine gave it or chosen by the backend.
        code: A stable code of ours (`backend_unavailable`, `context_length_exceeded`, ...).
        message: For people; made by us or by the engine's error object, never from a prompt.
        retry_after_s: When trying again may help, in seconds.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class BusyError(SealmeshError):
    """This node, or the host, has no room now. Waiting helps."""


class HardeningError(SealmeshError):
    """A hardening control that was demanded could not be put in force."""


class AttesterError(SealmeshError):
    """The hardware of this machine that proves what it is, or keeps its keys, did not do what was asked.

    Args:
        reason: What happened and what to do, in words; holds no secret and no text of a peer.
        code: The chip's own response code where it gave one, else 0.
        momentary: The chip says that it cannot do it now, busy or full; nothing follows about what it was given.
    """

    def __init__(self, reason: str, *, code: int = 0, momentary: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.momentary = momentary


class AttesterUnavailableError(AttesterError):
    """This machine has no such hardware, or this user may not use it."""


class RequestError(SealmeshError):
    """An app sent a request that cannot be taken.

    Args:
        status: HTTP status, 4xx.
        code: Stable code (DESIGN.md section 9).
        message: What is wrong and what to do, without any content of the request.
        param: The field that is wrong, if one is.
    """

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.param = param
