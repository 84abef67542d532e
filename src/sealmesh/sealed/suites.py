"""The two ways to bring a secret to a host: NaCl box, and the X25519+ML-KEM-768 hybrid by HPKE.

Both carry the same thing, a random 32-byte secret, from which the keys of one exchange are derived
(docs/spec/exchange.md, "Suites" and "Key schedule").
"""

from __future__ import annotations

import enum
import functools
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from nacl.bindings import crypto_box_easy, crypto_box_open_easy, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.hardening.memory import LockedBytes
from sealmesh.wire.framing import StreamKind

RandomBytes = Callable[[int], bytes]

VERSION: Final = 1
SECRET_LENGTH: Final = 32
KEY_ID_LENGTH: Final = 8
#: `0xE1 | version | suite | key id | length of the encapsulation`, big-endian [EX-01, EX-02].
PREFIX_LAYOUT: Final = struct.Struct(">BBB8sH")
PREFIX_LENGTH: Final = 13

_NONCE_LENGTH: Final = 24
_X25519_LENGTH: Final = 32
_MLKEM768_PUBLIC_LENGTH: Final = 1184
_LABEL_SEAL: Final = b"sealmesh/1 seal\x00"
_LABEL_KEYS: Final = b"sealmesh/1 keys\x00"
_LABEL_REPLAY: Final = b"sealmesh/1 replay\x00"
_HPKE: Final = HpkeSuite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)

# What the two libraries raise on keys and ciphertexts that they refuse; each becomes one error of ours [EX-19].
_LIBRARY_ERRORS: Final = (CryptoError, InvalidTag, UnsupportedAlgorithm, ValueError, TypeError)


class Suite(enum.IntEnum):
    """A way to seal; a higher number is preferred."""

    X25519 = 1
    XWING = 2

    @property
    def label(self) -> str:
        """The word for headers and status: `x25519` or `xwing`."""
        return self.name.lower()


#: Public keys of suite 2 that are kept parsed: the current and the next of a few dozen hosts.
_PUBLIC_KEYS_KEPT: Final = 64

SUITE_PUBLIC_LENGTH: Final[Mapping[Suite, int]] = {
    Suite.X25519: _X25519_LENGTH,
    Suite.XWING: _MLKEM768_PUBLIC_LENGTH + _X25519_LENGTH,
}
#: Suite 1: public key, nonce, box of the secret. Suite 2: HPKE's `enc` (1,120) and ciphertext (48).
SUITE_ENCAPSULATION_LENGTH: Final[Mapping[Suite, int]] = {
    Suite.X25519: _X25519_LENGTH + _NONCE_LENGTH + SECRET_LENGTH + 16,
    Suite.XWING: 1120 + SECRET_LENGTH + 16,
}


def key_id(suite: Suite, public: bytes) -> bytes:
    """Return the 8-byte lookup hint of a public key [EX-07]. It proves nothing."""
    return hashlib.sha256(bytes([suite]) + public).digest()[:KEY_ID_LENGTH]


def make_prefix(suite: Suite, public: bytes) -> bytes:
    """Return the 13 bytes before the encapsulation [EX-02]."""
    return PREFIX_LAYOUT.pack(
        StreamKind.SEALED, VERSION, suite, key_id(suite, public), SUITE_ENCAPSULATION_LENGTH[suite]
    )


def make_context(prefix: bytes, endpoint_id: bytes, epoch_digest: bytes) -> bytes:
    """Return what a secret is bound to: the prefix, the host and the epoch statement [EX-08].

    Raises:
        LocalProtocolError: A part has a wrong length, which would let two contexts coincide.
    """
    if len(prefix) != PREFIX_LENGTH or len(endpoint_id) != 32 or len(epoch_digest) != 32:
        raise LocalProtocolError("a part of the sealing context has a wrong length")
    return _LABEL_SEAL + prefix + endpoint_id + epoch_digest


