"""Maps in plain CBOR, as Apple's objects and our own evidence records are: text to texts, byte strings, lists, maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cbor2

from sealmesh.attestation.envelope import check_plain_cbor_untrusted
from sealmesh.errors import VerificationError

_DEPTH_MAX: Final = 4


def read_map_untrusted(data: bytes, *, what: str, maximum: int) -> dict[str, object]:
    """Read a map whose keys are texts, with nothing before or after it.

    Args:
        data: Plain CBOR of definite lengths; no tag, float, negative or simple value.
        what: What it should be, for people.
        maximum: Most bytes.

    Raises:
        VerificationError: It is none; factor `binding`, which it cannot satisfy.
    """
    if len(data) > maximum:
        raise VerificationError("binding", f"{what} is too long")
    try:
        check_plain_cbor_untrusted(data)
        content = cbor2.loads(
            data, max_depth=_DEPTH_MAX, allow_indefinite=False, allow_duplicate_keys=False, strict_hashable_types=True
        )
    except (VerificationError, cbor2.CBORDecodeError, ValueError) as error:
        raise VerificationError("binding", f"{what} is not plain CBOR") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise VerificationError("binding", f"{what} is no map with texts as keys")
    return content


def take_bytes(content: Mapping[str, object], key: str, *, what: str, length: int | None = None) -> bytes:
    """Return a byte string of a map.

    Raises:
        VerificationError: It is not there, none, or of another length; factor `binding`.
    """
    value = content.get(key)
    if not isinstance(value, bytes) or (length is not None and len(value) != length):
        raise VerificationError("binding", f"{what}: {key} is missing or malformed")
    return value


def take_chain(content: Mapping[str, object], key: str, *, what: str) -> tuple[bytes, ...]:
    """Return a list of byte strings of a map: certificates.

    Raises:
        VerificationError: It is not there, or something else; factor `binding`.
    """
    value = content.get(key)
    if not isinstance(value, list):
        raise VerificationError("binding", f"{what}: {key} is missing or malformed")
    chain = tuple(one for one in value if isinstance(one, bytes))
    if len(chain) != len(value):
        raise VerificationError("binding", f"{what}: {key} is missing or malformed")
    return chain


def check_keys(content: Mapping[str, object], known: frozenset[str], *, what: str) -> None:
    """Refuse a map with keys that nobody reads: what they hold would be covered by nothing.

    Raises:
        VerificationError: Factor `binding`.
    """
    if not known.issuperset(content):
        raise VerificationError("binding", f"{what} has an unknown field")
