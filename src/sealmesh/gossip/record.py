"""The two parts of a record: the summary that everybody holds, and the keys part that is fetched when wanted.

Each is `{part, signature}` by the owner's endpoint key over its own label and the part **as received**; a reader checks
the bytes it got and passes the same bytes on (docs/spec/records.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.gossip._codec import records_pb2
from sealmesh.identity.addresses import check_addresses_untrusted, check_relay_url_untrusted
from sealmesh.identity.grants import TIME_MAX, Role, parse_roles_untrusted, require_length
from sealmesh.identity.keys import EndpointKey
from sealmesh.identity.signed import (
    PUBLIC_LENGTH,
    Label,
    SignatureMemo,
    Signed,
    parse_message_untrusted,
    verify_signed_untrusted,
)
from sealmesh.limits import (
    CAPABILITIES_MAX,
    CAPABILITY_MAX,
    CLIENT_SUMMARY_LIFETIME_S,
    CLOCK_SKEW_S,
    EPOCH_STATEMENT_MAX,
    EPOCHS_PER_KEYS_PART_MAX,
    EVIDENCE_MAX,
    HOST_STATEMENT_MAX,
    KEYS_LIFETIME_S,
    KEYS_PART_MAX,
    MODELS_PER_RECORD_MAX,
    NAME_MAX,
    POSTURE_ENTRIES_MAX,
    POSTURE_KEY_MAX,
    POSTURE_VALUE_MAX,
    SUMMARY_LIFETIME_S,
    SUMMARY_MAX,
    VERSION_TEXT_MAX,
)

VERSION: Final = 1
DIGEST_LENGTH: Final = 32

SUMMARY_FACTOR: Final = "summary"
KEYS_FACTOR: Final = "keys_part"
#: A record of a later version of the protocol: not for this node, and nobody's fault.
VERSION_FACTOR: Final = "record_version"
#: Not valid at this node's time: ignored, and nobody's fault, since clocks differ.
EXPIRED_FACTOR: Final = "record_expired"
AHEAD_FACTOR: Final = "record_issued_ahead"

_CAPABILITY: Final = re.compile(rf"[a-z0-9][a-z0-9:._-]{{0,{CAPABILITY_MAX - 1}}}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that a host serves.

    Attributes:
        name: Text of the owner; escape before showing.
        context_length: Tokens that one request gets; 0 unknown.
        digest: SHA-256 of the model's file, or empty where it is not known.
    """

    name: str
    context_length: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a node says of itself to everybody.

    Attributes:
        endpoint_id: The owner, 32 bytes; its key signs.
        sequence: Higher is newer.
        issued: Unix seconds.
        expires: Unix seconds; the first second at which it counts no more.
        roles: Never more than its credentials grant.
        credentials_digest: SHA-256 of the owner's encoded credentials, which travel beside the summary.
        addresses: `ip:port`, at most 8.
        relay_url: A transport-level relay of the owner's choice, or empty.
        node_version: Of the software.
        name: For people; text of the owner, escape before showing.
        models: At most 16.
        capabilities: Such as `sealed:1`, `sealed:2`, `plain`.
        keys_sequence: Sequence of the newest keys part when this was made: an older keys part is a rollback. 0 none.
        leaving: The owner says goodbye.
    """

    endpoint_id: bytes
    sequence: int
    issued: int
    expires: int
    roles: Role
    credentials_digest: bytes
    addresses: tuple[str, ...] = ()
    relay_url: str = ""
    node_version: str = ""
    name: str = ""
    models: tuple[Model, ...] = ()
    capabilities: tuple[str, ...] = ()
    keys_sequence: int = 0
    leaving: bool = False

    def encode(self) -> bytes:
        """Return the part that the owner signs."""
        return records_pb2.Summary(
            version=VERSION,
            endpoint_id=self.endpoint_id,
            sequence=self.sequence,
            issued=self.issued,
            expires=self.expires,
            addresses=self.addresses,
            roles=self.roles.value,
            node_version=self.node_version,
            name=self.name,
            models=[
                records_pb2.Model(name=model.name, context_length=model.context_length, digest=model.digest)
                for model in self.models
            ],
            capabilities=self.capabilities,
            keys_sequence=self.keys_sequence,
            leaving=self.leaving,
            relay_url=self.relay_url,
            credentials_digest=self.credentials_digest,
        ).SerializeToString(deterministic=True)

    def sign(self, key: EndpointKey) -> bytes:
        """Return the wire form, at most 1 KiB: an encoded `Signed`.

        Raises:
            LocalProtocolError: No reader would accept it; the message says what is wrong.
        """
        data = key.sign_part(Label.SUMMARY, self.encode()).encode()
        try:
            parse_summary_untrusted(data, self.issued)
        except VerificationError as error:
            raise LocalProtocolError(f"such a summary cannot be published: {error.reason}") from error
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysPart:
    """What is needed to send to a host: keys, and the evidence for them.

    Attributes:
        endpoint_id: The owner, 32 bytes; its key signs.
        sequence: Higher is newer.
        issued: Unix seconds.
        expires: Unix seconds; the first second at which it counts no more.
        inference_public_key: The current suite-1 key, 32 bytes; empty for a node that opens nothing.
        security_posture: Control to state and reason; self-asserted text of the owner, escape before showing.
        hardware_attestation_blob: The evidence envelope; unverified.
        epoch_statements: Encoded `Signed` by the statement key, current and next; unverified.
        host_statement: What the evidence binds; unverified.
    """

    endpoint_id: bytes
    sequence: int
    issued: int
    expires: int
    inference_public_key: bytes = b""
    security_posture: Mapping[str, str] = field(default_factory=dict)
    hardware_attestation_blob: bytes = b""
    epoch_statements: tuple[bytes, ...] = ()
    host_statement: bytes = b""

    def encode(self) -> bytes:
        """Return the part that the owner signs."""
        return records_pb2.KeysPart(
            version=VERSION,
            endpoint_id=self.endpoint_id,
            sequence=self.sequence,
            issued=self.issued,
            expires=self.expires,
            inference_public_key=self.inference_public_key,
            security_posture=dict(self.security_posture),
            hardware_attestation_blob=self.hardware_attestation_blob,
            epoch_statements=self.epoch_statements,
            host_statement=self.host_statement,
        ).SerializeToString(deterministic=True)

    def sign(self, key: EndpointKey) -> bytes:
        """Return the wire form, at most 96 KiB: an encoded `Signed`.

        Raises:
            LocalProtocolError: No reader would accept it; the message says what is wrong.
        """
        data = key.sign_part(Label.KEYS, self.encode()).encode()
        try:
            parse_keys_untrusted(data, self.issued)
        except VerificationError as error:
            raise LocalProtocolError(f"such a keys part cannot be published: {error.reason}") from error
        return data


class Outline(NamedTuple):
    """What decides between two records, before any signature was checked."""

    endpoint_id: bytes
    sequence: int


def record_digest(data: bytes) -> bytes:
    """Return what a record is known by: SHA-256 of its wire form."""
    return hashlib.sha256(data).digest()


def next_sequence(last: int, now: float) -> int:
    """Return the sequence for a new part: max(last + 1, Unix ms). Store it before use [RE-6].

    Args:
        last: The highest that this node ever used for this kind of part, over restarts too; 0 none.
        now: Unix seconds.

    Raises:
        LocalProtocolError: The sequences are used up.
    """
    sequence = max(last + 1, int(now * 1000))
    if sequence > TIME_MAX:
        raise LocalProtocolError("the sequences of this endpoint are used up")
    return sequence


def _require(condition: bool, factor: str, reason: str) -> None:
    if not condition:
        raise VerificationError(factor, reason)


def _check_text_untrusted(text: str, maximum: int, *, factor: str, what: str) -> None:
    """Refuse long text and control characters: no name of a peer can drive a terminal [RE-4]."""
    _require(len(text.encode()) <= maximum, factor, f"{what} too long")
    _require(_CONTROL.search(text) is None, factor, f"{what} with control characters")


def _check_frame_untrusted(
    message: records_pb2.Summary | records_pb2.KeysPart, *, lifetime_s: int, now: float, factor: str
) -> None:
    """Check what both parts have: version, owner, sequence, times [RE-3] [RE-5] [RE-7]."""
    if message.version != VERSION:
        raise VerificationError(VERSION_FACTOR, "a version that this node does not know", expected=str(VERSION))
    require_length(message.endpoint_id, PUBLIC_LENGTH, factor=factor, what="endpoint id")
    _require(0 < message.sequence <= TIME_MAX, factor, "a sequence that is none")
    _require(message.issued < message.expires <= TIME_MAX, factor, "times that are not in order")
    _require(message.expires - message.issued <= lifetime_s, factor, "a lifetime over its limit")
    if message.issued > now + CLOCK_SKEW_S:
        raise VerificationError(AHEAD_FACTOR, "issued ahead of this node's clock")
    if now >= message.expires:
        raise VerificationError(EXPIRED_FACTOR, "expired")


def outline_untrusted(data: bytes, *, maximum: int, factor: str) -> tuple[Signed, Outline]:
    """Read just enough of a summary or keys part to say which record it would replace; nothing is verified.

    Both parts have owner and sequence under the same field numbers.

    Raises:
        VerificationError: Too long or malformed [RE-1] [RE-2].
    """
    signed = Signed.decode_untrusted(data, maximum=maximum, factor=factor)
    message: records_pb2.Summary | records_pb2.KeysPart
    if factor == SUMMARY_FACTOR:
        message = parse_message_untrusted(records_pb2.Summary, signed.part, factor=factor)
    else:
        message = parse_message_untrusted(records_pb2.KeysPart, signed.part, factor=factor)
    return signed, Outline(endpoint_id=message.endpoint_id, sequence=message.sequence)


def parse_summary_untrusted(data: bytes, now: float, memo: SignatureMemo | None = None) -> Summary:
    """Check a summary's form, times and signature.

    Args:
        data: Encoded `Signed`, as received.
        now: Unix seconds.
        memo: Signatures that held already [RE-11].

    Raises:
        VerificationError: It is not a summary of its owner that counts now; `factor` is `record_expired` or
            `record_issued_ahead` where only clocks are to blame [RE-1] [RE-2] [RE-3] [RE-4] [RE-5] [RE-7] [RE-8].
    """
    factor = SUMMARY_FACTOR
    signed = Signed.decode_untrusted(data, maximum=SUMMARY_MAX, factor=factor)
    message = parse_message_untrusted(records_pb2.Summary, signed.part, factor=factor)
    roles = parse_roles_untrusted(message.roles, factor=factor)
    lifetime = CLIENT_SUMMARY_LIFETIME_S if roles is Role.CLIENT else SUMMARY_LIFETIME_S
    _check_frame_untrusted(message, lifetime_s=lifetime, now=now, factor=factor)
    # What it lists [RE-8].
    check_addresses_untrusted(message.addresses, factor=factor)
    check_relay_url_untrusted(message.relay_url, factor=factor)
    _check_text_untrusted(message.node_version, VERSION_TEXT_MAX, factor=factor, what="version")
    _check_text_untrusted(message.name, NAME_MAX, factor=factor, what="name")
    _require(len(message.models) <= MODELS_PER_RECORD_MAX, factor, "too many models")
    _require(len({model.name for model in message.models}) == len(message.models), factor, "a model twice")
    for model in message.models:
        _require(bool(model.name), factor, "a model without a name")
        _check_text_untrusted(model.name, NAME_MAX, factor=factor, what="name of a model")
        _require(len(model.digest) in (0, DIGEST_LENGTH), factor, "digest of the wrong length")
    _require(len(message.capabilities) <= CAPABILITIES_MAX, factor, "too many capabilities")
    _require(all(map(_CAPABILITY.fullmatch, message.capabilities)), factor, "not a capability")
    _require(message.keys_sequence <= TIME_MAX, factor, "a sequence that is none")
    require_length(message.credentials_digest, DIGEST_LENGTH, factor=factor, what="digest of the credentials")
    # Its owner signed it [RE-9].
    verify_signed_untrusted(message.endpoint_id, Label.SUMMARY, signed, memo=memo)
    return Summary(
        endpoint_id=message.endpoint_id,
        sequence=message.sequence,
        issued=message.issued,
        expires=message.expires,
        roles=roles,
        credentials_digest=message.credentials_digest,
        addresses=tuple(message.addresses),
        relay_url=message.relay_url,
        node_version=message.node_version,
        name=message.name,
        models=tuple(
            Model(name=model.name, context_length=model.context_length, digest=model.digest) for model in message.models
        ),
        capabilities=tuple(message.capabilities),
        keys_sequence=message.keys_sequence,
        leaving=message.leaving,
    )


def parse_keys_untrusted(data: bytes, now: float) -> KeysPart:
    """Check a keys part's form, times and signature. What it carries (evidence, statements) stays unverified.

    Args:
        data: Encoded `Signed`, as received.
        now: Unix seconds.

    Raises:
        VerificationError: It is not a keys part of its owner that counts now; `factor` is `record_expired` or
            `record_issued_ahead` where only clocks are to blame [RE-1] [RE-2] [RE-3] [RE-4] [RE-5] [RE-7].
    """
    factor = KEYS_FACTOR
    signed = Signed.decode_untrusted(data, maximum=KEYS_PART_MAX, factor=factor)
    message = parse_message_untrusted(records_pb2.KeysPart, signed.part, factor=factor)
    _check_frame_untrusted(message, lifetime_s=KEYS_LIFETIME_S, now=now, factor=factor)
    # What it carries, by size alone [RE-27].
    _require(len(message.inference_public_key) in (0, PUBLIC_LENGTH), factor, "inference key of the wrong length")
    _require(len(message.security_posture) <= POSTURE_ENTRIES_MAX, factor, "posture with too many entries")
    for control, state in message.security_posture.items():
        _check_text_untrusted(control, POSTURE_KEY_MAX, factor=factor, what="name of a control")
        _check_text_untrusted(state, POSTURE_VALUE_MAX, factor=factor, what="state of a control")
    _require(len(message.hardware_attestation_blob) <= EVIDENCE_MAX, factor, "evidence too long")
    _require(len(message.epoch_statements) <= EPOCHS_PER_KEYS_PART_MAX, factor, "too many epoch statements")
    for statement in message.epoch_statements:
        _require(len(statement) <= EPOCH_STATEMENT_MAX, factor, "epoch statement too long")
    _require(len(message.host_statement) <= HOST_STATEMENT_MAX, factor, "host statement too long")
    # Its owner signed it [RE-9].
    verify_signed_untrusted(message.endpoint_id, Label.KEYS, signed)
    return KeysPart(
        endpoint_id=message.endpoint_id,
        sequence=message.sequence,
        issued=message.issued,
        expires=message.expires,
        inference_public_key=message.inference_public_key,
        security_posture=dict(message.security_posture),
        hardware_attestation_blob=message.hardware_attestation_blob,
        epoch_statements=tuple(message.epoch_statements),
        host_statement=message.host_statement,
    )
