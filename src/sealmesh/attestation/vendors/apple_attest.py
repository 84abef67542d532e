"""Apple App Attest: what Apple says of a key in a Secure Enclave, and what that key signs (attestation, assertion).

The attestation comes once for each key: Apple certifies the key for an app, on macOS 27 with the Mac's state (the
access-control extension 8.6: System Integrity Protection on, Full Security). The assertion is signed by that key
over what is to be bound; from macOS 27 on each one names the CDHash of the code that asked for it.
Verified against genuine objects of macOS 27.0 and iOS 14.4. Pure: hashes, time and the trusted root are arguments.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealmesh.attestation.vendors.cbor_map import check_keys, read_map_untrusted, take_bytes, take_chain
from sealmesh.attestation.vendors.ec_chain import extension, leaf_key, verify_chain_untrusted
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError

#: iOS adds a receipt of 4 KiB.
ATTESTATION_MAX: Final = 16 * 1024
ASSERTION_MAX: Final = 2 * 1024
APP_ID_MAX: Final = 256
DIGEST_BYTES: Final = 32

_NONCE_OID: Final = x509.ObjectIdentifier("1.2.840.113635.100.8.2")
_ACCESS_OID: Final = x509.ObjectIdentifier("1.2.840.113635.100.8.6")
#: SEQUENCE { [1] { OCTET STRING of 32 bytes } }, and the nonce follows.
_NONCE_HEAD: Final = bytes.fromhex("3024a1220420")
#: SEQUENCE { [3] { OCTET STRING } }: Apple's one access-control list for a Mac with SIP on and Full Security.
_MAC_LOCKED: Final = bytes.fromhex(
    "3046a3440442"
    "30400c023131"
    "303a"
    "30090c026f6ba1030101ff"
    "30090c026f61a1030101ff"
    "300b0c046f64656ca1030101ff"
    "30150c046f73676ea0060c04727365633005a603020101"
)
#: The COSE key of P-256 with ES256, in the one encoding that Apple uses: x and y follow their heads.
_COSE_X: Final = bytes.fromhex("a5010203262001215820")
_COSE_Y: Final = bytes.fromhex("225820")

_RP_ID: Final = slice(0, 32)
_FLAGS: Final = 32
_COUNTER: Final = slice(33, 37)
_AUTH_HEAD: Final = 37
_ATTESTED: Final = 0x40  # flag: a key follows
_AAGUID_BYTES: Final = 16
_COSE_BYTES: Final = len(_COSE_X) + 32 + len(_COSE_Y) + 32
_CDHASH_SHA256: Final = b"\x02"
_OBJECT: Final = "the attestation object"
_ASSERTION: Final = "the assertion"


class Environment(enum.Enum):
    """Which of Apple's two services attested the key: its AAGUID."""

    PRODUCTION = b"appattest" + bytes(7)
    DEVELOPMENT = b"appattestdevelop"