def replay_tag(secret: bytes) -> bytes:
    """Return the 16 bytes by which a host knows a request again [EX-40].

    Of the secret, because the encapsulation's bytes can be changed without changing what they carry.
    """
    return hashlib.sha256(_LABEL_REPLAY + secret).digest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeKeys:
    """What one exchange derives from its secret.

    Attributes:
        request: Stream key of the request, 32 bytes.
        response: Stream key of the response, 32 bytes.
        exchange_id: Names the exchange on both sides, 16 bytes; not secret.
        exporter: For later bindings to this exchange, 32 bytes.
    """

    request: bytes = field(repr=False)
    response: bytes = field(repr=False)
    exchange_id: bytes
    exporter: bytes = field(repr=False)


def derive_keys(secret: bytes, context: bytes, encapsulation: bytes) -> ExchangeKeys:
    """Return the keys of an exchange, bound to every byte before the stream [EX-13, EX-14]."""
    transcript = hashlib.sha256(_LABEL_KEYS + context + encapsulation).digest()
    prk = HKDF.extract(SHA256(), transcript, secret)

    def expand(label: bytes, length: int) -> bytes:
        return HKDFExpand(SHA256(), length, label).derive(prk)

    return ExchangeKeys(
        request=expand(b"sealmesh/1 request", 32),
        response=expand(b"sealmesh/1 response", 32),
        exchange_id=expand(b"sealmesh/1 exchange id", 16),
        exporter=expand(b"sealmesh/1 exporter", 32),
    )


@functools.lru_cache(maxsize=_PUBLIC_KEYS_KEPT)
def _read_hybrid(public: bytes) -> MLKEM768X25519PublicKey:
    """Parse a public key of suite 2; a host's key serves many requests, and reading it costs a fifth of a sealing."""
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_MLKEM768_PUBLIC_LENGTH]),
        X25519PublicKey.from_public_bytes(public[_MLKEM768_PUBLIC_LENGTH:]),
    )


def seal_secret(suite: Suite, public: bytes, context: bytes, random: RandomBytes) -> tuple[bytes, bytes]:
    """Make a fresh secret and seal it to a host's key [EX-18].

    Args:
        suite: How.
        public: The host's key for that suite, as its verified epoch statement gives it.
        context: From `make_context`.
        random: Source of randomness. Suite 2's key pair comes from inside the library all the same.

    Returns:
        The secret (32 bytes) and its encapsulation.

    Raises:
        RemoteProtocolError: The library refuses the key, so the host is refused [EX-12].
    """
    secret = random(SECRET_LENGTH)
    try:
        if suite is Suite.X25519:
            own = random(_X25519_LENGTH)
            nonce = random(_NONCE_LENGTH)
            if not len(secret) == len(own) == SECRET_LENGTH:
                raise LocalProtocolError("the source of randomness gave too few bytes")
            box = crypto_box_easy(secret, nonce, public, own)  # [EX-10]
            return secret, crypto_scalarmult_base(own) + nonce + box
        if len(public) != SUITE_PUBLIC_LENGTH[suite]:
            raise ValueError("length")
        return secret, _HPKE.encrypt(secret, _read_hybrid(public), info=context)  # [EX-11]
    except _LIBRARY_ERRORS as error:
        raise RemoteProtocolError("the host's key cannot be sealed to") from error


