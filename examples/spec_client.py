"""A minimal client, written from docs/spec alone: one ticket, one host, one sealed question.

It joins a mesh, has the host answer for a fresh nonce, seals one chat completion to the keys that the host's own
process signed, and prints the answer as it comes. Nothing of sealmesh is imported: what this file does is what the
specification says, rule by rule (the ids in brackets).

It lives for one question, so it leaves out what only time brings: judging members again [TR-13], renewing verdicts
[CH-13], clocks that were set [ST-18], flooding strangers [TR-10] (nobody can dial it). It publishes no record [RE-25].

    echo "$TICKET" | python examples/spec_client.py "Why is the sky blue?"
    python examples/spec_client.py --ticket ticket.txt --memory seen.json "Why is the sky blue?"

Exit status: 0 for an answer with an authenticated end, 1 for a refusal or failure of any kind.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import iroh
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

ALPN = b"sealmesh/1"  # [TR-1]
GOSSIP, PROVE, ADMIT = b"\x01", b"\x03", b"\x05"  # [TR-3] (a sealed request begins with its own, 0xE1)
CLIENT, HOST = 1, 2  # [AD-6]
SKEW = 60  # seconds that another's clock may run ahead
OPERATION = ("POST", "/v1/chat/completions")  # [EX-33]


class Refused(Exception):
    """Something was not as the specification demands. The id is the factor or refusal that the rules name."""

    def __init__(self, ident: str, why: str = "") -> None:
        super().__init__(f"{ident}: {why}" if why else ident)
        self.ident = ident


def demand(condition: object, ident: str, why: str = "") -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(ident, why)


# --- Protocol Buffers: the little of them that is needed -------------------------------------------------------------


def varint(value: int) -> bytes:
    """Encode the shortest varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def put(number: int, value: bytes | int | str) -> bytes:
    """Encode a field; nothing for an empty one."""
    if not value:
        return b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def raw_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Split a message into fields. Raises ValueError for what is none."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("cut or overlong varint")
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF

    while at < len(data):
        key = number()
        wire = key & 7
        if key >> 3 == 0 or wire not in (0, 1, 2, 5):
            raise ValueError("not a field")
        if wire == 0:
            yield key >> 3, number()
            continue
        length = number() if wire == 2 else 8 if wire == 1 else 4
        if length > len(data) - at:
            raise ValueError("cut field")
        at += length
        if wire == 2:
            yield key >> 3, data[at - length : at]


def read(data: bytes, schema: str, ident: str) -> dict[str, Any]:
    """Read a message by a schema such as ``"1:version=int 6:addresses=text*"``; unknown fields are ignored."""
    names = {}
    message: dict[str, Any] = {}
    for entry in schema.split():
        number, name, kind = re.fullmatch(r"(\d+):(\w+)=([a-z]+\*?)", entry).groups()
        names[int(number)] = name, kind.rstrip("*"), kind.endswith("*")
        message[name] = [] if kind.endswith("*") else {"int": 0, "bytes": b"", "text": ""}[kind]
    try:
        for number, value in raw_fields(data):
            if number not in names:
                continue
            name, kind, repeated = names[number]
            if (kind == "int") != isinstance(value, int):
                raise ValueError("a field of another type")
            if kind == "text":
                value = value.decode()
            if repeated:
                message[name].append(value)
            else:
                message[name] = value
    except ValueError as error:
        raise Refused(ident, str(error)) from None
    return message


def read_signed(data: bytes, ident: str, signatures: int = 1) -> tuple[bytes, ...]:
    """Read a part and its signatures, in the one canonical encoding [AD-2]."""
    try:
        values = [value for _, value in raw_fields(data)]
    except ValueError as error:
        raise Refused(ident, str(error)) from None
    demand(all(isinstance(value, bytes) for value in values), ident, "not canonical")
    again = b"".join(put(number, value) for number, value in enumerate(values, 1))
    demand(len(values) == 1 + signatures and again == data, ident, "not canonical")
    demand(all(len(value) == 64 for value in values[1:]), ident, "a signature has 64 bytes")
    return tuple(values)


def verify(key: bytes, label: str, part: bytes, signature: bytes, ident: str) -> None:
    """Check a signature over the part as received; libsodium refuses lax scalars and small orders [AD-1] [ST-1]."""
    try:
        VerifyKey(key).verify(label.encode() + b"\0" + part, signature)
    except (BadSignatureError, ValueError, TypeError):
        raise Refused(ident) from None


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of the concatenation."""
    return hashlib.sha256(b"".join(parts)).digest()


def plain_text(text: str, most: int) -> bool:
    """Whether a stranger's text is short enough and without control characters [RE-4]."""
    return len(text.encode()) <= most and not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


# --- Admission: tickets, credentials, notices ------------------------------------------------------------------------


def mesh_id(issuer: bytes) -> bytes:
    """Name the mesh of an issuer [AD-4]."""
    return sha256(b"sealmesh/1 mesh\0", issuer)


def check_addresses(addresses: list[str], relay_url: str, ident: str) -> None:
    """Refuse addresses that are names, or that no packet can be sent to [AD-3]."""
    demand(len(addresses) <= 8, ident, "too many addresses")
    for address in addresses:
        form = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})", address)
        demand(form and int(form[3]) <= 65535, ident, "not an address")
        try:
            ip = ipaddress.IPv6Address(form[1]) if form[1] else ipaddress.IPv4Address(form[2])
        except ValueError:
            raise Refused(ident, "not an address") from None
        demand(not ip.is_unspecified and not ip.is_multicast, ident, "not an address to send to")
    demand(re.fullmatch(r"(https?://[!-~]+)?", relay_url) and len(relay_url) <= 256, ident, "not a relay URL")


def read_grant(part: bytes, ident: str, version: str) -> dict[str, Any]:
    """Read what an issuer allows [AD-5] [AD-6]."""
    grant = read(
        part,
        "1:version=int 2:mesh_id=bytes 3:serial=bytes 4:roles=int 5:not_before=int 6:not_after=int"
        " 7:bearer_key=bytes 8:mesh_name=text",
        ident,
    )
    demand(grant["version"] == 1, version)
    lengths = [len(grant[name]) for name in ("mesh_id", "serial", "bearer_key")]
    demand(lengths == [32, 16, 32] and len(grant["mesh_name"].encode()) <= 128, ident, "a length")
    demand(grant["not_before"] < grant["not_after"] <= 2**53 and 1 <= grant["roles"] <= 7, ident, "times or roles")
    return grant