class MacState(enum.Enum):
    """What Apple says of how the machine is locked."""

    LOCKED = "SIP on, Full Security"
    OTHER = "an access policy other than that of a Mac with SIP on and Full Security"
    UNSAID = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A key that Apple attested for an app.

    Attributes:
        key: The Secure Enclave's, P-256.
        public: The same, uncompressed, 65 bytes.
        app_id: `TEAMID.bundle.id`.
        environment: Which service attested it.
        state: Of the machine, by the leaf.
        ends: When the leaf ends, Unix seconds: three days after it was issued.
    """

    key: ec.EllipticCurvePublicKey
    public: bytes
    app_id: str
    environment: Environment
    state: MacState
    ends: float

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the public key, 32 bytes: Apple's key identifier, and the fingerprint to pin."""
        return hashlib.sha256(self.public).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What an attested key signed.

    Attributes:
        counter: Higher with each assertion of the key.
        cdhash: SHA-256 CDHash of the code that asked, 32 bytes; None before macOS 27.
        category: How that code is signed, Apple's number (6: Developer ID); None before macOS 27.
    """

    counter: int
    cdhash: bytes | None
    category: int | None


def verify_attestation_untrusted(
    data: bytes, *, client_data_hash: bytes, app_id: str, now: float, root: bytes | None = None
) -> Attested:
    """Judge an attestation object (Apple, "Validating apps that connect to your server").

    Args:
        data: CBOR as the device gave it.
        client_data_hash: What the app attested the key with, 32 bytes.
        app_id: `TEAMID.bundle.id`.
        now: Unix seconds.
        root: The trusted root, DER; Apple's without it.

    Raises:
        VerificationError: Factors `vendor_chain`, `attestation_key`, `binding` or `code_measurement`.
    """
    # 0. The object is whole. A receipt (iOS) is for Apple's own server, and not read here.
    content = read_map_untrusted(data, what=_OBJECT, maximum=ATTESTATION_MAX)
    check_keys(content, frozenset({"fmt", "attStmt", "authData"}), what=_OBJECT)
    statement = content.get("attStmt")
    if content.get("fmt") != "apple-appattest" or not isinstance(statement, dict):
        raise VerificationError("binding", f"{_OBJECT} is of another format")
    check_keys(statement, frozenset({"x5c", "receipt"}), what=_OBJECT)
    chain = take_chain(statement, "x5c", what=_OBJECT)
    auth_data = take_bytes(content, "authData", what=_OBJECT)
    # 1. Apple certified the key.
    pinned = root or load_root("apple", "app_attestation_root.pem")
    leaf = verify_chain_untrusted(chain, root=pinned, now=now)
    key = leaf_key(leaf, ec.SECP256R1)
    public = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    # 2. to 4. The leaf names the authenticator data and the client data.
    check_leaf_nonce(leaf, auth_data, client_data_hash)
    # 5. The key's identifier is that of the certified key; 9. so is the credential, and its COSE key.
    fields = _AuthData.parse_untrusted(auth_data, attested=True)
    _check_credential(fields, public)
    # 6. It is for this app.
    check_app_id(fields.rp_id, app_id)
    # 7. A new key has signed nothing.
    if fields.counter != 0:
        raise VerificationError("attestation_key", "the attestation's counter is not zero")
    # 8. One of Apple's two services.
    try:
        environment = Environment(fields.aaguid)
    except ValueError as error:
        raise VerificationError("attestation_key", "the attestation is of an unknown service") from error
    return Attested(
        key=key,
        public=public,
        app_id=app_id,
        environment=environment,
        # 10. The Mac's state (macOS 27).
        state=_mac_state(leaf),
        ends=leaf.not_valid_after_utc.timestamp(),
    )


def verify_assertion_untrusted(data: bytes, *, attested: Attested, client_data_hash: bytes) -> Assertion:
    """Judge an assertion of an attested key.

    Args:
        data: CBOR as the device gave it.
        attested: The key.
        client_data_hash: What it must bind, 32 bytes.

    Raises:
        VerificationError: Factors `binding` or `code_measurement`.
    """
    # 1. The object is whole.
    content = read_map_untrusted(data, what=_ASSERTION, maximum=ASSERTION_MAX)
    check_keys(content, frozenset({"signature", "authenticatorData"}), what=_ASSERTION)
    auth_data = take_bytes(content, "authenticatorData", what=_ASSERTION)
    # 2., 3. The key signed the authenticator data and the client data.
    signature = take_bytes(content, "signature", what=_ASSERTION)
    check_assertion_signature_untrusted(attested.key, signature, auth_data, client_data_hash)
    # 4. For this app.
    fields = _AuthData.parse_untrusted(auth_data, attested=False)
    check_app_id(fields.rp_id, attested.app_id)
    # 5. Counting begins at one.
    if fields.counter < 1:
        raise VerificationError("binding", "the assertion's counter is zero")
    # 6. The code that asked (macOS 27).
    return Assertion(counter=fields.counter, cdhash=_cdhash(fields), category=_category(fields))


def check_leaf_nonce(leaf: x509.Certificate, auth_data: bytes, client_data_hash: bytes) -> None:
    """Refuse authenticator data, or client data, that the leaf was not issued for (attacks A06, A07).

    Raises:
        VerificationError: Factor `binding`.
    """
    nonce = hashlib.sha256(auth_data + client_data_hash).digest()
    if not hmac.compare_digest(extension(leaf, _NONCE_OID) or b"", _NONCE_HEAD + nonce):
        raise VerificationError("binding", "Apple issued the certificate for other data than these")


def check_assertion_signature_untrusted(
    key: ec.EllipticCurvePublicKey, signature: bytes, auth_data: bytes, client_data_hash: bytes
) -> None:
    """Refuse an assertion that the key did not sign for this client data (attacks A04, A06, A07).

    Raises:
        VerificationError: Factor `binding`.
    """
    try:
        key.verify(signature, hashlib.sha256(auth_data + client_data_hash).digest(), ec.ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise VerificationError("binding", "the attested key did not sign this") from error


def check_app_id(rp_id: bytes, app_id: str) -> None:
    """Refuse what a key of another app signed: any app on a genuine Mac can attest keys of its own.

    Raises:
        VerificationError: Factor `code_measurement`.
    """
    if rp_id != hashlib.sha256(app_id.encode()).digest():
        raise VerificationError("code_measurement", "the key is another app's")


@dataclass(frozen=True, slots=True, kw_only=True)
class _AuthData:
    """Authenticator data (WebAuthn, 6.1), as Apple fills it."""

    rp_id: bytes
    counter: int
    aaguid: bytes
    credential: bytes
    cose_key: bytes
    extensions: dict[str, object]

    @classmethod
    def parse_untrusted(cls, data: bytes, *, attested: bool) -> _AuthData:
        """Split it into its parts.

        Raises:
            VerificationError: It is cut, or has bytes left over; factor `binding`.
        """
        if len(data) < _AUTH_HEAD or (attested and not data[_FLAGS] & _ATTESTED):
            raise VerificationError("binding", "the authenticator data are cut, or name no key")
        aaguid = credential = cose_key = b""
        rest = data[_AUTH_HEAD:]
        if attested:
            # The identifier of an App Attest key is a SHA-256, so that its length is known.
            end = _AAGUID_BYTES + 2 + DIGEST_BYTES + _COSE_BYTES
            if len(rest) < end or rest[_AAGUID_BYTES : _AAGUID_BYTES + 2] != DIGEST_BYTES.to_bytes(2, "big"):
                raise VerificationError("binding", "the authenticator data hold no App Attest key")
            aaguid = rest[:_AAGUID_BYTES]
            credential = rest[_AAGUID_BYTES + 2 :][:DIGEST_BYTES]
            cose_key, rest = rest[end - _COSE_BYTES : end], rest[end:]
        # Apple does not set the flag that WebAuthn has for extensions.
        what = "the authenticator data's extensions"
        return cls(
            rp_id=data[_RP_ID],
            counter=int.from_bytes(data[_COUNTER], "big"),
            aaguid=aaguid,
            credential=credential,
            cose_key=cose_key,
            extensions=read_map_untrusted(rest, what=what, maximum=ASSERTION_MAX) if rest else {},
        )


def _check_credential(fields: _AuthData, public: bytes) -> None:
    if fields.credential != hashlib.sha256(public).digest():
        raise VerificationError("attestation_key", "the key's identifier is not that of the certified key")
    if fields.cose_key != _COSE_X + public[1:33] + _COSE_Y + public[33:]:
        raise VerificationError("attestation_key", "the authenticator data hold another key than the certificate")


def _mac_state(leaf: x509.Certificate) -> MacState:
    value = extension(leaf, _ACCESS_OID)
    if value is None:
        return MacState.UNSAID
    return MacState.LOCKED if value == _MAC_LOCKED else MacState.OTHER


def _cdhash(fields: _AuthData) -> bytes | None:
    value = fields.extensions.get("apple_cd_hash_hash_01")
    if value is None:
        return None
    kind = fields.extensions.get("apple_cd_hash_type_01")
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES or kind != _CDHASH_SHA256:
        raise VerificationError("code_measurement", "the CDHash is not a whole SHA-256")
    return value


def _category(fields: _AuthData) -> int | None:
    value = fields.extensions.get("apple_validation_category_01")
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) != 4:
        raise VerificationError("code_measurement", "how the code is signed cannot be read")
    return int.from_bytes(value, "little")
