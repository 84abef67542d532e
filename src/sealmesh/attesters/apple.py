"""A Mac's Secure Enclave, and Apple's App Attest (macOS 27), through PyObjC (the extra `apple`). Blocking.

Unrun: written to Apple's documentation, with PyObjC's conventions (an out-argument comes back as one more result). No
Mac has been at hand; tests hand in objects that answer as the documentation says.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.errors import AttesterError, AttesterUnavailableError

EXTRA: Final = "sealmesh[apple]"
PUBLIC_BYTES: Final = 65
_TAG: Final = b"sealmesh.host.attestation"
_ANSWER_TIMEOUT_S: Final = 30.0  # Apple's service is asked over the network when a key is attested
_LEAF_LIFETIME_S: Final = 2.5 * 24 * 3600  # Apple's leaf lives for three days
_SERVER_UNAVAILABLE: Final = 4  # DCError.serverUnavailable
_NOT_FOUND: Final = -25300  # errSecItemNotFound


def load_framework(name: str, *, platform: str = sys.platform) -> Any:
    """Return a framework of macOS: `Security` or `DeviceCheck`.

    Args:
        name: As PyObjC names it.
        platform: `sys.platform`.

    Raises:
        AttesterUnavailableError: This is no Mac, or the extra is not installed.
    """
    if platform != "darwin":
        raise AttesterUnavailableError("this machine is no Mac")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AttesterUnavailableError(f"a Mac's chip needs an extra that is not installed: {EXTRA}") from error


class SecureEnclaveKey:
    """A P-256 key in the Secure Enclave: made once, found again at every start, never out of the chip.

    Args:
        security: The Security framework.
    """

    def __init__(self, security: Any) -> None:
        self._security = security

    def public(self) -> bytes:
        """Return the public key, an uncompressed point.

        Raises:
            AttesterError: There is no key and none can be made.
        """
        security = self._security
        data, error = security.SecKeyCopyExternalRepresentation(security.SecKeyCopyPublicKey(self._key()), None)
        public = bytes(_given(data, error, "the Secure Enclave's public key"))
        if len(public) != PUBLIC_BYTES:
            raise AttesterError("the Secure Enclave's key is of another kind than P-256")
        return public

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature with SHA-256 over a message, DER.

        Raises:
            AttesterError: The chip refuses.
        """
        security = self._security
        algorithm = security.kSecKeyAlgorithmECDSASignatureMessageX962SHA256
        signature, error = security.SecKeyCreateSignature(self._key(), algorithm, message, None)
        return bytes(_given(signature, error, "a signature of the Secure Enclave"))

    def _key(self) -> Any:
        security = self._security
        query = {
            security.kSecClass: security.kSecClassKey,
            security.kSecAttrApplicationTag: _TAG,
            security.kSecAttrTokenID: security.kSecAttrTokenIDSecureEnclave,
            security.kSecReturnRef: True,
        }
        status, key = security.SecItemCopyMatching(query, None)
        if status == 0:
            return key
        if status != _NOT_FOUND:
            raise AttesterError(f"the keychain does not give the Secure Enclave's key (OSStatus {status})")
        return self._make()

    def _make(self) -> Any:
        security = self._security
        access, error = security.SecAccessControlCreateWithFlags(
            None,
            security.kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
            security.kSecAccessControlPrivateKeyUsage,
            None,
        )
        _given(access, error, "access control for a key")
        attributes = {
            security.kSecAttrKeyType: security.kSecAttrKeyTypeECSECPrimeRandom,
            security.kSecAttrKeySizeInBits: 256,
            security.kSecAttrTokenID: security.kSecAttrTokenIDSecureEnclave,
            security.kSecPrivateKeyAttrs: {
                security.kSecAttrIsPermanent: True,
                security.kSecAttrApplicationTag: _TAG,
                security.kSecAttrAccessControl: access,
            },
        }
        key, error = security.SecKeyCreateRandomKey(attributes, None)
        return _given(key, error, "a key of the Secure Enclave")