@dataclass(frozen=True)
class Ticket:
    """What lets its holder join. A secret: never printed, in no error [AD-24]."""

    issuer: bytes
    grant_signed: bytes = field(repr=False)
    grant: dict[str, Any] = field(repr=False)
    bearer: SigningKey = field(repr=False)
    inviter: bytes
    addresses: list[str]
    relay_url: str

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """Read a ticket's text [AD-8], blanks around it left out."""
        text = text.strip()
        demand(len(text) <= 4096, "ticket_too_long")
        demand(text.startswith("sealmesh1"), "ticket", "not a ticket")
        letters = text.removeprefix("sealmesh1")
        demand(re.fullmatch(r"[a-z2-7]+", letters) and len(letters) % 8 in (0, 2, 4, 5, 7), "ticket_mistyped")
        raw = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
        same = base64.b32encode(raw).decode().lower().rstrip("=") == letters  # else unused bits were not zero
        demand(same and raw[-4:] == sha256(b"sealmesh/1 ticket\0", raw[:-4])[:4], "ticket_mistyped")
        names = "1:issuer=bytes 2:grant=bytes 3:seed=bytes 4:inviter=bytes 5:addresses=text* 6:relay_url=text"
        ticket = read(raw[:-4], names, "ticket")
        demand([len(ticket[name]) for name in ("issuer", "seed", "inviter")] == [32, 32, 32], "ticket", "a length")
        check_addresses(ticket["addresses"], ticket["relay_url"], "ticket")
        part, signature = read_signed(ticket["grant"], "ticket")
        grant = read_grant(part, "ticket", "ticket")
        verify(ticket["issuer"], "sealmesh/1 grant", part, signature, "grant_signature")
        demand(grant["mesh_id"] == mesh_id(ticket["issuer"]), "wrong_mesh")
        bearer = SigningKey(ticket["seed"])
        demand(bytes(bearer.verify_key) == grant["bearer_key"], "ticket_bearer")
        rest = ticket["inviter"], ticket["addresses"], ticket["relay_url"]
        return cls(ticket["issuer"], ticket["grant"], grant, bearer, *rest)

    def credentials(self, endpoint_id: bytes, roles: int) -> bytes:
        """Have this ticket's bearer say that an endpoint joins, with no more roles than it needs [AD-13]."""
        grant = self.grant
        member = put(1, grant["mesh_id"]) + put(2, grant["serial"]) + put(3, endpoint_id) + put(4, roles)
        signature = self.bearer.sign(b"sealmesh/1 member\0" + member).signature
        return put(1, self.grant_signed) + put(2, put(1, member) + put(2, signature))


@dataclass
class Membership:
    """Who is a member: the issuers, oldest first, and the list of revocations that is in force."""

    issuers: list[tuple[bytes, float, float]]  # key, counts from, counts until
    revoked: tuple[tuple[int, int, bytes], set[bytes]] | None = None  # rank, serials and endpoint ids

    @classmethod
    def of(cls, issuer: bytes) -> Membership:
        """Begin with the issuer that a ticket names."""
        return cls([(issuer, 0.0, float("inf"))])

    def judge(self, data: bytes, proven_id: bytes, now: float) -> int:
        """Judge credentials in the order of admission.md section 3; returns the roles taken."""
        form = "credentials_malformed"
        demand(len(data) <= 1024, "credentials_too_long")  # [AD-7]
        outer = read(data, "1:grant=bytes 2:membership=bytes", form)
        demand(put(1, outer["grant"]) + put(2, outer["membership"]) == data, form, "not canonical")  # [AD-2]
        grant_part, grant_signature = read_signed(outer["grant"], form)
        member_part, member_signature = read_signed(outer["membership"], form)
        grant = read_grant(grant_part, form, "grant_version")
        member = read(member_part, "1:mesh_id=bytes 2:serial=bytes 3:endpoint_id=bytes 4:roles=int", form)
        lengths = [len(member[name]) for name in ("mesh_id", "serial", "endpoint_id")]
        demand(lengths == [32, 16, 32] and 1 <= member["roles"] <= 7, form)
        issuers = [entry for entry in self.issuers if mesh_id(entry[0]) == grant["mesh_id"]]
        demand(issuers, "wrong_mesh")  # [AD-9]
        key, since, until = issuers[0]
        demand(since <= now < until, "wrong_issuer")  # [AD-19]
        verify(key, "sealmesh/1 grant", grant_part, grant_signature, "grant_signature")  # [AD-10]
        verify(
            grant["bearer_key"], "sealmesh/1 member", member_part, member_signature, "membership_signature"
        )  # [AD-11]
        same = (member["mesh_id"], member["serial"]) == (grant["mesh_id"], grant["serial"])
        demand(same, "membership_of_another_grant")  # [AD-12]
        demand(member["endpoint_id"] == proven_id, "wrong_endpoint")  # [AD-12]
        demand(member["roles"] & ~grant["roles"] == 0, "role_not_granted")  # [AD-13]
        demand(grant["not_before"] <= now + SKEW, "grant_not_yet_valid")  # [AD-14]
        demand(now < grant["not_after"], "grant_expired")
        names = self.revoked[1] if self.revoked else set()
        demand(grant["serial"] not in names, "revoked_serial")  # [AD-15]
        demand(proven_id not in names, "revoked_endpoint")
        return int(member["roles"])

    def take_successor(self, data: bytes) -> None:
        """Take an issuer's successor [AD-18]; one that does not follow from the newest issuer is refused."""
        part, old, new = read_signed(data, "successor", signatures=2)
        names = "1:version=int 2:mesh_id=bytes 3:issuer=bytes 4:not_before=int 5:until=int"
        said = read(part, names, "successor")
        key, since, _ = self.issuers[-1]
        demand(said["version"] == 1 and said["mesh_id"] == mesh_id(key) and len(self.issuers) < 8, "successor")
        demand(said["issuer"] not in [entry[0] for entry in self.issuers], "successor")
        demand(said["not_before"] <= said["until"], "successor")
        verify(key, "sealmesh/1 successor", part, old, "successor")
        verify(said["issuer"], "sealmesh/1 successor", part, new, "successor")
        self.issuers[-1] = key, since, float(said["until"])
        self.issuers.append((said["issuer"], float(said["not_before"] - SKEW), float("inf")))

    def take_revocations(self, data: bytes, now: float) -> None:
        """Take a list of revocations if it outranks the one in force [AD-16] [AD-17]."""
        demand(len(data) <= 512 * 1024, "revocations")
        part, signature = read_signed(data, "revocations")
        said = read(
            part,
            "1:version=int 2:mesh_id=bytes 3:sequence=int 4:issued=int 5:serials=bytes* 6:ids=bytes*",
            "revocations",
        )
        lengths = {len(item) for item in said["serials"]} <= {16} and {len(item) for item in said["ids"]} <= {32}
        demand(said["version"] == 1 and len(said["mesh_id"]) == 32 and lengths, "revocations")
        ranks = [rank for rank, (key, _, _) in enumerate(self.issuers) if mesh_id(key) == said["mesh_id"]]
        demand(ranks, "wrong_mesh")
        key, since, until = self.issuers[ranks[0]]
        demand(since <= now < until, "wrong_issuer")
        verify(key, "sealmesh/1 revocations", part, signature, "revocations_signature")
        demand(said["issued"] <= now + SKEW, "revocations", "issued ahead")
        rank = ranks[0], said["sequence"], bytes(255 - byte for byte in sha256(data))  # the lower digest ranks higher
        if self.revoked is None or rank > self.revoked[0]:
            self.revoked = rank, {*said["serials"], *said["ids"]}


