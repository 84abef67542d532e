"""TPM 2.0 structures as bytes: public areas, attestations, PCR selections, signatures.

Read from bytes of strangers with one bounds-checked cursor; nothing is ever encoded anew, so that what is hashed and
verified is what was received. Sections name "Trusted Platform Module Library, Part 2: Structures" [TPM2].
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sealmesh.errors import VerificationError

#: TPMS_ATTEST begins with it: only a TPM's own restricted keys sign bytes that begin so [TPM2, 10.12.8].
MAGIC: Final = 0xFF544347
#: Larger than any TPM returns in one buffer; a public area with RSA 4096 has 600 bytes.
STRUCTURE_MAX: Final = 4096
#: One selection a bank; a chip has up to five.
SELECTIONS_MAX: Final = 8
_SELECT_MAX: Final = 4  # bytes of a PCR bit map; PCR clients have 3
_RSA_BITS: Final = frozenset({2048, 3072, 4096})
_RSA_EXPONENT: Final = 65537  # written as 0

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Alg(enum.IntEnum):
    """Algorithm ids [TPM2, 6.3]."""

    RSA = 0x0001
    SHA1 = 0x0004
    AES = 0x0006
    KEYEDHASH = 0x0008
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAPSS = 0x0016
    ECDSA = 0x0018
    ECC = 0x0023


class Attribute(enum.IntFlag):
    """Object attributes [TPM2, 8.3]."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


class Hierarchy(enum.IntEnum):
    """Handles of hierarchies; a primary key's qualified name is computed from its own [TPM2, 7.4; Part 1, 16]."""

    ENDORSEMENT = 0x4000000B


class AttestType(enum.IntEnum):
    """What a TPMS_ATTEST is about [TPM2, 6.9]."""

    QUOTE = 0x8018


#: Hash algorithms by which names are made and things are signed. SHA-1 is not among them.
HASHES: Final[Mapping[int, type[hashes.HashAlgorithm]]] = MappingProxyType(
    {Alg.SHA256: hashes.SHA256, Alg.SHA384: hashes.SHA384, Alg.SHA512: hashes.SHA512}
)
#: PCR banks: name and digest length. SHA-1 is here to be read; `require_bank` refuses it.
BANKS: Final[Mapping[int, tuple[str, int]]] = MappingProxyType(
    {Alg.SHA1: ("sha1", 20), Alg.SHA256: ("sha256", 32), Alg.SHA384: ("sha384", 48), Alg.SHA512: ("sha512", 64)}
)
_CURVES: Final[Mapping[int, type[ec.EllipticCurve]]] = MappingProxyType({3: ec.SECP256R1, 4: ec.SECP384R1})


class Reader:
    """A big-endian cursor over one structure. Every read is bounds-checked.

    Args:
        data: The structure.
        factor: The id to refuse under.
    """

    def __init__(self, data: bytes, factor: str) -> None:
        if len(data) > STRUCTURE_MAX:
            raise VerificationError(factor, "a TPM structure is too long")
        self._data, self._position, self._factor = data, 0, factor

    def refuse(self, what: str) -> VerificationError:
        """The error for something that this reader's structure does not allow."""
        return VerificationError(self._factor, f"a malformed TPM structure: {what}")

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises:
            VerificationError: There are fewer.
        """
        end = self._position + length
        if end > len(self._data):
            raise self.refuse("it is cut")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def number(self, length: int) -> int:
        """Return the next unsigned integer of `length` bytes."""
        return int.from_bytes(self.take(length), "big")

    def sized(self) -> bytes:
        """Return the content of the next TPM2B: a 16-bit length and that many bytes."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Refuse bytes after the end.

        Raises:
            VerificationError: There are some.
        """
        if self._position != len(self._data):
            raise self.refuse("bytes follow its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a key signs: RSASSA, RSAPSS or ECDSA, with which hash."""

    algorithm: int
    hash: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A TPMT_PUBLIC of an asymmetric key.

    Attributes:
        raw: As received.
        name_algorithm: Hash by which its name is made.
        attributes: What the TPM lets the key do.
        scheme: How it signs; None where the key has no fixed scheme.
        key: The public key.
    """

    raw: bytes
    name_algorithm: int
    attributes: Attribute
    scheme: Scheme | None
    key: PublicKey

    @property
    def name(self) -> bytes:
        """The name: algorithm id and hash of the public area, so of key *and* attributes [Part 1, 16]."""
        return _named(self.name_algorithm, self.raw)

    def qualified_name(self, hierarchy: Hierarchy) -> bytes:
        """The name that the TPM writes into what the key signs, if the key is a primary of that hierarchy."""
        return _named(self.name_algorithm, hierarchy.to_bytes(4, "big") + self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """PCRs of one bank."""

    bank: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A TPMS_ATTEST that is a quote [TPM2, 10.12].

    Attributes:
        signer: Qualified name of the key that signed.
        extra: What the caller had the TPM put in: the binding, or a nonce. At most 64 bytes.
        clock: Milliseconds that it has run since it was cleared.
        resets: TPM resets since it was cleared.
        restarts: Resumes since the last reset.
        firmware: Vendor's firmware version.
        selection: The PCRs that were quoted.
        digest: Hash over their values, one after another.
    """

    signer: bytes
    extra: bytes
    clock: int
    resets: int
    restarts: int
    firmware: int
    selection: Selection
    digest: bytes


