"""Signing keys, one class per purpose: a key of one kind cannot be passed, or made to sign, where another belongs."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import ClassVar, Final, NoReturn, Self

import nacl.bindings

from sealmesh.errors import ConfigError, LocalProtocolError
from sealmesh.identity.signed import SEED_LENGTH, SIGNATURE_LENGTH, Label, Signed, signed_bytes

Random = Callable[[int], bytes]

_REDACTED: Final = "<redacted>"


class Seed:
    """32 secret bytes that do not show in a repr, a format or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != SEED_LENGTH:
            raise ConfigError(f"a key's seed has {SEED_LENGTH} bytes, not {len(value)}")
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the secret bytes: for the one file that keeps them."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seed) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        raise TypeError("a seed is not hashable")

    def __repr__(self) -> str:
        return _REDACTED

    def __reduce__(self) -> NoReturn:
        raise TypeError("a seed is never pickled")


class _SigningKey:
    """What all signing keys share: Ed25519 by libsodium, and the labels that this kind may sign for."""

    __slots__ = ("_secret", "public", "seed")

    #: The purposes of this kind of key; signing for another is our own mistake.
    labels: ClassVar[frozenset[Label]] = frozenset()

    public: bytes
    seed: Seed

    def __init__(self, seed: Seed) -> None:
        self.seed = seed
        self.public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed.reveal())

    @classmethod
    def generate(cls, random: Random) -> Self:
        """Make a key from 32 bytes of `random`."""
        return cls(Seed(random(SEED_LENGTH)))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Make the key of a 32-byte seed.

        Raises:
            ConfigError: The seed has another length.
        """
        return cls(Seed(seed))

    def sign(self, label: Label, part: bytes) -> bytes:
        """Return the 64-byte signature over `label ‖ 0x00 ‖ part`.

        Raises:
            LocalProtocolError: This kind of key does not sign for that label.
        """
        if label not in self.labels:
            raise LocalProtocolError(f"a {type(self).__name__} never signs a {label.words}")
        return nacl.bindings.crypto_sign(signed_bytes(label, part), self._secret)[:SIGNATURE_LENGTH]

    def sign_part(self, label: Label, part: bytes) -> Signed:
        """Sign `part` and return both together.

        Raises:
            LocalProtocolError: This kind of key does not sign for that label.
        """
        return Signed(part=part, signature=self.sign(label, part))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(public={self.public.hex()}, seed={_REDACTED})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is never pickled")


class EndpointKey(_SigningKey):
    """The node's own key: its identity on the network, and what signs its records."""

    __slots__ = ()
    labels = frozenset({Label.SUMMARY, Label.KEYS, Label.EVIDENCE})


class IssuerKey(_SigningKey):
    """The mesh's key: signs grants, revocations and its own successor."""

    __slots__ = ()
    labels = frozenset({Label.GRANT, Label.REVOCATIONS, Label.SUCCESSOR})


class BearerKey(_SigningKey):
    """The key inside a ticket: who has it can make a membership for an endpoint of their own."""

    __slots__ = ()
    labels = frozenset({Label.MEMBER})


class StatementKey(_SigningKey):
    """Made at process start, in memory only; hardware vouches for it, and it signs what changes with each epoch."""

    __slots__ = ()
    labels = frozenset({Label.EPOCH, Label.EVIDENCE, Label.RECEIPT})