# --- Records ---------------------------------------------------------------------------------------------------------


def check_life(said: dict[str, Any], longest: int, now: float, ident: str) -> None:
    """Check sequence and times of a record's part [RE-3] [RE-5] [RE-7]."""
    demand(said["version"] == 1, "record_version")
    demand(len(said["endpoint_id"]) == 32 and 1 <= said["sequence"] <= 2**53, ident)
    demand(0 < said["expires"] - said["issued"] <= longest, ident, "lifetime")
    demand(said["issued"] <= now + SKEW, "record_issued_ahead")
    demand(now < said["expires"], "record_expired")


def read_summary(data: bytes, now: float) -> dict[str, Any]:
    """Read what a node says of itself."""
    demand(len(data) <= 1024, "summary", "too long")  # [RE-1]
    part, signature = read_signed(data, "summary")  # [RE-2]
    said = read(
        part,
        "1:version=int 2:endpoint_id=bytes 3:sequence=int 4:issued=int 5:expires=int 6:addresses=text* 7:roles=int"
        " 8:node_version=text 9:name=text 10:models=bytes* 11:capabilities=text* 12:keys_sequence=int 13:leaving=int"
        " 14:relay_url=text 15:credentials_digest=bytes",
        "summary",
    )
    demand(said["version"] == 1, "record_version")
    demand(
        1 <= said["roles"] <= 7 and said["keys_sequence"] <= 2**53 and len(said["credentials_digest"]) == 32, "summary"
    )
    models = [read(model, "1:name=text 2:context=int 3:digest=bytes", "summary") for model in said["models"]]
    said["models"] = [model["name"] for model in models]
    texts = plain_text(said["name"], 128) and plain_text(said["node_version"], 32)  # [RE-4]
    demand(texts and all(name and plain_text(name, 128) for name in said["models"]), "summary", "a text")
    demand(len(models) <= 16 and len(set(said["models"])) == len(models), "summary", "models")  # [RE-8]
    demand(all(len(model["digest"]) in (0, 32) for model in models), "summary", "models")
    wrong = [name for name in said["capabilities"] if not re.fullmatch(r"[a-z0-9][a-z0-9:._-]{0,31}", name)]
    demand(len(said["capabilities"]) <= 16 and not wrong, "summary", "capabilities")
    check_addresses(said["addresses"], said["relay_url"], "summary")
    check_life(said, 86400 if said["roles"] == CLIENT else 3600, now, "summary")
    verify(said["endpoint_id"], "sealmesh/1 summary", part, signature, "summary_signature")  # [RE-9]
    return said


def read_record(data: bytes, members: Membership, now: float) -> dict[str, Any]:
    """Read a summary and see that its owner is a member, with these credentials and these roles [RE-10]."""
    record = read(data, "1:summary=bytes 2:credentials=bytes", "record")
    said = read_summary(record["summary"], now)
    roles = members.judge(record["credentials"], said["endpoint_id"], now)
    demand(sha256(record["credentials"]) == said["credentials_digest"], "record", "other credentials")
    demand(said["roles"] & ~roles == 0, "record", "roles that the membership lacks")
    return said | {"credentials": record["credentials"]}


def read_keys_part(data: bytes, now: float) -> dict[str, Any]:
    """Read what is needed to send to a host."""
    demand(len(data) <= 98304, "keys_part", "too long")  # [RE-1]
    part, signature = read_signed(data, "keys_part")
    said = read(
        part,
        "1:version=int 2:endpoint_id=bytes 3:sequence=int 4:issued=int 5:expires=int 36:inference_key=bytes"
        " 37:posture=bytes* 38:evidence=bytes 39:epochs=bytes* 40:host_statement=bytes",
        "keys_part",
    )
    demand(len(said["inference_key"]) in (0, 32) and len(said["evidence"]) <= 65536, "keys_part")  # [RE-27] below
    demand(len(said["posture"]) <= 64 and len(said["epochs"]) <= 3 and len(said["host_statement"]) <= 8192, "keys_part")
    demand(all(len(epoch) <= 4096 for epoch in said["epochs"]), "keys_part")
    controls = [read(control, "1:name=text 2:state=text", "keys_part") for control in said["posture"]]
    demand(
        all(plain_text(one["name"], 64) and plain_text(one["state"], 512) for one in controls), "keys_part"
    )  # [RE-4]
    check_life(said, 900, now, "keys_part")
    verify(said["endpoint_id"], "sealmesh/1 keys", part, signature, "keys_signature")  # [RE-9]
    return said


# --- Statements, evidence, verdict -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Epoch:
    """Keys that may be sealed to for a while. Times are Unix seconds."""

    digest: bytes
    number: int
    not_before: float
    not_after: float
    keys: dict[int, bytes]


@dataclass(frozen=True)
class Verdict:
    """What a live answer proved of a host."""

    endpoint_id: bytes
    epochs: list[Epoch]
    expires: float
    tier: str = "self-asserted"  # [ST-43] this client judges software keys only


