"""Credential activation: how a verifier learns that an attestation key lives in the TPM whose endorsement key it knows.

The verifier encrypts a secret to the endorsement key *and the attestation key's name*; a TPM hands it out only if both
keys are in it ("Trusted Platform Module Library, Part 1: Architecture", 24) [TPM1]. That it happened is the verifier's
own memory, never a field of evidence. Pure: randomness is an argument, so the padding of RSA is done here and not by a
library that draws its own.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from sealmesh.attestation.vendors.tpm.structures import Alg, Public, PublicKey, hash_by, require_hash
from sealmesh.errors import VerificationError

SECRET_BYTES: Final = 32
#: A day: keys stay in a chip until it is cleared, and a chip that was sold should be asked again.
MEMORY_S: Final = 86_400.0
#: Hosts of the largest mesh (`limits.PEERS_MAX`).
MEMORY_MAX: Final = 10_000
#: So far a clock may have been set back since an earlier process wrote a memory down.
_SET_BACK_S: Final = 3600.0
_IDENTITY: Final = b"IDENTITY\0"  # labels are hashed with their terminator [TPM1, 24.4 and B.10.3]
_BLOCK_BYTES: Final = 16  # of AES
_ORDERS: Final = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What goes to the host, for its TPM2_ActivateCredential.

    Attributes:
        id_object: Content of TPM2B_ID_OBJECT: integrity (TPM2B) and encrypted identity.
        encrypted_secret: Content of TPM2B_ENCRYPTED_SECRET: the seed under the endorsement key.
    """

    id_object: bytes
    encrypted_secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One activation under way.

    Attributes:
        credential: What was sent.
        name: Of the attestation key that it is for.
        endorsement: SHA-256 of the endorsement key's SubjectPublicKeyInfo.
        secret: What must come back.
    """

    credential: Credential
    name: bytes
    endorsement: bytes
    secret: bytes = field(repr=False)

    def check_untrusted(self, answer: bytes) -> None:
        """Check what the host's TPM handed out [CH-20].

        Raises:
            VerificationError: It is not the secret: the two keys are not in one TPM; factor `activation`.
        """
        if not hmac.compare_digest(answer, self.secret):
            raise VerificationError("activation", "the host's chip did not hand out the secret that was made for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationTarget:
    """Two keys that claim to be in one TPM.

    Attributes:
        endorsement: Of a certificate whose chain holds.
        digest: `certificates.Endorsed.digest`.
        attestation: The key that signed the quote, after `check_attestation_key`.
    """

    endorsement: PublicKey
    digest: bytes
    attestation: Public

    def begin(self, random: Callable[[int], bytes]) -> Activation:
        """See `begin_activation`."""
        return begin_activation(self.endorsement, self.digest, self.attestation, random)


def begin_activation(
    endorsement: PublicKey, digest: bytes, attestation: Public, random: Callable[[int], bytes]
) -> Activation:
    """Make a fresh challenge that only the TPM with both keys can answer [CH-19].

    Args:
        endorsement: From a verified certificate (`certificates.Endorsed.key`).
        digest: `certificates.Endorsed.digest`.
        attestation: After `check_attestation_key`.
        random: Cryptographically strong.

    Raises:
        VerificationError: The endorsement key is of a kind that no profile has; factor `activation`.
    """
    secret = random(SECRET_BYTES)
    credential = make_credential(endorsement, attestation.name, secret, random)
    return Activation(credential=credential, name=attestation.name, endorsement=digest, secret=secret)


def make_credential(endorsement: PublicKey, name: bytes, secret: bytes, random: Callable[[int], bytes]) -> Credential:
    """Do what TPM2_MakeCredential does, without a TPM [TPM1, 24.5].

    Args:
        endorsement: The endorsement key.
        name: The attestation key's name.
        secret: At most the length of the name's hash.
        random: Cryptographically strong.

    Raises:
        VerificationError: The endorsement key is of a kind that no profile has; factor `activation`.
    """
    algorithm, key_bits = _profile(endorsement)
    # 1. A seed, under the endorsement key.
    if isinstance(endorsement, rsa.RSAPublicKey):
        seed, encrypted = _share_rsa(endorsement, algorithm, random)
    else:
        seed, encrypted = _share_ecc(endorsement, algorithm, random)
    # 2. From it, a key for the attestation key's name; the name is part of the derivation, so that no other fits.
    storage = _derive(algorithm, seed, b"STORAGE", name, key_bits)
    encryptor = Cipher(algorithms.AES(storage), CFB(bytes(_BLOCK_BYTES))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    # 3. And an integrity key over both.
    integrity = _derive(algorithm, seed, b"INTEGRITY", b"", 8 * len(hash_by(algorithm, b"")))
    mac = hmac.new(integrity, identity + name, _digestmod(algorithm)).digest()
    return Credential(id_object=_sized(mac) + identity, encrypted_secret=encrypted)


def _profile(endorsement: PublicKey) -> tuple[Alg, int]:
    """Name algorithm and AES key bits of the default template of TCG's EK credential profile for a kind of key."""
    size = endorsement.key_size
    if isinstance(endorsement, rsa.RSAPublicKey):
        found = {2048: (Alg.SHA256, 128), 3072: (Alg.SHA384, 256), 4096: (Alg.SHA384, 256)}.get(size)
    else:
        found = {256: (Alg.SHA256, 128), 384: (Alg.SHA384, 256)}.get(size)
    if found is None:
        raise VerificationError("activation", "an endorsement key of a kind that no profile has")
    return found


