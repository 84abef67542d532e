"""Home-made vendors: roots, chains and signed objects in the shapes of Apple's and NVIDIA's.

What they make holds for a verifier that is told to trust their root, and must be refused by every other one.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit.attested import NOW
from sealmesh.attestation.vendors import apple_mda

DAY = 86400.0
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
APPLE = "1.2.840.113635.100.8."
#: As macOS 27 has it: SIP on, Full Security. Copied from the genuine sample.
LOCKED = bytes.fromhex(
    "3046a344044230400c023131303a30090c026f6ba1030101ff30090c026f61a1030101ff300b0c046f64656ca1030101ff"
    "30150c046f73676ea0060c04727365633005a603020101"
)
APP_ID = "2F53L9ZR3N.org.example.mesh"
CDHASH = hashlib.sha256(b"the code").digest()


def make_key(seed: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:31], "big")
    return ec.derive_private_key(number, curve or ec.SECP384R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def sign_p256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _when(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@dataclass
class Issuer:
    """A root, or something below one."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    above: tuple[bytes, ...] = ()  # DER, from this one up

    @classmethod
    def root(cls, name: str, *, seed: str = "home-made") -> Issuer:
        key = make_key(f"{seed} {name}")
        certificate = issue(name, key.public_key(), issuer_name=name, issuer_key=key, ca=True, path_length=None)
        return cls(name=name, key=key, certificate=certificate, above=(der(certificate),))

    def below(self, name: str, *, path_length: int | None = None, ca: bool = True, curve=None) -> Issuer:  # type: ignore[no-untyped-def]
        key = make_key(f"{self.name} {name}", curve)
        certificate = issue(
            name, key.public_key(), issuer_name=self.name, issuer_key=self.key, ca=ca, path_length=path_length
        )
        return Issuer(name=name, key=key, certificate=certificate, above=(der(certificate), *self.above))

    def leaf(
        self,
        key: ec.EllipticCurvePrivateKey,
        extensions: dict[str, bytes],
        *,
        issued: float = NOW - DAY,
        lifetime: float = 3 * DAY,
        critical: bool = False,
        name: str = "a device",
    ) -> tuple[bytes, ...]:
        certificate = issue(
            name,
            key.public_key(),
            issuer_name=self.name,
            issuer_key=self.key,
            extensions=extensions,
            issued=issued,
            lifetime=lifetime,
            critical=critical,
        )
        return (der(certificate), *self.above)


def issue(
    name: str,
    public: ec.EllipticCurvePublicKey,
    *,
    issuer_name: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    ca: bool = False,
    path_length: int | None = None,
    extensions: dict[str, bytes] | None = None,
    issued: float = NOW - 1000 * DAY,
    lifetime: float = 3000 * DAY,
    critical: bool = False,
) -> x509.Certificate:
    usage = dict.fromkeys(USAGES, False)
    usage["key_cert_sign" if ca else "digital_signature"] = True
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer_name)]))
        .public_key(public)
        .serial_number(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1 | 1)
        .not_valid_before(_when(issued))
        .not_valid_after(_when(issued + lifetime))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    for oid, value in (extensions or {}).items():
        unread = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(unread, critical=critical)
    return builder.sign(issuer_key, SHA384(), ecdsa_deterministic=True)