def read_host_statement(data: bytes) -> dict[str, Any]:
    """Read a host statement [ST-2] to [ST-8]."""
    ident = "host_statement"
    demand(len(data) <= 8192, ident, "too long")
    said = read(
        data,
        "1:version=int 2:endpoint_id=bytes 3:statement_key=bytes 4:measurement=bytes 5:posture=bytes* 6:backend=text"
        " 7:accelerators=text* 8:model_digests=bytes* 9:issued_ms=int 10:expires_ms=int 11:challenge_root=bytes",
        ident,
    )
    demand(said["version"] == 1, ident, "version")
    demand(len(said["endpoint_id"]) == 32 and len(said["statement_key"]) == 32, ident, "a length")
    demand(len(said["measurement"]) in (0, 32) and len(said["challenge_root"]) in (0, 32), ident, "a length")
    demand(len(said["posture"]) <= 32 and len(said["accelerators"]) <= 16 and len(said["model_digests"]) <= 16, ident)
    demand(all(len(digest) == 32 for digest in said["model_digests"]), ident, "a length")
    controls = [read(control, "1:name=text 2:state=text", ident) for control in said["posture"]]
    texts = [text for one in controls for text in (one["name"], one["state"])] + said["accelerators"]
    demand(all(len(text.encode()) <= 128 for text in texts), ident, "a text is too long")
    demand(len({one["name"] for one in controls}) == len(controls), ident, "a control twice")
    demand(said["backend"] in ("in-process", "local", "remote"), ident, "backend")
    demand(0 < said["expires_ms"] - said["issued_ms"] <= 3_600_000, ident, "lifetime")
    return said


def root_of(nonce: bytes, verifier_id: bytes, path: bytes) -> bytes:
    """Go from this verifier's leaf up to the root [CH-5] [CH-6] [CH-7]."""
    steps = [path[at : at + 33] for at in range(0, len(path), 33)]
    demand(len(path) % 33 == 0 and len(steps) <= 10 and all(step[0] <= 1 for step in steps), "own_nonce", "path")
    node = sha256(b"\0", nonce, verifier_id)
    for step in steps:
        node = sha256(b"\1", node, step[1:]) if step[0] else sha256(b"\1", step[1:], node)
    return node


def read_epoch(signed: bytes, endpoint_id: bytes, statement_key: bytes) -> Epoch:
    """Read an epoch statement that the host's process signed [ST-10] to [ST-15]."""
    ident = "epoch_statement"
    part, signature = read_signed(signed, ident)
    demand(len(part) <= 4096, ident, "too long")
    said = read(
        part,
        "1:version=int 2:endpoint_id=bytes 3:epoch=int 4:not_before_ms=int 5:not_after_ms=int 6:keys=bytes*"
        " 7:digest=bytes",
        ident,
    )
    demand(said["version"] == 1 and len(said["endpoint_id"]) == 32 and len(said["digest"]) == 32, ident)
    demand(0 < said["not_after_ms"] - said["not_before_ms"] <= 300_000, ident, "lifetime")
    entries = [read(entry, "1:suite=int 2:public_key=bytes", ident) for entry in said["keys"]]
    keys = {entry["suite"]: entry["public_key"] for entry in entries}
    demand(1 <= len(entries) <= 8 and len(keys) == len(entries), ident, "suites")
    demand(all(1 <= suite <= 255 and 1 <= len(key) <= 2048 for suite, key in keys.items()), ident, "suites")
    verify(statement_key, "sealmesh/1 epoch", part, signature, ident)
    demand(said["endpoint_id"] == endpoint_id, ident, "of another endpoint")
    return Epoch(sha256(part), said["epoch"], said["not_before_ms"] / 1000, said["not_after_ms"] / 1000, keys)


def evidence_records(envelope: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield type and content of each record of the role evidence [ST-30] to [ST-33].

    The envelope's one shape is read here byte by byte, without a CBOR library: whatever is not that shape is refused.
    """
    at = 0

    def head(major: int) -> int:
        nonlocal at
        demand(at < len(envelope) and envelope[at] >> 5 == major, "binding", "not an envelope")
        info, at = envelope[at] & 31, at + 1
        demand(info <= 27, "binding", "not an envelope")
        if info < 24:
            return info
        size = 1 << info - 24
        demand(at + size <= len(envelope), "binding", "cut")
        at += size
        return int.from_bytes(envelope[at - size : at], "big")

    def string(major: int, most: int) -> bytes:
        nonlocal at
        length = head(major)
        demand(length <= min(most, len(envelope) - at), "binding", "cut or too long")
        at += length
        return envelope[at - length : at]

    demand(len(envelope) <= 65536, "binding", "too long")
    records = []
    count = head(5)
    demand(1 <= count <= 64, "binding", "number of records")
    for _ in range(count):
        label = string(3, 64)
        demand(head(4) == 3, "binding", "not a record")
        records.append((label, string(3, 128), string(2, 65536), head(0)))
    demand(at == len(envelope), "binding", "bytes follow")
    demand(len({label for label, *_ in records}) == count, "binding", "a label twice")
    for label, media_type, content, role in records:
        demand(label and media_type and role in (1, 2, 4, 8), "binding", "label, type or role")
        if role == 4:
            try:
                yield media_type.decode(), content
            except UnicodeDecodeError:
                raise Refused("binding", "not text") from None


def check_software_key(content: bytes, endpoint_id: bytes, binding: bytes) -> None:
    """Check evidence by a software key [ST-40] to [ST-42]."""
    demand(len(content) <= 256, "binding", "too long")
    said = read(content, "1:algorithm=int 2:public_key=bytes 3:signature=bytes", "binding")
    if said["algorithm"] == 1:
        demand(said["public_key"] == endpoint_id, "binding", "another endpoint's key")  # [ST-41]
        verify(said["public_key"], "sealmesh/1 evidence", binding, said["signature"], "binding")
        return
    demand(said["algorithm"] == 2 and len(said["public_key"]) == 65, "binding", "algorithm")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), said["public_key"])
        key.verify(said["signature"], b"sealmesh/1 evidence\0" + binding, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        raise Refused("binding", "signature") from None


def judge_live(
    *, endpoint_id: bytes, verifier_id: bytes, nonce: bytes, statement: bytes, envelope: bytes, path: bytes,
    epochs: list[bytes], now: float,
) -> Verdict:  # fmt: skip
    """Judge a live answer in the order of statements.md section 4; the first refusal ends it."""
    said = read_host_statement(statement)
    demand(said["endpoint_id"] == endpoint_id, "endpoint_id")  # [ST-53]
    now_ms = now * 1000
    demand(said["issued_ms"] <= now_ms + SKEW * 1000 and now_ms < said["expires_ms"], "freshness")  # [ST-9]
    demand(said["challenge_root"] == root_of(nonce, verifier_id, path), "own_nonce")  # [CH-7]
    demand(epochs, "epoch_statement", "none")  # [ST-55]
    read_epochs = [read_epoch(epoch, endpoint_id, said["statement_key"]) for epoch in epochs]
    binding = sha256(b"sealmesh/1 evidence\0", statement)  # [ST-7]
    held = 0
    for media_type, content in evidence_records(envelope):
        if media_type == "application/vnd.sealmesh.software-key":  # [ST-50] other types count for nothing
            check_software_key(content, endpoint_id, binding)  # [ST-51] one that fails refuses the host
            held += 1
    demand(held, "binding", "no evidence that holds")
    return Verdict(endpoint_id, read_epochs, min(now + 600, said["expires_ms"] / 1000))  # [ST-21]


# --- The sealed exchange ---------------------------------------------------------------------------------------------


def choose_key(verdict: Verdict, best_seen: int, now: float) -> tuple[Epoch, int]:
    """Choose epoch and suite: the best that the statement names, and none below what was ever seen."""
    demand(now < verdict.expires, "freshness", "the verdict has ended")  # [ST-22]
    usable = [epoch for epoch in verdict.epochs if epoch.not_before <= now + SKEW and now < epoch.not_after]
    demand(usable, "epoch_statement", "no epoch lasts")
    # The latest that has begun; else the first to begin [ST-22].
    epoch = max(usable, key=lambda one: one.not_before if one.not_before <= now else -one.not_before)
    known = [suite for suite in epoch.keys if suite in (1, 2)]  # [ST-13]
    demand(known, "suite", "none that this client knows")
    demand(max(known) >= best_seen, "suite", "weaker than what this host has offered before")  # [EX-17]
    return epoch, max(known)  # [EX-16]


def seal_secret(suite: int, public: bytes, context: bytes, secret: bytes) -> bytes:
    """Seal the secret to a host's key; a key that the library refuses refuses the host [EX-12]."""
    try:
        if suite == 1:  # [EX-10]
            own_public, own_private = sodium.crypto_box_keypair()
            nonce = secrets.token_bytes(24)
            return bytes(own_public + nonce + sodium.crypto_box(secret, nonce, public, own_private))
        demand(len(public) == 1216, "suite", "length of a key")
        post_quantum = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184])
        key = hpke.MLKEM768X25519PublicKey(post_quantum, x25519.X25519PublicKey.from_public_bytes(public[1184:]))
        xwing = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
        return xwing.encrypt(secret, key, info=context)  # [EX-11]
    except (ValueError, CryptoError):
        raise Refused("suite", "a key that is none") from None