def _share_rsa(key: rsa.RSAPublicKey, algorithm: Alg, random: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """A random seed under RSAES-OAEP with the label of identities [TPM1, B.10.3; RFC 8017, 7.1.1]."""
    size = len(hash_by(algorithm, b""))
    seed, mask_seed = random(size), random(size)
    numbers = key.public_numbers()
    length = (key.key_size + 7) // 8
    padding = bytes(length - 2 * size - 2 - len(seed))
    block = _xor(
        hash_by(algorithm, _IDENTITY) + padding + b"\x01" + seed, _mask(algorithm, mask_seed, length - size - 1)
    )
    masked_seed = _xor(mask_seed, _mask(algorithm, block, size))
    message = int.from_bytes(b"\0" + masked_seed + block, "big")
    return seed, pow(message, numbers.e, numbers.n).to_bytes(length, "big")


def _share_ecc(key: ec.EllipticCurvePublicKey, algorithm: Alg, random: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """A seed agreed with an ephemeral key [TPM1, C.6.1 and C.6.4]."""
    width = (key.key_size + 7) // 8
    # 16 bytes more than the order has, so that the remainder is as good as evenly spread.
    scalar = int.from_bytes(random(width + 16), "big") % (_ORDERS[key.curve.name] - 1) + 1
    ephemeral = ec.derive_private_key(scalar, key.curve)
    ours, theirs = ephemeral.public_key().public_numbers(), key.public_numbers()
    x, y = ours.x.to_bytes(width, "big"), ours.y.to_bytes(width, "big")
    info = _IDENTITY + x + theirs.x.to_bytes(width, "big")
    derivation = ConcatKDFHash(require_hash(algorithm), len(hash_by(algorithm, b"")), info)
    return derivation.derive(ephemeral.exchange(ec.ECDH(), key)), _sized(x) + _sized(y)


def _derive(algorithm: Alg, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa [TPM1, 11.4.10.2]."""
    return KBKDFHMAC(
        require_hash(algorithm), Mode.CounterMode, bits // 8, 4, 4, CounterLocation.BeforeFixed, label, context, None
    ).derive(key)


def _mask(algorithm: Alg, seed: bytes, length: int) -> bytes:
    """MGF1 [RFC 8017, B.2.1]."""
    size = len(hash_by(algorithm, b""))
    blocks = [hash_by(algorithm, seed + count.to_bytes(4, "big")) for count in range(-(-length // size))]
    return b"".join(blocks)[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _digestmod(algorithm: Alg) -> Callable[[], hashlib._Hash]:
    return functools.partial(hashlib.new, require_hash(algorithm).name)


class ActivationMemory:
    """What one verifier saw: chips that answered its own activations [CH-21]. Never shared, never read from evidence.

    Args:
        lifetime: Seconds until a chip has to show it again.
        maximum: Pairs that are kept; the oldest goes first.
        known: What an earlier process of this verifier saw: pairs and until when each counts, oldest first.
    """

    def __init__(
        self,
        *,
        lifetime: float = MEMORY_S,
        maximum: int = MEMORY_MAX,
        known: Mapping[tuple[bytes, bytes], float] | None = None,
    ) -> None:
        self._lifetime, self._maximum = lifetime, maximum
        self._until = dict(known or {})

    def settle_untrusted(self, activation: Activation, answer: bytes, now: float) -> None:
        """Check an answer, and remember the pair of keys if it holds.

        Args:
            activation: From `begin_activation`; used once.
            answer: What the host's chip handed out.
            now: Unix seconds.

        Raises:
            VerificationError: It does not; factor `activation`.
        """
        activation.check_untrusted(answer)
        pair = (activation.endorsement, activation.name)
        self._until.pop(pair, None)
        while len(self._until) >= self._maximum:
            del self._until[next(iter(self._until))]
        self._until[pair] = now + self._lifetime
        self._keep(now)

    def _keep(self, now: float) -> None:
        """Called when something new is remembered; a memory over restarts writes it down."""

    def holds(self, endorsement: bytes, name: bytes, now: float) -> bool:
        """Whether this verifier saw the chip of that endorsement key activate that attestation key."""
        # A time further ahead than a memory lives was written by a clock that has been set back since.
        return now < self._until.get((endorsement, name), 0.0) <= now + self._lifetime + _SET_BACK_S

    def entries(self) -> tuple[tuple[bytes, bytes, float], ...]:
        """What is remembered: endorsement key's digest, attestation key's name, until when; oldest first."""
        return tuple((endorsement, name, until) for (endorsement, name), until in tuple(self._until.items()))
