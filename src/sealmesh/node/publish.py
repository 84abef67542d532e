"""What this node tells others of itself: its summary, and as a host its keys part, each renewed ahead of its end.

The rooms make the pieces (epochs, proofs, models); this module puts them into records, signs them with the endpoint
key, and hands them on. A record's sequence is on the disk before it is used (PROTOCOL.md, Records).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh import __version__
from sealmesh.backend.base import ModelInfo
from sealmesh.errors import ConfigError
from sealmesh.gossip.record import KeysPart, Model, Summary
from sealmesh.host.epochs import EpochContent
from sealmesh.host.prove import StandingProof
from sealmesh.identity.grants import Role
from sealmesh.identity.keys import EndpointKey
from sealmesh.limits import CLIENT_SUMMARY_LIFETIME_S, KEYS_LIFETIME_S, SUMMARY_LIFETIME_S
from sealmesh.node.stores import SequenceStore
from sealmesh.transport.base import EndpointAddress

_log = logging.getLogger("sealmesh.node")

#: A record that could not be renewed (a full disk) is tried again after this: the old one still holds.
RETRY_S: Final = 10.0
#: A record is renewed when this part of its life has passed: the rest is for peers that are away for a while.
RENEW_AFTER: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this node is in its mesh, for as long as it runs."""

    key: EndpointKey
    credentials: bytes
    roles: Role
    name: str


class Publisher:
    """Makes and renews this node's records.

    Args:
        identity: Who signs.
        sequences: Numbers that only rise, over restarts too.
        address: Where this node can be reached now.
        models: What it serves; nothing for a client.
        posture: What hardening is on, self-asserted (field 37).
        capabilities: Such as `sealed:1`.
        announce: Given each new summary, signed.
        now: Unix seconds.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        sequences: SequenceStore,
        address: Callable[[], EndpointAddress],
        models: tuple[ModelInfo, ...],
        posture: Mapping[str, str],
        capabilities: tuple[str, ...],
        announce: Callable[[bytes], None],
        now: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._sequences = sequences
        self._address = address
        self._models = models
        self._posture = dict(posture)
        self._capabilities = capabilities
        self._announce = announce
        self._now = now
        self._proof: StandingProof | None = None
        self._epochs: EpochContent | None = None
        self._keys = b""
        self._keys_sequence = 0
        self._keys_until = 0.0
        self._keys_made = self._summary_made = float("-inf")
        self._keys_due = float("inf")
        self._summary_due = 0.0
        self._summary_address: EndpointAddress | None = None
        self._at_least = 0

    def take_proof(self, proof: StandingProof) -> None:
        """The standing statement is new."""
        self._proof = proof
        self._renew_keys_or_later()

    def take_epochs(self, content: EpochContent) -> None:
        """An epoch began, or the next one was announced."""
        self._epochs = content
        self._renew_keys_or_later()

    def keys_part(self, endpoint_id: bytes) -> bytes | None:
        """This node's own signed keys part, for whoever fetches it; nobody else's is held here."""
        if endpoint_id != self._identity.key.public or self._now() >= self._keys_until:
            return None
        return self._keys

    def overtaken(self, sequence: int) -> None:
        """Others hold a record of this node from an earlier run: publish above it."""
        self._at_least = sequence + 1
        self._summary_due = 0.0

    def advance(self) -> None:
        """Renew what is due. Call it each second. Never raises: a record that cannot be renewed is tried later."""
        now = self._now()
        # Made in the future: the clock was set back, and readers would wait for it to come there again.
        if now >= self._keys_due or now < self._keys_made:
            self._renew_keys_or_later()
        if now >= self._summary_due or now < self._summary_made or self._address() != self._summary_address:
            try:
                self.renew_summary()
            except ConfigError as error:
                _log.warning("the summary could not be renewed: %s", error)
                self._summary_due, self._summary_made = now + RETRY_S, now

    def renew_summary(self, *, leaving: bool = False) -> None:
        """Publish a summary now.

        Args:
            leaving: Say goodbye: the record that ends this node's earlier ones.

        Raises:
            ConfigError: Its sequence could not be stored, so it was not made.
        """
        now = self._now()
        # Half a millisecond more: the quotient of a whole number may lie just below it.
        sequence = self._sequences.next("summary", max(now, (self._at_least + 0.5) / 1000))
        # By the role, as readers judge it [RE-7]: a host may serve no model for a while.
        lifetime = CLIENT_SUMMARY_LIFETIME_S if self._identity.roles is Role.CLIENT else SUMMARY_LIFETIME_S
        address = self._address()
        summary = Summary(
            endpoint_id=self._identity.key.public,
            sequence=sequence,
            issued=int(now),
            expires=int(now) + lifetime,
            roles=self._identity.roles,
            credentials_digest=hashlib.sha256(self._identity.credentials).digest(),
            addresses=address.addresses,
            relay_url=address.relay_url or "",
            node_version=__version__,
            name=self._identity.name,
            models=tuple(
                Model(name=model.name, context_length=model.context_length, digest=model.digest)
                for model in self._models
            ),
            capabilities=self._capabilities,
            keys_sequence=self._keys_sequence,
            leaving=leaving,
        )
        self._announce(summary.sign(self._identity.key))
        self._summary_address = address
        self._summary_made = now
        self._summary_due = now + lifetime * RENEW_AFTER

    def _renew_keys_or_later(self) -> None:
        """Renew the keys part; the first one must come about, later ones have a predecessor that still holds."""
        try:
            self._renew_keys()
        except ConfigError as error:
            if not self._keys:
                raise
            now = self._now()
            _log.warning("the keys part could not be renewed: %s", error)
            self._keys_due, self._keys_made = now + RETRY_S, now

    def _renew_keys(self) -> None:
        if self._proof is None or self._epochs is None:
            return
        now = self._now()
        sequence = self._sequences.next("keys", now)
        part = KeysPart(
            endpoint_id=self._identity.key.public,
            sequence=sequence,
            issued=int(now),
            expires=int(now) + KEYS_LIFETIME_S,
            inference_public_key=self._epochs.inference_public_key,
            security_posture=self._posture,
            hardware_attestation_blob=self._proof.envelope,
            epoch_statements=tuple(statement.encode() for statement in self._epochs.statements),
            host_statement=self._proof.host_statement,
        )
        self._keys = part.sign(self._identity.key)
        self._keys_sequence = sequence
        self._keys_made = now
        self._keys_until = float(part.expires)
        self._keys_due = now + KEYS_LIFETIME_S * RENEW_AFTER
        _log.debug("keys part %d made", sequence)