HEAD, BODY, TRAILER, PING, ERROR = 1, 2, 3, 4, 5
MESSAGE, FINAL = 0, 3
LARGEST_CONTENT = 65536 - 17 - 5  # [EX-21]
ENCAPSULATION = {1: 104, 2: 1168}
REFUSALS = {1: "unknown key", 2: "malformed", 3: "busy", 4: "replayed", 5: "unsupported version or suite"}


class Sealing:
    """One exchange's request: a fresh secret, and the stream that it keys [EX-18]."""

    def __init__(self, endpoint_id: bytes, epoch: Epoch, suite: int) -> None:
        public = epoch.keys[suite]
        key_id = sha256(bytes([suite]), public)[:8]  # [EX-07]
        prefix = b"\xe1\x01" + bytes([suite]) + key_id + ENCAPSULATION[suite].to_bytes(2, "big")  # [EX-02]
        context = b"sealmesh/1 seal\0" + prefix + endpoint_id + epoch.digest  # [EX-08]
        secret = secrets.token_bytes(32)
        encapsulation = seal_secret(suite, public, context, secret)
        request_key, self.response_key = stream_keys(secret, context, encapsulation)
        self.state = sodium.crypto_secretstream_xchacha20poly1305_state()
        header = sodium.crypto_secretstream_xchacha20poly1305_init_push(self.state, request_key)
        self.opening = prefix + encapsulation + header

    def frame(self, kind: int, content: bytes = b"", tag: int = MESSAGE) -> bytes:
        """Seal one frame."""
        plain = bytes([kind]) + len(content).to_bytes(4, "big") + content
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(
            self.state, plain, b"sealmesh/1 request", tag
        )  # [EX-22]
        return len(sealed).to_bytes(4, "big") + bytes(sealed)

    def request(self, head: bytes, body: bytes) -> bytes:
        """Write the whole request: HEAD, the body in pieces, TRAILER with FINAL [EX-25] [EX-30]."""
        frames = [self.frame(HEAD, head)]
        for at in range(0, len(body), LARGEST_CONTENT):
            frames.append(self.frame(BODY, body[at : at + LARGEST_CONTENT]))
        return b"".join([self.opening, *frames, self.frame(TRAILER, tag=FINAL)])


def stream_keys(secret: bytes, context: bytes, encapsulation: bytes) -> tuple[bytes, bytes]:
    """Derive both directions' keys [EX-13] [EX-14]. One HMAC is HKDF-Extract, and one more a block of HKDF-Expand."""
    transcript = sha256(b"sealmesh/1 keys\0", context, encapsulation)
    prk = hmac.digest(transcript, secret, "sha256")
    return (
        hmac.digest(prk, b"sealmesh/1 request\x01", "sha256"),
        hmac.digest(prk, b"sealmesh/1 response\x01", "sha256"),
    )