class HostKey:
    """A host's private key of one suite and one epoch. Lives in memory only, until `wipe`.

    Attributes:
        suite: The suite it is for.
        public: Public key, `SUITE_PUBLIC_LENGTH[suite]` bytes.
        key_id: First 8 bytes of SHA-256(suite ‖ public).
    """

    __slots__ = ("_box", "_hpke", "key_id", "public", "suite")

    def __init__(
        self, suite: Suite, public: bytes, *, box: LockedBytes | None, hpke: MLKEM768X25519PrivateKey | None
    ) -> None:
        self.suite = suite
        self.public = public
        self.key_id = key_id(suite, public)
        self._box = box
        self._hpke = hpke

    @classmethod
    def generate(cls, suite: Suite, random: RandomBytes | None = None) -> HostKey:
        """Make a fresh key.

        Args:
            suite: What it is for.
            random: Leave it out in a host: the system's generator then writes straight into locked memory, and no
                copy is ever on the heap [EX-50]. Given (simulations), a suite-1 key is made of its bytes, of which
                the heap keeps a copy. A suite-2 key is made inside the library either way and never exported.

        Raises:
            HardeningError: The system gave no memory or no randomness.
        """
        if suite is Suite.X25519:
            return cls._of_box(LockedBytes.random(32) if random is None else LockedBytes.copy_of(random(32)))
        return cls._of_hpke(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def unsafe_from_seed(cls, suite: Suite, seed: bytes) -> HostKey:
        """Return the key of a seed, for published test vectors only: whoever knows the seed opens everything.

        Args:
            suite: What it is for.
            seed: Suite 1: the X25519 scalar (32 bytes). Suite 2: ML-KEM's `d ‖ z` (64) ‖ X25519 scalar (32).
        """
        if suite is Suite.X25519:
            return cls._of_box(LockedBytes.copy_of(seed))
        return cls._of_hpke(
            MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
        )

    @classmethod
    def _of_box(cls, box: LockedBytes) -> HostKey:
        return cls(Suite.X25519, crypto_scalarmult_base(box.pointer()), box=box, hpke=None)

    @classmethod
    def _of_hpke(cls, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> HostKey:
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return cls(Suite.XWING, public, box=None, hpke=MLKEM768X25519PrivateKey(mlkem, x25519))

    @property
    def wiped(self) -> bool:
        """Whether the private part is gone."""
        return self._hpke is None and (self._box is None or self._box.wiped)

    def open_untrusted(self, encapsulation: bytes, context: bytes) -> bytes:
        """Return the secret that a client sealed to this key.

        Args:
            encapsulation: As received.
            context: From `make_context`, out of the host's own state.

        Raises:
            RemoteProtocolError: It does not open, for whatever reason (code 2); or the key was wiped (code 1).
        """
        if self.wiped:
            raise RemoteProtocolError("the key is not held any more", code=1)
        if len(encapsulation) != SUITE_ENCAPSULATION_LENGTH[self.suite]:
            raise RemoteProtocolError("the encapsulation has a wrong length", code=2)
        try:
            if self._box is not None:
                nonce = encapsulation[_X25519_LENGTH : _X25519_LENGTH + _NONCE_LENGTH]
                box = encapsulation[_X25519_LENGTH + _NONCE_LENGTH :]
                return crypto_box_open_easy(box, nonce, encapsulation[:_X25519_LENGTH], self._box.pointer())
            assert self._hpke is not None  # noqa: S101 - one of the two is there, see `wiped`
            secret = _HPKE.decrypt(encapsulation, self._hpke, info=context)
            if len(secret) != SECRET_LENGTH:
                raise ValueError("length")
            return secret
        except _LIBRARY_ERRORS as error:
            raise RemoteProtocolError("the encapsulation does not open", code=2) from error

    def wipe(self) -> None:
        """Destroy the private part [EX-51]. A second call does nothing."""
        if self._box is not None:
            self._box.wipe()
        self._hpke = None  # the library cleanses its own memory when the last reference goes

    def __repr__(self) -> str:
        return f"<HostKey {self.suite.label} {self.key_id.hex()} {'wiped' if self.wiped else 'held'}>"


def best_suite(keys: Mapping[int, bytes], *, floor: Suite | None = None) -> Suite:
    """Return the suite to seal with [EX-16].

    Args:
        keys: Suite number to public key, from a verified epoch statement. Numbers that are not known are passed over.
        floor: The best suite ever seen from that endpoint; nothing weaker is used [EX-17].

    Raises:
        VerificationError: There is none, or only weaker ones than before.
    """
    known = [suite for suite in Suite if suite in keys]
    if not known:
        raise VerificationError("suite", "the host's epoch statement has no suite that this node knows")
    best = max(known)
    if floor is not None and best < floor:
        raise VerificationError("suite", "the host used a stronger suite before", expected=floor.label, got=best.label)
    return best
