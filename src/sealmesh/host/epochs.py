"""Epochs: the host's inference keys, made ahead, announced ahead, and wiped after (docs/spec/statements.md, Epochs).

Rotation needs no hardware: the statement key, made here and kept in memory only [ST-6], signs each epoch's keys.
`EpochKeeper.advance` is the whole logic, without a clock or a task of its own; `run` calls it when something is due.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.clocks import ClockGuard
from sealmesh.attestation.statement import EpochStatement, statement_digest
from sealmesh.identity.keys import StatementKey
from sealmesh.identity.signed import Signed
from sealmesh.limits import EPOCH_ANNOUNCE_S, EPOCH_GRACE_S, EPOCH_S
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.suites import HostKey, Suite

_log = logging.getLogger("sealmesh.host")

#: The clocks are compared this often, in seconds: a key outlives the setting of a clock by no more.
TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochContent:
    """What the keys part of the host's record says of its epochs.

    Attributes:
        statements: Signed epoch statements: the current one, and the next once it is announced.
        inference_public_key: The current key of suite 1, 32 bytes (field 36 of the keys part).
    """

    statements: tuple[Signed, ...]
    inference_public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Epoch:
    statement: EpochStatement
    signed: Signed


class EpochKeeper:
    """Keeps the inference keys of the current and the next epoch, and says when they change.

    Args:
        endpoint_id: This host's id, 32 bytes.
        keyring: Where the private keys go; wiped by this keeper and nobody else.
        random: Random bytes, for the statement key.
        host_statement_digest: Gives the SHA-256 of the host statement that stands now, 32 bytes.
        publish: Called with what the keys part must say, each time that it changes.
        now: Unix seconds.
        elapsed: Seconds of a clock that counts sleep and is never set.
        sleep: Waits so many seconds.
        make_key: Makes a fresh private key of a suite.
        suites: Which suites get a key; suite 1 always does (field 36 holds its key).
        lifetime_s: Length of an epoch, in seconds; at most `EPOCH_S`.
    """

    def __init__(
        self,
        *,
        endpoint_id: bytes,
        keyring: KeyRing,
        random: Callable[[int], bytes],
        host_statement_digest: Callable[[], bytes],
        publish: Callable[[EpochContent], None],
        now: Callable[[], float],
        elapsed: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        make_key: Callable[[Suite], HostKey] = HostKey.generate,
        suites: tuple[Suite, ...] = tuple(Suite),
        lifetime_s: float = EPOCH_S,
    ) -> None:
        self._endpoint_id = endpoint_id
        self._keyring = keyring
        self._statement_key = StatementKey.generate(random)
        self._host_statement_digest = host_statement_digest
        self._publish = publish
        self._now = now
        self._elapsed = elapsed
        self._sleep = sleep
        self._make_key = make_key
        self._offered = suites
        self._lifetime_s = min(lifetime_s, EPOCH_S)
        self._ahead_s = EPOCH_ANNOUNCE_S * self._lifetime_s / EPOCH_S
        self._guard = ClockGuard(now(), elapsed())
        self._number = 0
        self._current: _Epoch | None = None
        self._next: _Epoch | None = None

    @property
    def statement_key(self) -> bytes:
        """The public statement key of this process, 32 bytes: for the host statement."""
        return self._statement_key.public

    def advance(self) -> float:
        """Do what is due now: rotate, announce, wipe. Return in how many seconds the next thing is due.

        The first call makes the first epoch.
        """
        now = self._now()
        if self._guard.parted(now, self._elapsed()):
            # No window that was measured on a clock that was set can be held to: end all keys at once [ST-18].
            _log.warning("a clock was set: all inference keys are wiped and made anew")
            self._keyring.wipe()
            self._current = self._next = None
        changed = self._rotate(now)
        changed = self._announce(now) or changed
        self._keyring.expire(now)
        if changed:
            self._publish(self.content)
        return max(0.0, self._due() - now)

    @property
    def content(self) -> EpochContent:
        """What the keys part must say now. Only after the first `advance`."""
        current = self._begun()
        following = () if self._next is None else (self._next.signed,)
        return EpochContent(
            statements=(current.signed, *following),
            inference_public_key=current.statement.keys[Suite.X25519],
        )

    async def run(self) -> None:
        """Keep the epochs until cancelled; wipe every key on the way out."""
        try:
            while True:
                await self._sleep(min(self.advance(), TICK_S))
        finally:
            self._keyring.wipe()

    def _rotate(self, now: float) -> bool:
        if self._current is not None and now < self._current.statement.not_after:
            return False
        following, self._next = self._next, None
        if following is not None and now < following.statement.not_after:
            self._current = following
        else:
            # The start, or so long a sleep that the announced epoch has ended too.
            self._current = self._make(now)
        _log.info("epoch %d begins", self._current.statement.epoch)
        return True

    def _announce(self, now: float) -> bool:
        """Make the next epoch once it is to be announced [ST-17]; its statement is made once and kept [ST-16]."""
        current = self._begun()
        if self._next is not None or now < current.statement.not_after - self._ahead_s:
            return False
        self._next = self._make(current.statement.not_after)
        return True

    def _make(self, not_before: float) -> _Epoch:
        self._number += 1
        keys = tuple(self._make_key(suite) for suite in self._offered)
        statement = EpochStatement(
            endpoint_id=self._endpoint_id,
            epoch=self._number,
            not_before=not_before,
            not_after=not_before + self._lifetime_s,
            keys={key.suite: key.public for key in keys},
            host_statement_digest=self._host_statement_digest(),
        )
        signed = statement.sign(self._statement_key)
        # Read back: a reader sees whole milliseconds, and both sides must see the same window.
        statement = EpochStatement.parse_untrusted(signed.part)
        self._keyring.add(
            EpochKeys(
                keys=keys,
                epoch_digest=statement_digest(signed.part),
                not_before=statement.not_before,
                not_after=statement.not_after,
            )
        )
        return _Epoch(statement=statement, signed=signed)

    def _due(self) -> float:
        """When the next thing is due, Unix seconds."""
        current = self._begun()
        due = [current.statement.not_after]
        if self._next is None:
            due.append(current.statement.not_after - self._ahead_s)
        due.extend(epoch.not_after + EPOCH_GRACE_S for epoch in self._keyring.epochs)
        return min(due)

    def _begun(self) -> _Epoch:
        assert self._current is not None, "advance first"  # noqa: S101 - our own order of calls
        return self._current