class Opening:
    """One exchange's response, read as its bytes come. Any failure ends it for good [EX-20]."""

    def __init__(self, response_key: bytes) -> None:
        self.key = response_key
        self.buffer = bytearray()
        self.state: Any = None
        self.where = "START"  # then BODY, COMPLETE or ABORTED; FAILED
        self.frames = 0
        self.refusal: int | None = None

    def receive(self, data: bytes) -> list[tuple[str, Any]]:
        """Take bytes and return what they authentically say: ping, head, body, end or error."""
        demand(self.where != "FAILED", "exchange", "has failed")
        try:
            self.buffer += data
            events = []
            while (event := self.step()) is not None:
                events.append(event)
            return events
        except Refused:
            self.where, self.state = "FAILED", None  # [EX-24]
            raise

    def end(self) -> None:
        """Take the end of the stream: only after FINAL, or after a refusal, is it one [EX-28]."""
        whole = self.where in ("COMPLETE", "ABORTED") or self.refusal is not None
        demand(whole and not self.buffer, "exchange", "the answer was cut off")

    def take(self, size: int) -> bytes:
        """Take bytes off the buffer."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def step(self) -> tuple[str, Any] | None:
        """Read one more event; None where more bytes are needed."""
        buffer = self.buffer
        if self.where in ("COMPLETE", "ABORTED") or self.refusal is not None:
            demand(not buffer, "exchange", "bytes after the end")  # [EX-26]
            return None
        if self.state is None:
            return self.begin()
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[:4], "big")
        demand(17 <= length <= 65536, "exchange", "length of a frame")  # [EX-21]
        if len(buffer) < 4 + length:
            return None
        self.take(4)
        try:
            plain, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(
                self.state, self.take(length), b"sealmesh/1 response"
            )
        except (RuntimeError, ValueError, CryptoError):
            raise Refused("exchange", "a frame that does not authenticate") from None
        self.frames += 1
        return self.judge_frame(bytes(plain), tag)

    def begin(self) -> tuple[str, Any] | None:
        """Read a refusal, which counts only here [EX-47], or the stream's header [EX-44]."""
        buffer = self.buffer
        demand(buffer[:1] in (b"", b"\xe1", b"\xe0") and buffer[1:2] in (b"", b"\x01"), "exchange", "not an answer")
        if buffer[:1] == b"\xe0" and len(buffer) >= 4:
            code = int.from_bytes(self.take(4)[2:], "big")
            demand(code in REFUSALS and not buffer, "exchange", "not a refusal")
            self.refusal = code
            return "refused", code
        if buffer[:1] == b"\xe1" and len(buffer) >= 26:
            header = self.take(26)[2:]
            self.state = sodium.crypto_secretstream_xchacha20poly1305_state()
            sodium.crypto_secretstream_xchacha20poly1305_init_pull(self.state, header, self.key)
            return "begun", None
        return None

    def judge_frame(self, plain: bytes, tag: int) -> tuple[str, Any]:
        """Judge an authentic frame: tag, form, padding, order and content."""
        demand(tag in (MESSAGE, FINAL) and len(plain) >= 5, "exchange", "tag or length")  # [EX-23]
        kind, length = plain[0], int.from_bytes(plain[1:5], "big")
        demand(length <= len(plain) - 5 and not any(plain[5 + length :]), "exchange", "length or padding")  # [EX-27]
        demand((tag == FINAL) == (kind in (TRAILER, ERROR)), "exchange", "FINAL")  # [EX-25]
        content = plain[5 : 5 + length]
        allowed = {"START": (HEAD, PING, ERROR), "BODY": (BODY, PING, TRAILER, ERROR)}[self.where]
        demand(kind in allowed, "exchange", "order of frames")  # [EX-30]
        demand(
            len(content) <= {HEAD: 16384, TRAILER: 4096, ERROR: 4096}.get(kind, 65536), "exchange", "content"
        )  # [EX-37]
        if kind == PING:
            return "ping", None
        if kind == BODY:
            return "body", content
        if kind == HEAD:
            self.where = "BODY"
            return "head", read_response_head(content)
        self.where, self.state = ("COMPLETE" if kind == TRAILER else "ABORTED"), None  # [EX-24]
        return ("end", read_trailer(content)) if kind == TRAILER else ("error", read_error(content))


def read_response_head(content: bytes) -> int:
    """Read a response's HEAD; returns its status [EX-34]."""
    said = read(content, "1:status=int 2:headers=bytes*", "exchange")
    headers = [read(header, "1:name=text 2:value=text", "exchange") for header in said["headers"]]
    names = [header["name"] for header in headers]
    values = all(re.fullmatch(r"[!-~]([ -~]*[!-~])?", one["value"]) and len(one["value"]) <= 1024 for one in headers)
    demand(values and len(set(names)) == len(names), "exchange", "headers")
    demand(set(names) <= {"content-type", "retry-after", "openai-processing-ms"}, "exchange", "headers")
    demand(200 <= said["status"] <= 599, "exchange", "status")
    return int(said["status"])


def read_trailer(content: bytes) -> tuple[int, int, int]:
    """Read a TRAILER's counts [EX-35]."""
    said = read(content, "1:prompt=int 2:completion=int 3:cached=int", "exchange")
    demand(max(said.values()) <= 2**40, "exchange", "counts")
    return said["prompt"], said["completion"], said["cached"]


def read_error(content: bytes) -> str:
    """Read a sealed ERROR [EX-36]; its message is a stranger's text, to be escaped."""
    said = read(content, "1:status=int 2:code=text 3:message=text 4:delay=int", "exchange")
    code = re.fullmatch(r"[a-z][a-z0-9_]{0,63}", said["code"])
    demand(400 <= said["status"] <= 599 and code and said["delay"] <= 86400, "exchange", "error")
    demand(len(said["message"].encode()) <= 1024, "exchange", "error")
    return f"{said['status']} {said['code']}: {said['message']!a}"


# --- On the wire -----------------------------------------------------------------------------------------------------


async def serve_nobody(connection: Any) -> None:
    """Reset every stream that the other side opens [TR-4]."""
    with suppress(iroh.IrohError):
        while True:
            pair = await connection.accept_bi()
            await pair.send().reset(1)
            await pair.recv().stop(1)


async def read_message(stream: Any, most: int) -> bytes:
    """Read what is behind a u32 length, and refuse by the length."""
    length = int.from_bytes(await stream.read_exact(4), "big")
    demand(0 < length <= most, "message", "length")
    return bytes(await stream.read_exact(length))


def framed(data: bytes) -> bytes:
    """Put a u32 length before a message."""
    return len(data).to_bytes(4, "big") + data


@asynccontextmanager
async def opened(pair: Any) -> AsyncIterator[Any]:
    """Hold a stream; on the way out reset what has not ended, so that no cut looks like an end [TR-2]."""
    try:
        yield pair
    except BaseException:
        with suppress(iroh.IrohError):  # it has ended
            await pair.send().reset(1)
        raise
    finally:
        with suppress(iroh.IrohError):
            await pair.recv().stop(1)


