"""A label, the bytes as received, and a signature: the one way in which anything in sealmesh is signed.

What is signed is `label ‖ 0x00 ‖ part`, so that a signature for one purpose never holds for another, and the part is
kept and passed on as it came: nothing is encoded anew before it is hashed or checked (docs/spec/admission.md).
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import Final, TypeVar

import nacl.bindings
import nacl.exceptions
from google.protobuf.message import DecodeError, Message

from sealmesh.errors import VerificationError
from sealmesh.identity._codec.admission_pb2 import SignedPart
from sealmesh.limits import SIGNATURES_REMEMBERED_MAX

PUBLIC_LENGTH: Final = 32
SEED_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64

_MessageT = TypeVar("_MessageT", bound=Message)


class Label(bytes, enum.Enum):
    """What a signature is for. No label is the beginning of another followed by a zero byte."""

    GRANT = b"sealmesh/1 grant"
    MEMBER = b"sealmesh/1 member"
    REVOCATIONS = b"sealmesh/1 revocations"
    SUCCESSOR = b"sealmesh/1 successor"
    SUMMARY = b"sealmesh/1 summary"
    KEYS = b"sealmesh/1 keys"
    EPOCH = b"sealmesh/1 epoch"
    EVIDENCE = b"sealmesh/1 evidence"
    RECEIPT = b"sealmesh/1 receipt"

    @property
    def words(self) -> str:
        """The label's last word, for factor ids and people."""
        return self.value.decode("ascii").rsplit(" ", 1)[1]


def signed_bytes(label: Label, part: bytes) -> bytes:
    """Return what a signature for `label` over `part` covers: `label ‖ 0x00 ‖ part` [AD-1]."""
    return label.value + b"\x00" + part


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A part as it was signed or received, and its signature. Nothing about it is verified.

    Attributes:
        part: The signed bytes, never encoded anew.
        signature: Ed25519, 64 bytes.
    """

    part: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Return the wire form: protobuf `{part = 1, signature = 2}`, in that order and nothing else."""
        return SignedPart(part=self.part, signature=self.signature).SerializeToString(deterministic=True)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the wire form."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def decode_untrusted(cls, data: bytes, *, maximum: int, factor: str = "signed") -> Signed:
        """Parse the wire form.

        Only the one canonical encoding is taken, so that nobody but the owner can make other bytes of the same record.

        Args:
            data: Bytes of a peer.
            maximum: Longest wire form accepted, in bytes.
            factor: The id to refuse under.

        Raises:
            VerificationError: Too long, malformed or not canonical [AD-2].
        """
        if len(data) > maximum:
            raise VerificationError(factor, "too long", expected=f"at most {maximum} bytes", got=f"{len(data)} bytes")
        message = parse_message_untrusted(SignedPart, data, factor=factor)
        signed = cls(part=message.part, signature=message.signature)
        require_signature_length(signed.signature, factor=factor)
        if signed.encode() != data:
            raise VerificationError(factor, "not the canonical encoding")
        return signed


def require_signature_length(signature: bytes, *, factor: str) -> None:
    """Refuse a signature of another length than Ed25519's.

    Raises:
        VerificationError: The length is not 64 bytes.
    """
    if len(signature) != SIGNATURE_LENGTH:
        raise VerificationError(
            factor, "signature of the wrong length", expected=f"{SIGNATURE_LENGTH} bytes", got=f"{len(signature)} bytes"
        )


def parse_message_untrusted(kind: type[_MessageT], data: bytes, *, factor: str) -> _MessageT:
    """Parse one protobuf message; unknown fields are ignored, what is signed stays signed as received.

    Raises:
        VerificationError: Not a message of that kind.
    """
    try:
        return kind.FromString(data)
    except (DecodeError, ValueError, TypeError) as error:  # upb reports bad UTF-8 and bad wire data by any of these
        raise VerificationError(factor, "malformed") from error


class SignatureMemo:
    """Signatures that held, known by exactly the bytes that were checked, so that none is checked twice.

    The same credentials come with every record of their owner, and again when it connects. Only what held is kept: a
    flood of wrong signatures puts nothing in. The oldest make room.

    Args:
        capacity: How many are remembered; each takes about 120 bytes.
    """

    __slots__ = ("_capacity", "_held")

    def __init__(self, capacity: int = SIGNATURES_REMEMBERED_MAX) -> None:
        self._capacity = capacity
        self._held: dict[bytes, None] = {}  # in the order in which they were checked

    def __len__(self) -> int:
        return len(self._held)

    @staticmethod
    def name(public: bytes, label: Label, signed: Signed) -> bytes:
        """SHA-256 of all that decides; key and signature have fixed lengths, and no label runs into a part [AD-1]."""
        return hashlib.sha256(public + signed.signature + signed_bytes(label, signed.part)).digest()

    def holds(self, name: bytes) -> bool:
        """Whether a signature over exactly these bytes was checked before."""
        return name in self._held

    def keep(self, name: bytes) -> None:
        """Remember one that held."""
        self._held[name] = None
        if len(self._held) > self._capacity:
            del self._held[next(iter(self._held))]


def verify_signed_untrusted(
    public: bytes, label: Label, signed: Signed, *, factor: str | None = None, memo: SignatureMemo | None = None
) -> None:
    """Check that `signed` was signed for `label` by the owner of `public`.

    libsodium's strict verifier: a signature scalar that is not reduced and keys of small order are refused.

    Args:
        public: Ed25519 public key, 32 bytes.
        label: What the signature must be for.
        signed: Part and signature, as received.
        factor: The id to refuse under; `<label>_signature` where None.
        memo: What was checked before; asked first, and told of what holds.

    Raises:
        VerificationError: It was not [AD-1].
    """
    name = factor if factor is not None else f"{label.words}_signature"
    if len(public) != PUBLIC_LENGTH:
        raise VerificationError(name, "public key of the wrong length", expected="32 bytes", got=f"{len(public)} bytes")
    require_signature_length(signed.signature, factor=name)
    known = b"" if memo is None else memo.name(public, label, signed)
    if memo is not None and memo.holds(known):
        return
    try:
        nacl.bindings.crypto_sign_open(signed.signature + signed_bytes(label, signed.part), public)
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
        raise VerificationError(name, "the signature does not hold") from error
    if memo is not None:
        memo.keep(known)
