"""App Attest as evidence: a genuine Mac, locked as Apple builds it, and which code asked its Secure Enclave to sign.

What it is worth (ATTESTATION.md, Two questions): `hardware-rooted`, for Apple certified the key and the Mac's state.
`code_measured` only where the CDHash of the assertion is on the asker's list and the code is signed for distribution;
a CDHash covers the Mach-O and what it seals, so that a listed one is worth what the lister put into it. The attester's
side has not been run by this project: the objects judged in tests are those of others' Macs and iPhones.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import cbor2

from sealmesh.attestation.envelope import Record, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.order import HardwareOrder
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.apple_attest import (
    APP_ID_MAX,
    ASSERTION_MAX,
    ATTESTATION_MAX,
    DIGEST_BYTES,
    Assertion,
    Attested,
    Environment,
    MacState,
    verify_assertion_untrusted,
    verify_attestation_untrusted,
)
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.cbor_map import check_keys, read_map_untrusted, take_bytes
from sealmesh.errors import VerificationError
from sealmesh.limits import PEERS_MAX

TYPE: Final = "application/vnd.sealmesh.app-attest"
LABEL: Final = "app-attest"

_WHAT: Final = "the App Attest record"
_FIELDS: Final = frozenset({"app_id", "attestation", "client_data_hash", "assertion"})
_RECORD_MAX: Final = ATTESTATION_MAX + ASSERTION_MAX + 1024
#: Apple's numbers for code that is signed for distribution: App Store, Developer ID. A debugger may not attach to it.
_DISTRIBUTED: Final = frozenset({4, 6})


class Counters:
    """A verifier's memory of the last assertion of each key. Never a field in the evidence.

    It is for live verification: a host's gossiped statement is older than what it answered since.

    Args:
        maximum: Keys to remember; the one that was seen longest ago makes room.
    """

    def __init__(self, *, maximum: int = PEERS_MAX) -> None:
        self._last: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._maximum = maximum

    def check(self, key_id: bytes, counter: int, assertion: bytes) -> None:
        """Take note of an assertion that holds; refuse one that is not newer (attack A08).

        Args:
            key_id: Of the attested key, 32 bytes.
            counter: Of the assertion.
            assertion: As received: the same one may be looked at twice.

        Raises:
            VerificationError: Factor `binding`.
        """
        digest = hashlib.sha256(assertion).digest()
        known = self._last.get(key_id)
        if known is not None and counter <= known[0] and known != (counter, digest):
            raise VerificationError(
                "binding", "the key has signed a later assertion", expected=f"above {known[0]}", got=str(counter)
            )
        self._last[key_id] = (counter, digest)
        self._last.move_to_end(key_id)
        if len(self._last) > self._maximum:
            self._last.popitem(last=False)


def make_record(*, app_id: str, attestation: bytes, client_data_hash: bytes, assertion: bytes) -> Record:
    """Return the evidence record of a Mac.

    Args:
        app_id: `TEAMID.bundle.id`.
        attestation: CBOR, from when the key was attested.
        client_data_hash: What it was attested with, 32 bytes.
        assertion: CBOR, over the binding.
    """
    content = {
        "app_id": app_id,
        "attestation": attestation,
        "client_data_hash": client_data_hash,
        "assertion": assertion,
    }
    return Record(type=TYPE, data=cbor2.dumps(content, canonical=True), role=Role.EVIDENCE)


def make_kind(counters: Counters | None = None, *, root: bytes | None = None) -> EvidenceKind:
    """Return the row of the registry for one verifier.

    Args:
        counters: That verifier's memory; without it, counters are read and not compared.
        root: The trusted root, DER; Apple's without it.
    """

    def verify_untrusted(evidence: EvidenceInput) -> Finding:
        return verify_app_attest_untrusted(evidence, counters=counters, root=root)

    return EvidenceKind(verify_untrusted=verify_untrusted, ceiling=Tier.HARDWARE_ROOTED)


def verify_app_attest_untrusted(
    evidence: EvidenceInput, *, counters: Counters | None = None, root: bytes | None = None
) -> Finding:
    """Judge a Mac's record.

    Raises:
        VerificationError: It does not hold; the factor says what.
    """
    # 1. The record is whole.
    content = read_map_untrusted(evidence.record.data, what=_WHAT, maximum=_RECORD_MAX)
    check_keys(content, _FIELDS, what=_WHAT)
    assertion_data = take_bytes(content, "assertion", what=_WHAT)
    # 2. Apple attested the key, in its production service, within the leaf's three days.
    attested = verify_attestation_untrusted(
        take_bytes(content, "attestation", what=_WHAT),
        client_data_hash=take_bytes(content, "client_data_hash", what=_WHAT, length=DIGEST_BYTES),
        app_id=take_app_id(content.get("app_id")),
        now=evidence.now,
        root=root,
    )
    if attested.environment is not Environment.PRODUCTION:
        raise VerificationError("attestation_key", "the key is of Apple's development service")
    # 3. The key signed this binding.
    assertion = verify_assertion_untrusted(assertion_data, attested=attested, client_data_hash=evidence.binding)
    # 4. Nothing newer is known of the key.
    if counters is not None:
        counters.check(attested.key_id, assertion.counter, assertion_data)
    # 5. The asker's lists.
    code = judge_code(attested, assertion, evidence.policy)
    unlisted = judge_app(attested, evidence.policy)
    measured = code.status is Status.PASS and not unlisted
    in_process = evidence.statement.backend == "in-process"
    return Finding(
        tier=Tier.HARDWARE_ROOTED,
        factors=(
            _passed(FactorId.BINDING, Source.HARDWARE, "a Secure Enclave's key signed this host statement"),
            _passed(FactorId.ATTESTATION_KEY, Source.VENDOR_ROOTED, "Apple attested the key for this app"),
            _passed(FactorId.VENDOR_CHAIN, Source.VENDOR_ROOTED, "certified up to Apple's App Attestation root"),
            judge_state(attested, is_mac=True),
            *(unlisted or (code,)),
        ),
        fingerprint=attested.key_id,
        pinnable=True,
        code_measured=measured,
        # Code that hands the prompt to another process is not where the prompt is read.
        operator_blind=OperatorBlind.SOFTWARE if measured and in_process else OperatorBlind.NO,
        claims=describe(attested, assertion),
        order=HardwareOrder(line=attested.key_id, count=assertion.counter),
    )


KIND: Final = make_kind()


def take_app_id(value: object) -> str:
    """Return an app's identifier.

    Raises:
        VerificationError: It is none; factor `code_measurement`.
    """
    if not isinstance(value, str) or not 0 < len(value) <= APP_ID_MAX or not value.isascii() or not value.isprintable():
        raise VerificationError("code_measurement", "an app's identifier is TEAMID.bundle.id")
    return value


def judge_state(attested: Attested, *, is_mac: bool) -> Factor:
    """What Apple says of the machine's state. For a Mac, what is not said counts as not so; an iPhone has no such word.

    Args:
        attested: The key.
        is_mac: Whether it is a Mac's: every host's is.
    """
    match attested.state:
        case MacState.LOCKED:
            return _passed(FactorId.PLATFORM_STATE, Source.VENDOR_ROOTED, "SIP on, Full Security")
        case MacState.OTHER:
            return _factor(FactorId.PLATFORM_STATE, Status.FAIL, attested.state.value)
        case MacState.UNSAID:
            status = Status.FAIL if is_mac else Status.ABSENT
            return _factor(FactorId.PLATFORM_STATE, status, "Apple says nothing of how the device is locked")


def judge_app(attested: Attested, policy: Policy) -> tuple[Factor, ...]:
    """Hold the app against the asker's list, where there is one: a genuine Mac attests keys of any app."""
    app_ids = policy.vendors.get("apple", {}).get("app_ids")
    if app_ids is None or (isinstance(app_ids, tuple) and attested.app_id in app_ids):
        return ()
    return (_factor(FactorId.CODE_MEASUREMENT, Status.FAIL, "the key is of an app that the policy does not list"),)


