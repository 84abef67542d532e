"""A TPM in memory, as far as attestation needs one: keys, registers, quotes, activation; and vendors that certify it.

Written from the specification and apart from the verifier: key derivation and OAEP are done in other ways here.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealmesh.attestation.vendors.tpm.quote import QuoteParts

AK_ATTRIBUTES = 0x00050072 | 0x0400  # restricted, sign, fixed; no dictionary attack protection
RSA_AK_ATTRIBUTES = 0x00050072
ENDORSEMENT = 0x4000000B
SHA1, SHA256, SHA384 = 0x0004, 0x000B, 0x000C
EK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.1")
AIK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.3")
START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2035, 1, 1, tzinfo=datetime.UTC)
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}


def sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


@functools.cache
def rsa_key(which: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One for each name in a run of the tests; making them is slow."""
    return rsa.generate_private_key(65537, bits)


def p256(which: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(which.encode()).digest()) >> 1, ec.SECP256R1())


def p384(which: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha384(which.encode()).digest()) >> 1, ec.SECP384R1())


def public_area(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, attributes: int, *, scheme: bytes | None = None
) -> bytes:
    """TPMT_PUBLIC of an attestation key."""
    if isinstance(key, rsa.RSAPublicKey):
        head = struct.pack(">HHI", 1, SHA256, attributes) + sized(b"") + struct.pack(">H", 0x10)
        modulus = key.public_numbers().n.to_bytes(key.key_size // 8, "big")
        return (
            head + (scheme or struct.pack(">HH", 0x14, SHA256)) + struct.pack(">HI", key.key_size, 0) + sized(modulus)
        )
    head = struct.pack(">HHI", 0x23, SHA256, attributes) + sized(b"") + struct.pack(">H", 0x10)
    numbers = key.public_numbers()
    point = sized(numbers.x.to_bytes(32, "big")) + sized(numbers.y.to_bytes(32, "big"))
    return head + (scheme or struct.pack(">HH", 0x18, SHA256)) + struct.pack(">HH", 3, 0x10) + point


def name_of(public: bytes) -> bytes:
    return struct.pack(">H", SHA256) + hashlib.sha256(public).digest()


@dataclass
class ModelTpm:
    """A chip. `ak` may be any private key: that is what a forger has too."""

    which: str = "chip"
    ak: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
    ek: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
    attributes: int = AK_ATTRIBUTES
    scheme: bytes | None = None
    registers: dict[int, dict[int, bytes]] = field(default_factory=dict)
    clock: int = 1000  # ms
    resets: int = 4

    def __post_init__(self) -> None:
        self.ak = self.ak or p256(f"{self.which} ak")
        self.ek = self.ek or rsa_key(f"{self.which} ek")

    @property
    def ak_public(self) -> bytes:
        assert self.ak is not None
        return public_area(self.ak.public_key(), self.attributes, scheme=self.scheme)

    def extend(self, pcr: int, digest: bytes, bank: int = SHA256) -> None:
        values = self.registers.setdefault(bank, {})
        values[pcr] = hashlib.new(NAMES[bank], values.get(pcr, bytes(len(digest))) + digest).digest()

    def value(self, pcr: int, bank: int = SHA256) -> bytes:
        return self.registers.get(bank, {}).get(pcr, bytes(hashlib.new(NAMES[bank]).digest_size))

    def attest(self, extra: bytes, pcrs: Sequence[int] = range(10), bank: int = SHA256, **changes: object) -> bytes:
        """TPMS_ATTEST of a quote; `changes` are what only a forger could write."""
        parts = {
            "magic": 0xFF544347,
            "kind": 0x8018,
            "signer": struct.pack(">H", SHA256)
            + hashlib.sha256(struct.pack(">I", ENDORSEMENT) + name_of(self.ak_public)).digest(),
            "digest": hashlib.sha256(b"".join(self.value(one, bank) for one in sorted(pcrs))).digest(),
            "selection": struct.pack(">IHB", 1, bank, 3) + sum(1 << one for one in pcrs).to_bytes(3, "little"),
            **changes,
        }
        return (
            struct.pack(">IH", parts["magic"], parts["kind"])
            + sized(parts["signer"])  # type: ignore[arg-type]
            + sized(extra)
            + struct.pack(">QIIBQ", self.clock, self.resets, 1, 1, 0x2024)
            + parts["selection"]  # type: ignore[operator]
            + sized(parts["digest"])  # type: ignore[arg-type]
        )

    def sign(self, attest: bytes) -> bytes:
        """TPMT_SIGNATURE."""
        if isinstance(self.ak, rsa.RSAPrivateKey):
            return struct.pack(">HH", 0x14, SHA256) + sized(self.ak.sign(attest, padding.PKCS1v15(), hashes.SHA256()))
        assert self.ak is not None
        r, s = decode_dss_signature(self.ak.sign(attest, ec.ECDSA(hashes.SHA256())))
        return struct.pack(">HH", 0x18, SHA256) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))

    def quote(self, extra: bytes, pcrs: Sequence[int] = range(10), bank: int = SHA256, **changes: object) -> QuoteParts:
        attest = self.attest(extra, pcrs, bank, **changes)
        values = b"".join(self.value(one, bank) for one in sorted(pcrs))
        return QuoteParts(attest=attest, signature=self.sign(attest), values=values)

    def activate(self, id_object: bytes, encrypted_secret: bytes, name: bytes | None = None) -> bytes:
        """TPM2_ActivateCredential for the key in this chip.

        Raises:
            ValueError: The chip refuses, as TPM_RC_INTEGRITY or TPM_RC_VALUE.
        """
        name = name_of(self.ak_public) if name is None else name
        bits = 128 if self.ek.key_size in (2048, 256) else 256  # type: ignore[union-attr]
        hash_name = "sha256" if bits == 128 else "sha384"
        seed = self._seed(encrypted_secret, hash_name)
        length = int.from_bytes(id_object[:2], "big")
        mac, encrypted = id_object[2 : 2 + length], id_object[2 + length :]
        integrity = kdfa(hash_name, seed, b"INTEGRITY", b"", hashlib.new(hash_name).digest_size * 8)
        if not hmac.compare_digest(mac, hmac.new(integrity, encrypted + name, hash_name).digest()):
            raise ValueError("integrity")
        decryptor = Cipher(algorithms.AES(kdfa(hash_name, seed, b"STORAGE", name, bits)), CFB(bytes(16))).decryptor()
        content = decryptor.update(encrypted) + decryptor.finalize()
        assert int.from_bytes(content[:2], "big") == len(content) - 2
        return content[2:]

    def _seed(self, encrypted: bytes, hash_name: str) -> bytes:
        kind = {"sha256": hashes.SHA256, "sha384": hashes.SHA384}[hash_name]
        if isinstance(self.ek, rsa.RSAPrivateKey):
            return self.ek.decrypt(encrypted, padding.OAEP(padding.MGF1(kind()), kind(), b"IDENTITY\0"))
        assert self.ek is not None
        width = self.ek.key_size // 8
        assert encrypted[:2] == encrypted[2 + width : 4 + width] == struct.pack(">H", width)
        x, y = encrypted[2 : 2 + width], encrypted[4 + width :]
        point = ec.EllipticCurvePublicKey.from_encoded_point(self.ek.curve, b"\x04" + x + y)
        z = self.ek.exchange(ec.ECDH(), point)
        ours = self.ek.public_key().public_numbers().x.to_bytes(width, "big")
        # KDFe: one block is enough.
        return hashlib.new(hash_name, struct.pack(">I", 1) + z + b"IDENTITY\0" + x + ours).digest()


