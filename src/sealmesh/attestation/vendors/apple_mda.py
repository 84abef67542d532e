"""Apple Managed Device Attestation: Apple certifies a Mac's state, and with it the hash of a Secure Enclave key.

A managed Mac asks Apple with a nonce; Apple answers with a certificate that names it (the freshness code). The nonce
is SHA-256 of the Secure Enclave key's base64 text, so that the certificate speaks for that key, and the key signs the
binding. Apple gives such a certificate about once in seven days: how old it is, is part of the verdict, for the Mac may
have been unlocked since.

Encodings are Apple's own, and not alike: SIP and kernel extensions are DER INTEGERs (0: enabled; 0: none allowed),
Secure Boot, versions and names are the raw text, the freshness code is the raw 32 bytes. No genuine certificate may be
passed on (it names its Mac), so tests make one with these encodings; the root is Apple's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cbor2
from cryptography import x509

from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.apple_enclave import PUBLIC_BYTES, check_key_signed_untrusted, message
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.cbor_map import check_keys, read_map_untrusted, take_bytes, take_chain
from sealmesh.attestation.vendors.ec_chain import CERTIFICATE_MAX, CHAIN_MAX, extension, verify_chain_untrusted
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError

TYPE: Final = "application/vnd.sealmesh.apple-mda"
LABEL: Final = "apple-mda"
#: Apple answers a device anew about this often.
AGE_MAX_S: Final = 7 * 24 * 3600

_WHAT: Final = "the Managed Device Attestation record"
_FIELDS: Final = frozenset({"chain", "public_key", "signature"})
_RECORD_MAX: Final = CHAIN_MAX * CERTIFICATE_MAX + 1024
_APPLE: Final = "1.2.840.113635.100.8."
_FRESHNESS: Final = x509.ObjectIdentifier(_APPLE + "11.1")
_SIP: Final = x509.ObjectIdentifier(_APPLE + "13.1")
_SECURE_BOOT: Final = x509.ObjectIdentifier(_APPLE + "13.2")
_KERNEL_EXTENSIONS: Final = x509.ObjectIdentifier(_APPLE + "13.3")
_OS_VERSION: Final = x509.ObjectIdentifier(_APPLE + "10.1")
_SEPOS_VERSION: Final = x509.ObjectIdentifier(_APPLE + "10.2")
_ZERO: Final = bytes.fromhex("020100")  # DER INTEGER 0
_FULL_SECURITY: Final = b"Full Security"
_BOOT_WORDS: Final = {one: one.decode() for one in (_FULL_SECURITY, b"Reduced Security", b"Permissive Security")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedMac:
    """What Apple's certificate says. Serial number and UDID are not read: they name a person's machine.

    Attributes:
        freshness: The nonce that Apple was asked with; None where the certificate has none.
        issued: Unix seconds.
        sip: Whether SIP is enabled; None where that is not said in a form that is known.
        secure_boot: Apple's words; "" where there are none that are known.
        kernel_extensions: Whether third parties' are allowed; None where that is not said.
        os_version: As Apple writes it, printable; "" where it is not said.
        sepos_version: The Secure Enclave's, likewise.
    """

    freshness: bytes | None
    issued: float
    sip: bool | None
    secure_boot: str
    kernel_extensions: bool | None
    os_version: str
    sepos_version: str


def key_nonce(public: bytes) -> bytes:
    """Return the nonce with which Apple is asked about a Secure Enclave key, 32 bytes.

    Args:
        public: Uncompressed point, 65 bytes.
    """
    return hashlib.sha256(base64.b64encode(public)).digest()


def make_record(chain: Sequence[bytes], public: bytes, signature: bytes) -> Record:
    """Return the evidence record of a managed Mac.

    Args:
        chain: DER, from the Mac's certificate up.
        public: The Secure Enclave key, uncompressed, 65 bytes.
        signature: ECDSA with SHA-256, DER, over `apple_enclave.message(binding)`.
    """
    content = {"chain": list(chain), "public_key": public, "signature": signature}
    return Record(type=TYPE, data=cbor2.dumps(content, canonical=True), role=Role.EVIDENCE)


def verify_certificate_untrusted(chain: Sequence[bytes], *, now: float, root: bytes | None = None) -> ManagedMac:
    """Judge a Mac's certificate.

    Args:
        chain: DER, from the leaf up.
        now: Unix seconds.
        root: The trusted root, DER; Apple's without it.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    pinned = root or load_root("apple", "enterprise_attestation_root.pem")
    leaf = verify_chain_untrusted(chain, root=pinned, now=now)
    return ManagedMac(
        freshness=extension(leaf, _FRESHNESS),
        issued=leaf.not_valid_before_utc.timestamp(),
        sip=_is_zero(extension(leaf, _SIP)),
        secure_boot=_BOOT_WORDS.get(extension(leaf, _SECURE_BOOT) or b"", ""),
        kernel_extensions=_not(_is_zero(extension(leaf, _KERNEL_EXTENSIONS))),
        os_version=_printable(extension(leaf, _OS_VERSION)),
        sepos_version=_printable(extension(leaf, _SEPOS_VERSION)),
    )