def unwrap_untrusted(data: bytes, *, factor: str) -> bytes:
    """Return the content of a TPM2B if the whole of `data` is one, else `data`: tools write both forms."""
    if len(data) > 2 and int.from_bytes(data[:2], "big") == len(data) - 2:
        return data[2:]
    if not data:
        raise VerificationError(factor, "an empty TPM structure")
    return data


def parse_public_untrusted(data: bytes) -> Public:
    """Read a TPMT_PUBLIC of an RSA or elliptic-curve key [TPM2, 12.2.4].

    Raises:
        VerificationError: It is malformed, of another kind, or of sizes that are not accepted; `attestation_key`.
    """
    reader = Reader(data, "attestation_key")
    kind, name_algorithm, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.sized()  # policy: says who may use the key, not what it may do
    if name_algorithm not in HASHES:
        raise reader.refuse("its name algorithm is SHA-1 or unknown")
    if kind not in (Alg.RSA, Alg.ECC):
        raise reader.refuse("it is no RSA or elliptic-curve key")
    if reader.number(2) != Alg.NULL:
        reader.take(4)  # symmetric key bits and mode of a storage key
    algorithm = reader.number(2)
    scheme = None if algorithm == Alg.NULL else Scheme(algorithm=algorithm, hash=reader.number(2))
    key = _read_rsa(reader) if kind == Alg.RSA else _read_ecc(reader)
    reader.end()
    return Public(raw=data, name_algorithm=name_algorithm, attributes=Attribute(attributes), scheme=scheme, key=key)


def parse_quote_untrusted(data: bytes) -> Quote:
    """Read a TPMS_ATTEST; anything but a quote of one bank is refused.

    Raises:
        VerificationError: It does not begin with the magic, is no quote, or is malformed; `attestation_key`.
    """
    reader = Reader(data, "attestation_key")
    if reader.number(4) != MAGIC:
        raise reader.refuse("it does not begin as what a TPM itself makes")
    if reader.number(2) != AttestType.QUOTE:
        raise reader.refuse("it is no quote")
    signer, extra = reader.sized(), reader.sized()
    clock = reader.number(8)
    resets, restarts = reader.number(4), reader.number(4)
    if reader.number(1) not in (0, 1):
        raise reader.refuse("a flag is neither yes nor no")
    firmware = reader.number(8)
    selection = _read_selection(reader)
    digest = reader.sized()
    reader.end()
    return Quote(
        signer=signer,
        extra=extra,
        clock=clock,
        resets=resets,
        restarts=restarts,
        firmware=firmware,
        selection=selection,
        digest=digest,
    )