class Node:
    """This client's endpoint, with a key and credentials for this run only."""

    def __init__(self, ticket: Ticket, endpoint: Any, key: SigningKey) -> None:
        self.id = bytes(key.verify_key)
        self.endpoint = endpoint
        self.members = Membership.of(ticket.issuer)
        self.credentials = ticket.credentials(self.id, CLIENT)
        self.table: dict[bytes, dict[str, Any]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def link(self, endpoint_id: bytes, addresses: list[str], relay_url: str) -> tuple[Any, Any]:
        """Connect to a member; returns the connection and its stream of records, which lasts as long [TR-14].

        Nothing else is read until both sides have passed admission [AD-22] [TR-7].
        """
        peer = iroh.EndpointAddr(iroh.EndpointId.from_bytes(endpoint_id), relay_url or None, addresses)
        connection = await asyncio.wait_for(self.endpoint.connect(peer, ALPN), 10)
        demand(bytes(connection.remote_id().to_bytes()) == endpoint_id, "wrong_endpoint")  # [TR-1]
        try:
            async with asyncio.timeout(5):
                await self.offer(connection)
                await self.judge(connection, endpoint_id)
        except TimeoutError:
            connection.close(1, b"admission took too long")  # [TR-10] [TR-12]
            raise Refused("admission", "took too long") from None
        except Refused as refusal:
            connection.close(1, refusal.ident.encode())
            raise
        connection.set_max_concurrent_bi_streams(1024)  # [TR-5]
        self.tasks.append(asyncio.create_task(serve_nobody(connection)))
        records = await connection.open_bi()
        await records.send().write_all(GOSSIP)
        return connection, records

    async def offer(self, connection: Any) -> None:
        """Show the credentials, on the first stream, and hear what came of it [TR-6] [TR-8]."""
        async with opened(await connection.open_bi()) as stream:
            await stream.send().write_all(ADMIT + framed(self.credentials))
            await stream.send().finish()
            answer = bytes(await stream.recv().read_to_end(65))
        if refusal := re.fullmatch(rb"\x00([a-z0-9_]{1,64})", answer):
            raise Refused(refusal[1].decode(), "says the other side")
        demand(answer == b"\x01", "admission", "a malformed answer")

    async def judge(self, connection: Any, endpoint_id: bytes) -> None:
        """Judge the other side's credentials against the id that the handshake proved, and say what came of it."""
        async with opened(await connection.accept_bi()) as stream:
            shown = bytes(await stream.recv().read_to_end(1 + 4 + 1024))
            demand(shown[:1] == ADMIT and shown[1:] == framed(shown[5:]), "admission", "another stream first")  # [TR-6]
            try:
                self.members.judge(shown[5:], endpoint_id, time.time())
            except Refused as refusal:
                await stream.send().write_all(b"\0" + refusal.ident.encode())  # [TR-8]
                await stream.send().finish()
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.closed(), 1)
                raise
            await stream.send().write_all(b"\x01")
            await stream.send().finish()

    async def learn(self, records: Any, inviter: bytes) -> None:
        """Ask a member for its table [RE-25], until the inviter's record or the first answer has come."""
        everything = put(3, put(1, b"\xff" * 32))  # a Listing of all buckets, with nothing in them [RE-20]
        await records.send().write_all(framed(everything))
        answered = False
        while not answered:
            gossip = await read_message(records.recv(), 1 << 20)  # [RE-19]
            said = read(gossip, "5:records=bytes 6:notices=bytes", "misbehaves")
            if said["notices"]:
                self.take_notices(said["notices"])
            if said["records"]:
                came = read(said["records"], "1:records=bytes* 2:push=int", "misbehaves")
                demand(len(came["records"]) <= 64, "misbehaves")
                for data in came["records"]:
                    with suppress(Refused):  # whoever passed it on, it enters no table
                        self.take_record(read_record(data, self.members, time.time()))
                answered = inviter in self.table or not came["push"]

    def take_record(self, record: dict[str, Any]) -> None:
        """Keep the record with the highest sequence of each owner [RE-12]."""
        held = self.table.get(record["endpoint_id"])
        if held is None or held["sequence"] < record["sequence"]:
            self.table[record["endpoint_id"]] = record

    def find_host(self, model: str, inviter: bytes) -> dict[str, Any]:
        """Choose a host: the inviter where it is one. Members only, by the notices that have come since [RE-16]."""
        hosts = []
        for record in self.table.values():
            if record["roles"] & HOST and not record["leaving"] and (not model or model in record["models"]):
                with suppress(Refused):
                    self.members.judge(record["credentials"], record["endpoint_id"], time.time())
                    hosts.append(record)
        demand(hosts, "hosts", "nobody here serves that")
        return max(hosts, key=lambda one: one["endpoint_id"] == inviter)

    def take_notices(self, data: bytes) -> None:
        """Take successors first, then revocations [RE-22]."""
        notices = read(data, "1:revocations=bytes 2:successors=bytes*", "misbehaves")
        for successor in notices["successors"]:
            with suppress(Refused):  # known already, or it does not follow from what is
                self.members.take_successor(successor)
        if notices["revocations"]:
            self.members.take_revocations(notices["revocations"], time.time())

    async def challenge(self, connection: Any, host: dict[str, Any]) -> Verdict:
        """Have a host answer for a fresh nonce, and judge the answer [CH-1] [CH-11]."""
        endpoint_id, nonce = host["endpoint_id"], secrets.token_bytes(32)
        async with opened(await connection.open_bi()) as stream:
            await stream.send().write_all(PROVE + framed(put(2, nonce)))
            await stream.send().finish()
            try:
                data = await asyncio.wait_for(read_message(stream.recv(), 192 * 1024), 10)  # [CH-3] [CH-16]
            except TimeoutError:
                raise Refused("challenge", "the host is silent") from None
        proof = read_answer(data)
        now = time.time()
        keys = read_keys_part(proof["keys"], now)
        demand(keys["endpoint_id"] == endpoint_id, "keys_part", "of another endpoint")  # [CH-3]
        demand(keys["sequence"] >= host["keys_sequence"], "keys_part", "older than the summary names")  # [RE-15]
        return judge_live(
            endpoint_id=endpoint_id, verifier_id=self.id, nonce=nonce, statement=proof["statement"],
            envelope=proof["envelope"], path=proof["path"], epochs=keys["epochs"], now=now,
        )  # fmt: skip


def read_answer(data: bytes) -> dict[str, Any]:
    """Read the answer to a challenge [CH-3]; a refusal says only that the host does not answer now [CH-10]."""
    answer = read(data, "1:keys=bytes* 2:proof=bytes* 3:refused=int*", "challenge")
    demand(sum(map(len, answer.values())) == 1, "challenge", "not exactly one answer")
    demand(not answer["refused"], "challenge", "the host does not answer now")
    demand(answer["proof"], "challenge", "not a proof")
    proof = read(answer["proof"][0], "1:statement=bytes 2:envelope=bytes 3:path=bytes 4:keys=bytes", "challenge")
    limits = {"statement": 8192, "envelope": 65536, "path": 330, "keys": 98304}
    demand(all(len(proof[name]) <= most for name, most in limits.items()), "challenge", "too long")
    demand(proof["statement"] and proof["envelope"] and proof["keys"], "challenge", "something is missing")
    return proof