def check_certified_key(mac: ManagedMac, public: bytes) -> None:
    """Refuse a key that Apple's certificate does not speak for (attacks A06, A07: another Mac's certificate).

    The key's base64 text may be of the whole point, or of its two coordinates alone, as CryptoKit gives it.

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    if mac.freshness not in (key_nonce(public), hashlib.sha256(base64.b64encode(public[1:])).digest()):
        raise VerificationError("attestation_key", "Apple's certificate does not name the key that signed")


def judge_state(mac: ManagedMac, policy: Policy, now: float) -> Factor:
    """SIP on, Full Security, and Apple's word no older than allowed; what is not said counts as not so."""
    limit = policy.vendors.get("apple", {}).get("mda_max_age", AGE_MAX_S)
    age = now - mac.issued
    faults = []
    if mac.sip is not True:
        faults.append("SIP is not enabled, or Apple does not say so")
    if mac.secure_boot != _BOOT_WORDS[_FULL_SECURITY]:
        faults.append("Secure Boot is not at Full Security, or Apple does not say so")
    if not isinstance(limit, int) or age > limit:
        faults.append(f"Apple's word is {age / 86400:.1f} days old, {limit} s are allowed")
    return Factor(
        factor=FactorId.PLATFORM_STATE,
        status=Status.FAIL if faults else Status.PASS,
        source=Source.VENDOR_ROOTED,
        reason="; ".join(faults) or f"SIP on, Full Security, {age / 86400:.1f} days ago",
    )


def verify_mda_untrusted(evidence: EvidenceInput, *, root: bytes | None = None) -> Finding:
    """Judge a managed Mac's record.

    Raises:
        VerificationError: It does not hold; the factor says what.
    """
    # 1. The record is whole.
    content = read_map_untrusted(evidence.record.data, what=_WHAT, maximum=_RECORD_MAX)
    check_keys(content, _FIELDS, what=_WHAT)
    public = take_bytes(content, "public_key", what=_WHAT, length=PUBLIC_BYTES)
    # 2. Apple certified a Mac, 3. and with it this key,
    mac = verify_certificate_untrusted(take_chain(content, "chain", what=_WHAT), now=evidence.now, root=root)
    check_certified_key(mac, public)
    # 4. which signed this binding.
    check_key_signed_untrusted(public, take_bytes(content, "signature", what=_WHAT), message(evidence.binding))
    return Finding(
        tier=Tier.HARDWARE_ROOTED,
        factors=(
            _passed(FactorId.BINDING, "a Secure Enclave's key signed this host statement", Source.HARDWARE),
            _passed(FactorId.ATTESTATION_KEY, "Apple's certificate names the key"),
            _passed(FactorId.VENDOR_CHAIN, "certified up to Apple's Enterprise Attestation root"),
            # 5. The Mac's state, and how old Apple's word on it is.
            judge_state(mac, evidence.policy, evidence.now),
        ),
        fingerprint=hashlib.sha256(public).digest(),
        pinnable=True,
        claims=_describe(mac),
    )


