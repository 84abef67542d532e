"""A mesh's people: an issuer, members with keys and credentials, and the records that they sign."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from sealmesh.gossip.record import KeysPart, Model, Summary, next_sequence, record_digest
from sealmesh.identity.admission import ALL_ROLES, AdmissionPolicy, Credentials, Role, Ticket, make_ticket
from sealmesh.identity.keys import EndpointKey, IssuerKey
from sealmesh.transport.base import EndpointAddress

NOW = 1_800_000_000.0
DAY = 86_400


class Randomness:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: str = "people") -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(length)


@dataclasses.dataclass
class Member:
    """One node's secrets, and what it said last."""

    key: EndpointKey
    credentials: Credentials
    roles: Role
    sequence: int = 0
    keys_sequence: int = 0

    @property
    def id(self) -> bytes:
        return self.key.public

    @property
    def shown(self) -> bytes:
        """Its encoded credentials."""
        return self.credentials.encode()

    def summary(self, now: float = NOW, **changes: Any) -> Summary:
        """Return its next summary, not signed."""
        self.sequence = next_sequence(self.sequence, now)
        base = Summary(
            endpoint_id=self.id,
            sequence=self.sequence,
            issued=int(now),
            expires=int(now) + 3600,
            roles=self.roles,
            credentials_digest=record_digest(self.shown),
            addresses=("192.0.2.1:4433", "[2001:db8::1]:4433"),
            node_version="1.0",
            name="node",
            models=(Model(name="smollm2-135m", context_length=2048, digest=bytes(32)),),
            capabilities=("sealed:1", "sealed:2"),
        )
        return dataclasses.replace(base, **changes)

    def record(self, now: float = NOW, **changes: Any) -> bytes:
        """Return its next summary, signed."""
        return self.summary(now, **changes).sign(self.key)

    def keys(self, now: float = NOW, **changes: Any) -> bytes:
        """Return its next keys part, signed."""
        self.keys_sequence = next_sequence(self.keys_sequence, now)
        base = KeysPart(
            endpoint_id=self.id,
            sequence=self.keys_sequence,
            issued=int(now),
            expires=int(now) + 900,
            inference_public_key=hashlib.sha256(self.id).digest(),
            security_posture={"core_dumps": "off"},
            hardware_attestation_blob=b"evidence",
            epoch_statements=(b"current", b"next"),
            host_statement=b"statement",
        )
        return dataclasses.replace(base, **changes).sign(self.key)


class People:
    """An issuer and whoever it lets in."""

    def __init__(self, seed: str = "people", *, now: float = NOW) -> None:
        self.random = Randomness(seed)
        self.issuer = IssuerKey.generate(self.random)
        self.now = now

    def policy(self) -> AdmissionPolicy:
        """Return a fresh policy of this mesh."""
        return AdmissionPolicy(self.issuer.public)

    def ticket(self, roles: Role = ALL_ROLES, *, lifetime_s: int = 30 * DAY, name: str = "home") -> Ticket:
        """Return a new ticket."""
        inviter = EndpointAddress(endpoint_id=bytes(range(32)), addresses=("192.0.2.7:4433",))
        return make_ticket(
            self.issuer,
            random=self.random,
            roles=roles,
            now=self.now,
            lifetime_s=lifetime_s,
            inviter=inviter,
            mesh_name=name,
        )

    def member(self, roles: Role = ALL_ROLES, *, ticket: Ticket | None = None) -> Member:
        """Return a new member under its own ticket, or under `ticket`."""
        ticket = ticket or self.ticket(roles)
        key = EndpointKey.generate(self.random)
        return Member(key=key, credentials=ticket.join(key.public, roles), roles=roles)