def verify_signature_untrusted(public: Public, body: bytes, signature: bytes) -> int:
    """Check a TPMT_SIGNATURE by the key's own scheme [TPM2, 11.3.4].

    Args:
        public: The key; its scheme is fixed (`check_attestation_key`).
        body: What was signed, as received.
        signature: TPMT_SIGNATURE.

    Returns:
        The id of the hash that was signed.

    Raises:
        VerificationError: It does not hold, or is by SHA-1 or another scheme; `attestation_key`.
    """
    reader = Reader(signature, "attestation_key")
    used = Scheme(algorithm=reader.number(2), hash=reader.number(2))
    if used != public.scheme:
        raise reader.refuse("a signature by another scheme than the key's")
    digest = require_hash(used.hash)
    try:
        if used.algorithm == Alg.ECDSA and isinstance(public.key, ec.EllipticCurvePublicKey):
            r, s = int.from_bytes(reader.sized(), "big"), int.from_bytes(reader.sized(), "big")
            reader.end()
            public.key.verify(encode_dss_signature(r, s), body, ec.ECDSA(digest))
        elif used.algorithm in (Alg.RSASSA, Alg.RSAPSS) and isinstance(public.key, rsa.RSAPublicKey):
            value = reader.sized()
            reader.end()
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
            way = padding.PKCS1v15() if used.algorithm == Alg.RSASSA else pss
            public.key.verify(value, body, way, digest)
        else:
            raise reader.refuse("a scheme that does not fit its key")
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("attestation_key", "the signature of the attestation key does not hold") from error
    return used.hash


def require_hash(algorithm: int) -> hashes.HashAlgorithm:
    """Return a hash to verify by; SHA-1 is refused: its collisions are for sale.

    Raises:
        VerificationError: SHA-1, or unknown; `attestation_key`.
    """
    kind = HASHES.get(algorithm)
    if kind is None:
        raise VerificationError("attestation_key", "a signature by SHA-1 or an unknown hash")
    return kind()


def require_bank(bank: int) -> tuple[str, int]:
    """Return name and digest length of a PCR bank; the SHA-1 bank is refused.

    Raises:
        VerificationError: SHA-1, or unknown; `platform_state`.
    """
    if bank not in HASHES:
        raise VerificationError("platform_state", "registers of the SHA-1 bank, or of an unknown one")
    return BANKS[bank]


def hash_by(algorithm: int, data: bytes) -> bytes:
    """Return the digest by a bank's or signature's hash."""
    return hashlib.new(BANKS[algorithm][0], data).digest()


def _named(algorithm: int, data: bytes) -> bytes:
    return algorithm.to_bytes(2, "big") + hash_by(algorithm, data)


def _read_rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4) or _RSA_EXPONENT
    modulus = int.from_bytes(reader.sized(), "big")
    if bits not in _RSA_BITS or modulus.bit_length() != bits or exponent != _RSA_EXPONENT:
        # Other exponents would let a stranger choose how long a verification takes.
        raise reader.refuse("an RSA key of another size or exponent")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise reader.refuse("no RSA key") from error


def _read_ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve, derivation = _CURVES.get(reader.number(2)), reader.number(2)
    if curve is None or derivation != Alg.NULL:
        raise reader.refuse("a curve other than P-256 and P-384, or a key derivation")
    x, y = int.from_bytes(reader.sized(), "big"), int.from_bytes(reader.sized(), "big")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError as error:
        raise reader.refuse("a point that is not on its curve") from error


def _read_selection(reader: Reader) -> Selection:
    count = reader.number(4)
    if not 1 <= count <= SELECTIONS_MAX:
        raise reader.refuse("no PCR selection, or too many")
    chosen = [_read_bank(reader) for _ in range(count)]
    chosen = [one for one in chosen if one.indices]
    if len(chosen) != 1:
        raise reader.refuse("a quote of no PCR, or of several banks")
    return chosen[0]


def _read_bank(reader: Reader) -> Selection:
    bank, length = reader.number(2), reader.number(1)
    if length > _SELECT_MAX or bank not in BANKS:
        raise reader.refuse("a PCR selection of an unknown bank or size")
    bits = int.from_bytes(reader.take(length), "little")
    return Selection(bank=bank, indices=tuple(index for index in range(8 * length) if bits >> index & 1))