def judge_code(attested: Attested, assertion: Assertion | None, policy: Policy) -> Factor:
    """Hold the CDHash against the asker's list. Not listed is not wrong: a genuine chip that runs unknown code.

    Only whole CDHashes count, 32 bytes; `codesign` shows them as `CandidateCDHashFull`.
    """
    if assertion is None or assertion.cdhash is None:
        return _factor(FactorId.CODE_MEASUREMENT, Status.ABSENT, "no CDHash: before macOS 27, or nothing was asserted")
    listed = policy.vendors.get("apple", {}).get("cdhashes")
    if not isinstance(listed, tuple) or assertion.cdhash.hex() not in listed:
        return _factor(FactorId.CODE_MEASUREMENT, Status.ABSENT, "the CDHash is not on the policy's list")
    if attested.state is not MacState.LOCKED:
        return _factor(FactorId.CODE_MEASUREMENT, Status.ABSENT, "a machine that is not locked can run code unmeasured")
    if assertion.category not in _DISTRIBUTED:
        return _factor(FactorId.CODE_MEASUREMENT, Status.ABSENT, "the code is not signed for distribution")
    return _passed(FactorId.CODE_MEASUREMENT, Source.HARDWARE, "the CDHash is on the policy's list")


def describe(attested: Attested, assertion: Assertion | None) -> Mapping[str, str]:
    """What the objects say, for people."""
    claims = {
        "app_id": attested.app_id,
        "key_id": attested.key_id.hex(),
        "environment": attested.environment.name.lower(),
        "machine_state": attested.state.value,
    }
    if assertion is not None:
        claims["counter"] = str(assertion.counter)
        if assertion.cdhash is not None:
            claims["cdhash"] = assertion.cdhash.hex()
        if assertion.category is not None:
            claims["validation_category"] = str(assertion.category)
    return claims


def _passed(factor: FactorId, source: Source, reason: str) -> Factor:
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)


def _factor(factor: FactorId, status: Status, reason: str) -> Factor:
    return Factor(factor=factor, status=status, source=Source.VENDOR_ROOTED, reason=reason)