@dataclass
class AppleMac:
    """A Mac of a home-made Apple, for App Attest and Managed Device Attestation."""

    root: Issuer = field(default_factory=lambda: Issuer.root("Apple App Attestation Root CA"))
    app_id: str = APP_ID
    aaguid: bytes = b"appattest" + bytes(7)
    access: bytes | None = LOCKED
    cdhash: bytes | None = CDHASH
    category: int = 6
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: make_key("enclave", ec.SECP256R1()))
    client_data_hash: bytes = hashlib.sha256(b"attested with").digest()

    @property
    def root_der(self) -> bytes:
        return der(self.root.certificate)

    @property
    def public(self) -> bytes:
        return point(self.key)

    def _extensions(self) -> bytes:
        if self.cdhash is None:
            return b""
        return cbor2.dumps(
            {
                "apple_cd_hash_hash_01": self.cdhash,
                "apple_cd_hash_type_01": b"\x02",
                "apple_validation_category_01": self.category.to_bytes(4, "little"),
            }
        )

    def _head(self, counter: int) -> bytes:
        return hashlib.sha256(self.app_id.encode()).digest() + b"\x40" + counter.to_bytes(4, "big")

    def auth_data(self, *, counter: int = 0, credential: bytes | None = None, cose: bytes | None = None) -> bytes:
        public = self.public
        cose_key = cose or bytes.fromhex("a5010203262001215820") + public[1:33] + bytes.fromhex("225820") + public[33:]
        credential = credential or hashlib.sha256(public).digest()
        return self._head(counter) + self.aaguid + b"\x00\x20" + credential + cose_key + self._extensions()

    def attestation(self, *, auth_data: bytes | None = None, nonce: bytes | None = None, **leaf: object) -> bytes:
        auth = auth_data or self.auth_data()
        named = nonce or hashlib.sha256(auth + self.client_data_hash).digest()
        extensions = {APPLE + "2": bytes.fromhex("3024a1220420") + named}
        if self.access is not None:
            extensions[APPLE + "6"] = self.access
        chain = self.root.below("Apple App Attestation CA 1", path_length=0).leaf(self.key, extensions, **leaf)  # type: ignore[arg-type]
        return cbor2.dumps({"fmt": "apple-appattest", "attStmt": {"x5c": list(chain[:2])}, "authData": auth})

    def assertion(
        self, client_data_hash: bytes, *, counter: int = 1, key: ec.EllipticCurvePrivateKey | None = None
    ) -> bytes:
        auth = self._head(counter) + self._extensions()
        signed = hashlib.sha256(auth + client_data_hash).digest()
        return cbor2.dumps({"signature": sign_p256(key or self.key, signed), "authenticatorData": auth})

    def mda_chain(
        self,
        *,
        sip: bytes | None = b"\x02\x01\x00",
        boot: bytes | None = b"Full Security",
        freshness: bytes | None = None,
        age: float = DAY,
    ) -> tuple[bytes, ...]:
        """Apple's real encodings: DER INTEGERs for SIP and kernel extensions, raw text and raw bytes for the rest."""
        values = {
            "10.1": b"27.0",
            "10.2": b"27.0",
            "11.1": apple_mda.key_nonce(self.public) if freshness is None else freshness,
            "13.1": sip,
            "13.2": boot,
            "13.3": b"\x02\x01\x00",
        }
        extensions = {APPLE + oid: value for oid, value in values.items() if value is not None}
        issuer = self.root.below("Apple Enterprise Attestation Sub CA 1", path_length=0)
        return issuer.leaf(make_key("the Mac's own"), extensions, issued=NOW - age, lifetime=90 * DAY)


@dataclass
class NvidiaGpu:
    """A GPU of a home-made NVIDIA: five certificates and a report in Hopper's layout."""

    root: Issuer = field(default_factory=lambda: Issuer.root("NVIDIA Device Identity CA"))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: make_key("gpu"))
    firmware: bytes = hashlib.sha384(b"firmware").digest()

    @property
    def root_der(self) -> bytes:
        return der(self.root.certificate)

    @property
    def chain(self) -> tuple[bytes, ...]:
        issuer = self.root.below("NVIDIA GH100 Identity").below("Provisioner ICA 1").below("GH100 A01 GSP BROM")
        return issuer.leaf(
            self.key, {"2.23.133.5.4.1": b"\x30\x32\x04\x30" + self.firmware}, name="GH100 A01 GSP FMC LF"
        )

    def report(
        self, nonce: bytes, *, firmware: bytes | None = None, key: ec.EllipticCurvePrivateKey | None = None
    ) -> bytes:
        record = b"".join(bytes([one, 1]) + b"\x33\x00\x01\x30\x00" + bytes(48) for one in (1, 2, 3))
        opaque = b"".join(
            kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
            for kind, value in {3: b"550.90.07\x00", 6: bytes(8), 20: firmware or self.firmware}.items()
        )
        signed = (
            b"\x11\xe0\x01\xff" + nonce + b"\x00"
            + b"\x11\x60\x00\x00\x03" + len(record).to_bytes(3, "little") + record
            + bytes(32) + len(opaque).to_bytes(2, "little") + opaque
        )  # fmt: skip
        r, s = decode_dss_signature((key or self.key).sign(signed, ec.ECDSA(SHA384(), deterministic_signing=True)))
        return signed + r.to_bytes(48, "big") + s.to_bytes(48, "big")
