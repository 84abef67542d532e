"""When a request may go unsealed: only by the operator's word, and only to who never had a key (DESIGN.md section 8).

`permit_plain` is the one place that makes a `PlainHost`, and nothing that happens on a stream is among its arguments:
no code, error, timeout or hearsay ever leads to plaintext [PL-1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Final

from sealmesh.errors import LocalProtocolError, VerificationError

_FACTOR: Final = "plain"
_PERMIT: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRule:
    """What this node's operator has decided, and what it remembers.

    Attributes:
        allowed: Whether `--allow-plain-hosts` was given.
        demanded: What the policy asks of hosts, in words; "" where it asks for nothing but a seal. It wins.
        had_key: Whether an endpoint was ever seen with a key, in this run or an earlier one; True where that can no
            longer be known.
    """

    allowed: bool
    demanded: str
    had_key: Callable[[bytes], bool]


#: What holds unless somebody decided otherwise.
NEVER_PLAIN: Final = PlainRule(allowed=False, demanded="", had_key=lambda _: True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainHost:
    """A node without a key to which a request may go unsealed. No verified host, and not to be taken for one."""

    endpoint_id: bytes
    permit: InitVar[object]

    def __post_init__(self, permit: object) -> None:
        if permit is not _PERMIT:
            raise LocalProtocolError("a plain host comes from permit_plain only")


def permit_plain(endpoint_id: bytes, rule: PlainRule, *, takes_plain: bool) -> PlainHost:
    """Let a request go unsealed to a node without a key.

    Args:
        endpoint_id: Whose, 32 bytes.
        rule: The operator's.
        takes_plain: Whether the node's own record says that it takes such requests.

    Raises:
        VerificationError: It may not; factor `plain`, with the reason in words.
    """
    if rule.demanded:  # [PL-3]
        raise VerificationError(_FACTOR, f"it is a plain node: it proves nothing; the policy demands {rule.demanded}")
    if not rule.allowed:  # [PL-2]
        raise VerificationError(
            _FACTOR, "it is a plain node: it has no key to seal to, and --allow-plain-hosts was not given"
        )
    if rule.had_key(endpoint_id):  # [PL-4]
        raise VerificationError(_FACTOR, "it had a key before: nothing is ever sent to it unsealed")
    if not takes_plain:  # [PL-2]
        raise VerificationError(_FACTOR, "it has no key to seal to, and takes no plain requests")
    return PlainHost(endpoint_id=endpoint_id, permit=_PERMIT)


def check_plain(host: object) -> None:
    """Only what `permit_plain` made is sent a request unsealed, by type and at run time [PL-1].

    Raises:
        LocalProtocolError: It is something else, a verified host included.
    """
    if type(host) is not PlainHost:
        raise LocalProtocolError("a request goes unsealed to a permitted plain host only")