def kdfa(hash_name: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    out, count = b"", 0
    while len(out) < bits // 8:
        count += 1
        block = struct.pack(">I", count) + label + b"\0" + context + struct.pack(">I", bits)
        out += hmac.new(key, block, hash_name).digest()
    return out[: bits // 8]


@dataclass
class Vendor:
    """A root, an issuer, and certificates of chips. With a vendor's own names it is a forger."""

    name: str = "Acme TPM"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: p384("root"))
    issuer_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: p256("issuer"))

    @functools.cached_property
    def root(self) -> x509.Certificate:
        return self.certify(self.key.public_key(), f"{self.name} Root", f"{self.name} Root", self.key, ca=True)

    @functools.cached_property
    def issuer(self) -> x509.Certificate:
        return self.certify(
            self.issuer_key.public_key(), f"{self.name} Issuer", f"{self.name} Root", self.key, ca=True, path_length=0
        )

    def ek(self, tpm: ModelTpm, **changes: object) -> x509.Certificate:
        assert tpm.ek is not None
        agreement = isinstance(tpm.ek, ec.EllipticCurvePrivateKey)
        usage = {"key_agreement": agreement, "key_encipherment": not agreement}
        wanted = {"usage": usage, "purposes": [EK_PURPOSE], **changes}
        return self.certify(tpm.ek.public_key(), "", f"{self.name} Issuer", self.issuer_key, **wanted)  # type: ignore[arg-type]

    def ak(self, tpm: ModelTpm, **changes: object) -> x509.Certificate:
        """As Azure's: an RSA or elliptic attestation key, with TCG's usage for those."""
        assert tpm.ak is not None
        wanted = {"usage": {"digital_signature": True}, "purposes": [AIK_PURPOSE], **changes}
        return self.certify(tpm.ak.public_key(), "", f"{self.name} Issuer", self.issuer_key, **wanted)  # type: ignore[arg-type]

    def certify(
        self,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        subject: str,
        issuer: str,
        signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        *,
        ca: bool = False,
        path_length: int | None = None,
        usage: dict[str, bool] | None = None,
        purposes: Sequence[x509.ObjectIdentifier] = (),
        start: datetime.datetime = START,
        end: datetime.datetime = END,
        critical: x509.ObjectIdentifier | None = None,
        constraints: bool = True,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(key)
            .serial_number(int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8]) >> 1 or 1)
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if constraints:
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        if ca or usage is not None:
            flags = dict.fromkeys(
                (
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "key_cert_sign",
                    "crl_sign",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            flags |= usage if usage is not None else {"key_cert_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
        if critical is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(critical, b"\x05\x00"), critical=True)
        return builder.sign(signer, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


OTHER_PURPOSE = ExtendedKeyUsageOID.SERVER_AUTH


# --- boot logs ------------------------------------------------------------------------------------------------------

EFI_GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def variable(name: str, value: bytes) -> bytes:
    """UEFI_VARIABLE_DATA."""
    return EFI_GLOBAL + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


@dataclass
class Firmware:
    """Writes a crypto-agile log, and extends a chip's registers with it."""

    tpm: ModelTpm
    banks: tuple[int, ...] = (SHA256,)
    log: bytes = b""

    def __post_init__(self) -> None:
        sizes = b"".join(struct.pack("<HH", one, hashlib.new(NAMES[one]).digest_size) for one in self.banks)
        header = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(self.banks)) + sizes + b"\0"
        self.log = struct.pack("<II20sI", 0, 3, b"", len(header)) + header

    def measure(self, pcr: int, data: bytes, kind: int = 0x80000001, *, measured: bytes | None = None) -> None:
        """Extend the hash of `measured` (of the data itself, without it) and log the data."""
        content = data if measured is None else measured
        digests = {one: hashlib.new(NAMES[one], content).digest() for one in self.banks}
        self.write(pcr, kind, digests, data)
        for bank, digest in digests.items():
            self.tpm.extend(pcr, digest, bank)

    def write(self, pcr: int, kind: int, digests: dict[int, bytes], data: bytes) -> None:
        """Log an event, extend nothing."""
        listed = b"".join(struct.pack("<H", bank) + digest for bank, digest in digests.items())
        self.log += struct.pack("<III", pcr, kind, len(digests)) + listed + struct.pack("<I", len(data)) + data

    def boot(self, *, secure_boot: bytes = b"\x01") -> bytes:
        """What an ordinary machine logs. Returns the log."""
        self.measure(0, b"firmware 1.0", 0x8)
        self.measure(7, variable("SecureBoot", secure_boot))
        self.measure(7, variable("PK", b"platform key"))
        for pcr in range(8):
            self.measure(pcr, bytes(4), 0x4)
        self.measure(4, b"a path", 0x80000003, measured=b"the boot loader")
        self.measure(8, b"grub_cmd: linux /vmlinuz", 0xD, measured=b"linux /vmlinuz")
        self.measure(9, b"/vmlinuz", 0xD, measured=b"the kernel")
        return self.log
