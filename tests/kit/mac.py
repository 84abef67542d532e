"""The Security framework of a Mac, as Apple's documentation and PyObjC's conventions have it. No Mac has run it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMES = (
    "kSecClass kSecClassKey kSecAttrApplicationTag kSecAttrTokenID kSecAttrTokenIDSecureEnclave kSecReturnRef "
    "kSecAttrKeyType kSecAttrKeyTypeECSECPrimeRandom kSecAttrKeySizeInBits kSecPrivateKeyAttrs kSecAttrIsPermanent "
    "kSecAttrAccessControl kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly kSecAccessControlPrivateKeyUsage "
    "kSecKeyAlgorithmECDSASignatureMessageX962SHA256 kSecCSSigningInformation kSecCodeInfoTeamIdentifier "
    "kSecCodeInfoIdentifier"
)


class Keychain(SimpleNamespace):
    """The Security framework of a Mac."""

    def __init__(self) -> None:
        super().__init__(**{name: name for name in NAMES.split()})
        self.key: ec.EllipticCurvePrivateKey | None = None
        self.made = 0
        self.status = -25300
        self.error: str | None = None
        self.signing: dict[str, str] = {"kSecCodeInfoTeamIdentifier": "TEAM", "kSecCodeInfoIdentifier": "org.app"}

    def SecItemCopyMatching(self, query: dict[str, Any], _: None) -> tuple[int, Any]:
        assert query["kSecAttrTokenID"] == "kSecAttrTokenIDSecureEnclave"
        return (0, self.key) if self.key else (self.status, None)

    def SecAccessControlCreateWithFlags(self, *_: object) -> tuple[object, None]:
        return object(), None

    def SecKeyCreateRandomKey(self, attributes: dict[str, Any], _: None) -> tuple[Any, Any]:
        assert attributes["kSecPrivateKeyAttrs"]["kSecAttrIsPermanent"] is True
        if self.error:
            return None, self.error
        self.made += 1
        self.key = ec.generate_private_key(ec.SECP256R1())
        return self.key, None

    def SecKeyCopyPublicKey(self, key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePublicKey:
        return key.public_key()

    def SecKeyCopyExternalRepresentation(self, key: ec.EllipticCurvePublicKey, _: None) -> tuple[bytes, None]:
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint), None

    def SecKeyCreateSignature(self, key: Any, algorithm: str, message: bytes, _: None) -> tuple[bytes, None]:
        assert algorithm == "kSecKeyAlgorithmECDSASignatureMessageX962SHA256"
        return key.sign(message, ec.ECDSA(hashes.SHA256())), None

    def SecCodeCopySelf(self, *_: object) -> tuple[int, str]:
        return 0, "self"

    def SecCodeCopySigningInformation(self, *_: object) -> tuple[int, dict[str, str]]:
        return 0, self.signing