async def ask(
    connection: Any, verdict: Verdict, best_seen: int, question: dict[str, Any], show: Callable[[str], None]
) -> str:
    """Seal one chat completion and show its answer as it comes; returns the name of the suite."""
    epoch, suite = choose_key(verdict, best_seen, time.time())
    sealing = Sealing(verdict.endpoint_id, epoch, suite)
    method, path = OPERATION
    headers = [("content-type", "application/json"), ("accept", "text/event-stream")]  # [EX-33]
    head = put(1, method) + put(2, path) + b"".join(put(3, put(1, name) + put(2, value)) for name, value in headers)
    head += put(4, 128)  # padding, so that the lengths of words do not show [EX-29]
    async with opened(await connection.open_bi()) as stream:
        await stream.send().write_all(sealing.request(head, json.dumps(question).encode()))
        await stream.send().finish()
        await read_reply(stream.recv(), Opening(sealing.response_key), show)
    return {1: "x25519", 2: "xwing"}[suite]


async def read_reply(receiving: Any, opening: Opening, show: Callable[[str], None]) -> None:
    """Read the answer to its authenticated end; anything else is refused, whatever was shown before."""
    status, rest = 0, b""
    clock = asyncio.get_running_loop().time
    alive, due = clock() + 5, clock() + 600  # [EX-61] [EX-62]
    while True:
        try:
            async with asyncio.timeout_at(min(alive, due)):
                data = bytes(await receiving.read(65536))
        except TimeoutError:
            raise Refused("exchange", "the host was lost") from None
        except iroh.IrohError:
            raise Refused("exchange", "the stream was reset") from None
        if not data:
            return opening.end()
        frames = opening.frames
        for event, value in opening.receive(data):
            if event == "head":
                status = value
            elif event == "body":
                *lines, rest = (rest + value).split(b"\n") if status == 200 else [(rest + value)[:500]]
                demand(len(rest) <= 1 << 22, "answer", "a line without end")
                for line in lines:
                    show(text_of(line))
            elif event == "refused":
                raise Refused("refused", REFUSALS[value])  # [EX-46] a hint: nothing else is tried
            elif event == "error":
                raise Refused("error", value)
            elif event == "end":
                demand(status == 200, "status", f"{status} {rest!r}")
            if event in ("head", "body"):
                due = clock() + 120
        if opening.frames > frames:
            alive = clock() + 5


def text_of(line: bytes) -> str:
    """Get the text out of one line of a streamed chat completion."""
    if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
        return ""
    try:
        choices = json.loads(line.removeprefix(b"data:")).get("choices") or [{}]
        return str(choices[0].get("delta", {}).get("content") or "")
    except (ValueError, AttributeError, TypeError, LookupError):
        raise Refused("answer", "not a streamed chat completion") from None


def remember_suite(verdict: Verdict, memory: Path | None) -> int:
    """Return the best suite ever seen of a host, this answer included, and keep it before sealing [EX-17]."""
    seen: dict[str, int] = json.loads(memory.read_text()) if memory and memory.exists() else {}
    offered = [suite for epoch in verdict.epochs for suite in epoch.keys if suite in (1, 2)]
    best = seen[verdict.endpoint_id.hex()] = max([*offered, seen.get(verdict.endpoint_id.hex(), 0)])
    if memory:
        memory.write_text(json.dumps(seen))
    return best


async def run(ticket: Ticket, prompt: str, model: str, memory: Path | None) -> None:
    """Join, choose a host, verify it and ask."""
    key = SigningKey.generate()
    relays = iroh.RelayMode.custom_from_urls([ticket.relay_url]) if ticket.relay_url else iroh.RelayMode.disabled()
    options = iroh.EndpointOptions(preset=iroh.preset_minimal(), relay_mode=relays, secret_key=bytes(key))
    endpoint = await iroh.Endpoint.bind(options)
    node = Node(ticket, endpoint, key)
    try:
        connection, records = await node.link(ticket.inviter, ticket.addresses, ticket.relay_url)
        async with asyncio.timeout(10):
            await node.learn(records, ticket.inviter)
        host = node.find_host(model, ticket.inviter)
        if host["endpoint_id"] != ticket.inviter:
            connection, records = await node.link(host["endpoint_id"], host["addresses"], host["relay_url"])
        verdict = await node.challenge(connection, host)
        best_seen = remember_suite(verdict, memory)
        model = model or next(iter(host["models"]), "")
        question = {"model": model, "stream": True, "messages": [{"role": "user", "content": prompt}]}

        def show(text: str) -> None:
            sys.stdout.write("".join(one for one in text if one in "\n\t" or one.isprintable()))
            sys.stdout.flush()

        suite = await ask(connection, verdict, best_seen, question, show)
        sys.stdout.write("\n")
        sys.stderr.write(
            f"sealed with {suite} to {verdict.endpoint_id.hex()[:12]} ({verdict.tier}), authentic to the end\n"
        )
        connection.close(0, b"")
    finally:
        for task in node.tasks:
            task.cancel()
        await endpoint.close()


def main() -> int:
    """Read the arguments and ask."""
    parser = argparse.ArgumentParser(description="Ask a mesh one question, with nothing but its specification.")
    parser.add_argument("prompt")
    parser.add_argument("--ticket", type=Path, help="a file with the ticket; else it is read from standard input")
    parser.add_argument("--model", default="", help="a model's name; else the host's first")
    parser.add_argument("--memory", type=Path, help="a file that keeps the best suite seen of each host [EX-17]")
    arguments = parser.parse_args()
    try:
        text = arguments.ticket.read_text() if arguments.ticket else sys.stdin.read()
        asyncio.run(run(Ticket.parse(text), arguments.prompt, arguments.model, arguments.memory))
    except (Refused, OSError) as error:  # a TimeoutError is an OSError too
        sys.stderr.write(f"refused: {str(error) or 'it took too long'}\n")
        return 1
    except iroh.IrohError as error:
        sys.stderr.write(f"refused: connection: {error.message()[:200]!a}\n")  # the peer chooses these words [TR-16]
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