def app_id(security: Any) -> str:
    """Return `TEAMID.bundle.id` of the code that runs, from its signature.

    Raises:
        AttesterUnavailableError: It is not signed by a team: a Python of the system or of Homebrew is not.
    """
    status, code = security.SecCodeCopySelf(0, None)
    if status == 0:
        status, found = security.SecCodeCopySigningInformation(code, security.kSecCSSigningInformation, None)
        if status == 0 and found:
            team = found.get(security.kSecCodeInfoTeamIdentifier)
            name = found.get(security.kSecCodeInfoIdentifier)
            if team and name:
                return f"{team}.{name}"
    raise AttesterUnavailableError("App Attest needs an app that is signed by a team, and this Python is not")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A key that Apple attested.

    Attributes:
        key_id: As Apple names it.
        attestation: CBOR.
        client_data_hash: What it was attested with, 32 bytes.
        at: When, in seconds of `monotonic`.
    """

    key_id: str
    attestation: bytes
    client_data_hash: bytes
    at: float


class AppAttestKey:
    """A key of App Attest, attested anew before Apple's certificate for it ends.

    Args:
        service: `DCAppAttestService.sharedService()`.
        app: `TEAMID.bundle.id`.
        memory: A file that keeps the key's name, so that the same key answers after a restart and pins hold.
        random: Makes the challenge of an attestation.
        monotonic: Seconds of a clock that is never set.
    """

    def __init__(
        self,
        service: Any,
        *,
        app: str,
        memory: Path,
        random: Callable[[int], bytes],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self.app = app
        self._memory = memory
        self._random = random
        self._monotonic = monotonic
        self._attested: Attested | None = None

    def attested(self) -> Attested:
        """Return the key with Apple's word for it.

        Raises:
            AttesterUnavailableError: This Mac, or this version of macOS, has no App Attest.
            AttesterError: Apple's service does not attest the key.
        """
        known = self._attested
        if known is not None and self._monotonic() - known.at < _LEAF_LIFETIME_S:
            return known
        if not self._service.isSupported():
            raise AttesterUnavailableError("App Attest is not there: it needs macOS 27 and an app that may use it")
        remembered = self._remembered()
        if remembered is not None:
            try:
                return self._attest(remembered)
            except AttesterError as error:
                if error.momentary:
                    raise  # nothing is wrong with the key, and a new one would break every pin of this host
                # Apple may take a key only once; then it is a new one, and pins of the old one say so.
        key_id = str(self._ask("generateKeyWithCompletionHandler_"))
        self._remember(key_id)  # first: where Apple's service fails now, the next try is with this key again
        return self._attest(key_id)

    def sign(self, digest: bytes) -> bytes:
        """Return an assertion over 32 bytes, CBOR.

        Raises:
            AttesterError: The chip refuses.
        """
        key_id = self.attested().key_id
        return bytes(self._ask("generateAssertion_clientDataHash_completionHandler_", key_id, digest))

    def _attest(self, key_id: str) -> Attested:
        digest = hashlib.sha256(self._random(32)).digest()
        at = self._monotonic()
        attestation = bytes(self._ask("attestKey_clientDataHash_completionHandler_", key_id, digest))
        self._attested = Attested(key_id=key_id, attestation=attestation, client_data_hash=digest, at=at)
        return self._attested

    def _remembered(self) -> str | None:
        try:
            return self._memory.read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            # It may be there all the same: a new key is made only where there was none.
            raise AttesterError(f"{self._memory} cannot be read; mend it, or delete it for a new key") from error

    def _remember(self, key_id: str) -> None:
        temporary = self._memory.with_name(self._memory.name + ".tmp")
        try:
            temporary.write_text(key_id + "\n", "utf-8")
            temporary.replace(self._memory)
        except OSError as error:
            raise AttesterError(f"{self._memory} cannot be written ({error.strerror})") from error

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method that answers on a queue of its own, and wait for it."""
        answered = threading.Event()
        answer: list[Any] = []

        def take(result: Any, error: Any) -> None:
            answer.extend((result, error))
            answered.set()

        getattr(self._service, method)(*arguments, take)
        if not answered.wait(_ANSWER_TIMEOUT_S):
            raise AttesterError("App Attest did not answer in time", momentary=True)
        result, error = answer
        return _given(result, error, "App Attest's answer", momentary=_passes(error))


def _passes(error: Any) -> bool:
    """Whether an NSError of App Attest says that Apple's service cannot be reached: the key stays good."""
    code = getattr(error, "code", None)
    return callable(code) and code() == _SERVER_UNAVAILABLE


def _given(result: Any, error: Any, what: str, *, momentary: bool = False) -> Any:
    if result is None:
        raise AttesterError(f"macOS does not give {what} ({error})", momentary=momentary)
    return result