KIND: Final = EvidenceKind(verify_untrusted=verify_mda_untrusted, ceiling=Tier.HARDWARE_ROOTED)


def judge_raw_untrusted(given: RawInput) -> RawFinding:
    """Judge a certificate chain in PEM, by its freshness code, or by a key that it names and that key's signature.

    Raises:
        VerificationError: It does not hold.
    """
    return judge_certificate_untrusted(given)


def judge_certificate_untrusted(given: RawInput, *, root: bytes | None = None) -> RawFinding:
    """The same, for a trusted root of choice.

    Raises:
        VerificationError: It does not hold.
    """
    mac = verify_certificate_untrusted(_read_chain(given), now=given.now, root=root)
    factors = [
        _passed(FactorId.VENDOR_CHAIN, "certified up to Apple's Enterprise Attestation root"),
        judge_state(mac, given.policy, given.now),
    ]
    if given.nonce is not None and mac.freshness != given.nonce:
        raise VerificationError("binding", "the certificate was issued for another nonce")
    if "key" in given.given:
        public = _read_key(given.given["key"])
        check_certified_key(mac, public)
        factors.append(_passed(FactorId.ATTESTATION_KEY, "Apple's certificate names the key"))
        if given.report_data is not None:
            check_key_signed_untrusted(public, given.given.get("signature", b""), given.report_data)
    elif given.report_data is not None:
        raise VerificationError("binding", "report data are signed by the key: --with key=PATH --with signature=PATH")
    else:
        factors.append(_passed(FactorId.ATTESTATION_KEY, "the Mac's own, which Apple certified; no other key is shown"))
    bound = given.nonce is not None or given.report_data is not None
    if bound:
        factors.append(_passed(FactorId.BINDING, "it is bound to what was given", Source.HARDWARE))
    return RawFinding(tier_if_bound=Tier.HARDWARE_ROOTED, bound=bound, factors=tuple(factors), claims=_describe(mac))


RAW_KIND: Final = RawKind(
    name="apple-mda",
    judge_untrusted=judge_raw_untrusted,
    roles={
        "chain": "the certificates above the leaf in PEM, where the file holds the leaf alone",
        "key": "the Secure Enclave key that the certificate names: 65 bytes, or their base64",
        "signature": "that key's signature over the report data, DER",
    },
)


def _read_chain(given: RawInput) -> tuple[bytes, ...]:
    if given.data[:1] == b"\x30":
        leaf: tuple[bytes, ...] = (given.data,)
    else:
        leaf = read_chain_untrusted(given.data)
    return leaf + (read_chain_untrusted(given.given["chain"]) if "chain" in given.given else ())


def _read_key(data: bytes) -> bytes:
    if len(data) != PUBLIC_BYTES:
        try:
            data = base64.b64decode(data.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise VerificationError("attestation_key", "the key is neither 65 bytes nor their base64") from error
    return data if len(data) == PUBLIC_BYTES else b"\x04" + data


def _describe(mac: ManagedMac) -> Mapping[str, str]:
    words = {True: "yes", False: "no", None: "not said"}
    return {
        "sip": words[mac.sip],
        "secure_boot": mac.secure_boot or "not said",
        "third_party_kernel_extensions": words[mac.kernel_extensions],
        "os_version": mac.os_version or "not said",
        "sepos_version": mac.sepos_version or "not said",
        "issued": str(int(mac.issued)),
    }


def _is_zero(value: bytes | None) -> bool | None:
    """Whether a DER INTEGER is zero; None where it is none that is known."""
    if value is None or value[:1] != _ZERO[:1] or len(value) < len(_ZERO) or value[1] != len(value) - 2:
        return None
    return value == _ZERO


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _printable(value: bytes | None) -> str:
    text = (value or b"").decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() and len(text) <= 32 else ""


def _passed(factor: FactorId, reason: str, source: Source = Source.VENDOR_ROOTED) -> Factor:
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)
