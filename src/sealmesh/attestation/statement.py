"""Host and epoch statements (docs/spec/statements.md; PROTOCOL.md, Host statement, epochs, challenge).

The *host statement* is what evidence vouches for; it names the statement key. The *epoch statement*, signed by that
key, names the inference keys of one epoch. So rotating the inference keys asks nothing of the hardware, and a swapped
inference key has no signature. Bytes are hashed and verified as they were received [ST-1].
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from sealmesh.attestation._codec import attestation_pb2 as pb
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.identity.signed import Label, Signed, verify_signed_untrusted
from sealmesh.limits import (
    ACCELERATORS_MAX,
    CLOCK_SKEW_S,
    EPOCH_S,
    EPOCH_STATEMENT_MAX,
    EPOCH_SUITES_MAX,
    HOST_STATEMENT_LIFETIME_S,
    HOST_STATEMENT_MAX,
    MODELS_PER_RECORD_MAX,
    POSTURE_CONTROLS_MAX,
    STATEMENT_TEXT_MAX,
    SUITE_PUBLIC_MAX,
)

VERSION: Final = 1
KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 32
BINDING_LABEL: Final = b"sealmesh/1 evidence\x00"

#: How near the backend is to the process that opens the prompt (ATTESTATION.md, Posture).
BACKENDS: Final = ("in-process", "local", "remote")


class StatementSigner(Protocol):
    """What signs epoch statements: `sealmesh.identity.keys.StatementKey`."""

    @property
    def public(self) -> bytes:
        """Ed25519 public key, 32 bytes."""

    def sign(self, label: Label, part: bytes) -> bytes:
        """Return the signature over label ‖ 0x00 ‖ part, 64 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatement:
    """What a host says of itself and its evidence signs. Every field but the keys is a claim.

    Attributes:
        endpoint_id: Ed25519 public key of the node, 32 bytes.
        statement_key: Ed25519 public key that signs this process's epoch statements, 32 bytes.
        measurement: Digest over the installed code, 32 bytes, or empty where it was not taken.
        platform: What that code was made for, as `linux-x86_64-cp311`; empty where it was not taken.
        posture: Control name to state, as the host reports it.
        backend: One of `BACKENDS`.
        accelerators: Names of the accelerators that run the model; text of a peer.
        model_digests: SHA-256 of each served model's file, 32 bytes each.
        issued: Unix seconds, in whole milliseconds.
        expires: Unix seconds, at most `HOST_STATEMENT_LIFETIME_S` after `issued`.
        challenge_root: Merkle root over the waiting nonces, 32 bytes; empty in a gossiped statement.
    """

    endpoint_id: bytes
    statement_key: bytes
    measurement: bytes = b""
    platform: str = ""
    posture: Mapping[str, str] = field(default_factory=dict)
    backend: str = "remote"
    accelerators: tuple[str, ...] = ()
    model_digests: tuple[bytes, ...] = ()
    issued: float
    expires: float
    challenge_root: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "posture", MappingProxyType(dict(self.posture)))

    def encode(self) -> bytes:
        """Return the bytes that evidence binds. Controls are sorted by name, so equal statements have equal bytes.

        Raises:
            LocalProtocolError: The statement breaks a rule that a reader would refuse it for.
        """
        message = pb.HostStatement(
            version=VERSION,
            endpoint_id=self.endpoint_id,
            statement_key=self.statement_key,
            measurement=self.measurement,
            posture=[pb.Control(name=name, state=state) for name, state in sorted(self.posture.items())],
            backend=self.backend,
            accelerators=self.accelerators,
            model_digests=self.model_digests,
            issued_ms=_to_ms(self.issued),
            expires_ms=_to_ms(self.expires),
            challenge_root=self.challenge_root,
            platform=self.platform,
        )
        encoded = message.SerializeToString(deterministic=True)
        _refuse_own(_host_statement_fault(encoded, message))
        return encoded

    @classmethod
    def parse_untrusted(cls, data: bytes) -> HostStatement:
        """Read a host statement. Nothing of it is verified by that.

        Raises:
            VerificationError: It is no host statement by the rules [ST-2] to [ST-8]; factor `host_statement`.
        """
        message = pb.HostStatement()
        _refuse("host_statement", _size_fault(data, HOST_STATEMENT_MAX))
        _decode("host_statement", message, data)
        _refuse("host_statement", _host_statement_fault(data, message))
        return cls(
            endpoint_id=message.endpoint_id,
            statement_key=message.statement_key,
            measurement=message.measurement,
            posture={control.name: control.state for control in message.posture},
            backend=message.backend,
            accelerators=tuple(message.accelerators),
            model_digests=tuple(message.model_digests),
            issued=message.issued_ms / 1000,
            expires=message.expires_ms / 1000,
            challenge_root=message.challenge_root,
            platform=message.platform,
        )

    def says_the_same_as(self, other: HostStatement) -> bool:
        """Whether both claim the same of code and models: a verdict is about the claims that were judged."""
        return (self.measurement, self.backend, self.accelerators, self.model_digests) == (
            other.measurement,
            other.backend,
            other.accelerators,
            other.model_digests,
        )

    def check_time(self, now: float) -> None:
        """Refuse a statement that is from the future or has ended [ST-9].

        Raises:
            VerificationError: Factor `freshness`.
        """
        if self.issued > now + CLOCK_SKEW_S:
            raise VerificationError("freshness", "the host statement was issued ahead of this clock")
        if now >= self.expires:
            raise VerificationError("freshness", "the host statement has expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStatement:
    """The inference keys of one epoch.

    Attributes:
        endpoint_id: Ed25519 public key of the node, 32 bytes.
        epoch: Number of the epoch within the process, rising.
        not_before: Unix seconds, in whole milliseconds.
        not_after: Unix seconds, at most `EPOCH_S` after `not_before`.
        keys: Suite number to public key; at least one.
        host_statement_digest: SHA-256 of the host statement that stood when the epoch was made, 32 bytes.
    """

    endpoint_id: bytes
    epoch: int
    not_before: float
    not_after: float
    keys: Mapping[int, bytes]
    host_statement_digest: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

    def encode(self) -> bytes:
        """Return the bytes that the statement key signs and the sealed exchange hashes.

        Raises:
            LocalProtocolError: The statement breaks a rule that a reader would refuse it for.
        """
        message = pb.EpochStatement(
            version=VERSION,
            endpoint_id=self.endpoint_id,
            epoch=self.epoch,
            not_before_ms=_to_ms(self.not_before),
            not_after_ms=_to_ms(self.not_after),
            keys=[pb.SuiteKey(suite=suite, public_key=public) for suite, public in sorted(self.keys.items())],
            host_statement_digest=self.host_statement_digest,
        )
        encoded = message.SerializeToString(deterministic=True)
        _refuse_own(_epoch_statement_fault(encoded, message))
        return encoded

    def sign(self, key: StatementSigner) -> Signed:
        """Return the encoded statement with the statement key's signature [ST-14]."""
        part = self.encode()
        return Signed(part=part, signature=key.sign(Label.EPOCH, part))

    @classmethod
    def parse_untrusted(cls, data: bytes) -> EpochStatement:
        """Read an epoch statement without verifying its signature.

        Raises:
            VerificationError: It is no epoch statement by the rules [ST-10] to [ST-13]; factor `epoch_statement`.
        """
        message = pb.EpochStatement()
        _refuse("epoch_statement", _size_fault(data, EPOCH_STATEMENT_MAX))
        _decode("epoch_statement", message, data)
        _refuse("epoch_statement", _epoch_statement_fault(data, message))
        return cls(
            endpoint_id=message.endpoint_id,
            epoch=message.epoch,
            not_before=message.not_before_ms / 1000,
            not_after=message.not_after_ms / 1000,
            keys={key.suite: key.public_key for key in message.keys},
            host_statement_digest=message.host_statement_digest,
        )

    @classmethod
    def verify_untrusted(cls, signed: Signed, *, statement_key: bytes, endpoint_id: bytes) -> EpochStatement:
        """Verify an epoch statement against the statement key of a verified host statement.

        The digest of the host statement is not compared: each challenge makes a new host statement, and an epoch
        statement never changes within its epoch [ST-16]. What ties the two is the statement key.

        Args:
            signed: The bytes as received and their signature.
            statement_key: From the host statement that evidence vouched for, 32 bytes.
            endpoint_id: The host's, as the connection proved it, 32 bytes.

        Raises:
            VerificationError: Wrong signature, another endpoint, or malformed; factor `epoch_statement`.
        """
        check_epoch_signature(signed, statement_key)
        statement = cls.parse_untrusted(signed.part)
        check_epoch_endpoint(statement, endpoint_id)
        return statement


def check_epoch_signature(signed: Signed, statement_key: bytes) -> None:
    """Refuse inference keys that the statement key did not sign [ST-14]: the swapped key of attack A04.

    Raises:
        VerificationError: Factor `epoch_statement`.
    """
    try:
        verify_signed_untrusted(statement_key, Label.EPOCH, signed)
    except VerificationError as error:
        raise VerificationError("epoch_statement", "the statement key did not sign these inference keys") from error


def check_epoch_endpoint(statement: EpochStatement, endpoint_id: bytes) -> None:
    """Refuse an epoch statement of another endpoint [ST-15]: attacks A04 and A07.

    Raises:
        VerificationError: Factor `epoch_statement`.
    """
    if statement.endpoint_id != endpoint_id:
        raise VerificationError(
            "epoch_statement",
            "the epoch statement is another endpoint's",
            expected=endpoint_id.hex(),
            got=statement.endpoint_id.hex(),
        )


def binding(host_statement: bytes) -> bytes:
    """Return what evidence signs: SHA-256("sealmesh/1 evidence" ‖ 0x00 ‖ statement as received), 32 bytes [ST-7]."""
    return hashlib.sha256(BINDING_LABEL + host_statement).digest()


def statement_digest(statement: bytes) -> bytes:
    """Return the SHA-256 of a statement's bytes as received, 32 bytes."""
    return hashlib.sha256(statement).digest()


def _host_statement_fault(data: bytes, message: pb.HostStatement) -> str | None:
    """Say which rule [ST-2] to [ST-8] a decoded host statement breaks, if any."""
    names = [control.name for control in message.posture]
    texts = [*names, *(control.state for control in message.posture), *message.accelerators, message.platform]
    lifetime_ms = message.expires_ms - message.issued_ms
    rules = (
        (len(data) <= HOST_STATEMENT_MAX, "it is too long"),
        (message.version == VERSION, "its version is unknown"),  # [ST-3]
        (len(message.endpoint_id) == KEY_BYTES, "its endpoint id has the wrong length"),  # [ST-4] from here on
        (len(message.statement_key) == KEY_BYTES, "its statement key has the wrong length"),
        (len(message.measurement) in (0, DIGEST_BYTES), "its measurement has the wrong length"),
        (len(names) <= POSTURE_CONTROLS_MAX, "it has too many posture controls"),
        (len(names) == len(set(names)), "a posture control appears twice"),  # [ST-5] with the next three
        (message.backend in BACKENDS, "its backend is of no known kind"),
        (len(message.accelerators) <= ACCELERATORS_MAX, "it has too many accelerators"),
        (all(len(text.encode()) <= STATEMENT_TEXT_MAX for text in texts), "a text is too long"),
        (len(message.model_digests) <= MODELS_PER_RECORD_MAX, "it has too many models"),
        (all(len(digest) == DIGEST_BYTES for digest in message.model_digests), "a model digest has the wrong length"),
        # [ST-8]
        (0 < lifetime_ms <= HOST_STATEMENT_LIFETIME_S * 1000, "its lifetime is not within the limit"),
        (len(message.challenge_root) in (0, DIGEST_BYTES), "its challenge root has the wrong length"),
    )
    return next((fault for holds, fault in rules if not holds), None)


def _epoch_statement_fault(data: bytes, message: pb.EpochStatement) -> str | None:
    """Say which rule [ST-10] to [ST-13] a decoded epoch statement breaks, if any."""
    suites = [key.suite for key in message.keys]
    window_ms = message.not_after_ms - message.not_before_ms
    rules = (
        (len(data) <= EPOCH_STATEMENT_MAX, "it is too long"),
        (message.version == VERSION, "its version is unknown"),  # [ST-11] with the next
        (len(message.endpoint_id) == KEY_BYTES, "its endpoint id has the wrong length"),
        # [ST-12]
        (0 < window_ms <= EPOCH_S * 1000, "its window is not within the limit"),
        # [ST-13] to the last but one
        (1 <= len(suites) <= EPOCH_SUITES_MAX, "it names no key, or too many"),
        (len(suites) == len(set(suites)), "a suite appears twice"),
        (all(0 < suite <= 0xFF for suite in suites), "a suite number does not fit one byte"),
        (all(0 < len(key.public_key) <= SUITE_PUBLIC_MAX for key in message.keys), "a key has the wrong length"),
        (len(message.host_statement_digest) == DIGEST_BYTES, "its statement digest has the wrong length"),
    )
    return next((fault for holds, fault in rules if not holds), None)


def _size_fault(data: bytes, maximum: int) -> str | None:
    return None if len(data) <= maximum else "it is too long"


def _decode(factor: str, message: pb.HostStatement | pb.EpochStatement, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise VerificationError(factor, "it does not decode") from error


def _refuse(factor: str, fault: str | None) -> None:
    if fault is not None:
        raise VerificationError(factor, fault)


def _refuse_own(fault: str | None) -> None:
    if fault is not None:
        raise LocalProtocolError(f"a statement that no reader would take: {fault}")


def _to_ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
