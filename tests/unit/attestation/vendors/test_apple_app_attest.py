"""App Attest as evidence of a host: tiers, the asker's lists, and the memory of counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import NOW
from kit.evidence import BOUND, given, statement_bytes
from kit.vendor_certs import APP_ID, CDHASH, DAY, AppleMac
from sealmesh.attestation.envelope import Record
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import apple_app_attest
from sealmesh.attestation.vendors.apple_app_attest import Counters, make_kind, make_record
from sealmesh.attestation.vendors.base import Finding
from sealmesh.attestation.verifier import settle_tier
from sealmesh.errors import VerificationError

LISTED = {"apple": {"cdhashes": (CDHASH.hex(),)}}


def record(mac: AppleMac, bound: bytes = BOUND, *, counter: int = 1) -> Record:
    return make_record(
        app_id=mac.app_id,
        attestation=mac.attestation(),
        client_data_hash=mac.client_data_hash,
        assertion=mac.assertion(bound, counter=counter),
    )


def judge(mac: AppleMac | None = None, *, vendors: dict[str, object] | None = None, **more: object) -> Finding:
    mac = mac or AppleMac()
    evidence = given(record(mac), vendors=vendors, **more)  # type: ignore[arg-type]
    return make_kind(root=mac.root_der).verify_untrusted(evidence)


def status(finding: Finding) -> dict[FactorId, Status]:
    assert len({one.factor for one in finding.factors}) == len(finding.factors)
    return {one.factor: one.status for one in finding.factors}


def test_a_mac_with_unknown_code_is_hardware_rooted() -> None:
    finding = judge()
    assert settle_tier(finding.tier, finding.factors) is Tier.HARDWARE_ROOTED
    assert (finding.code_measured, finding.operator_blind, finding.pinnable) == (False, OperatorBlind.NO, True)
    assert status(finding) == {
        FactorId.BINDING: Status.PASS,
        FactorId.ATTESTATION_KEY: Status.PASS,
        FactorId.VENDOR_CHAIN: Status.PASS,
        FactorId.PLATFORM_STATE: Status.PASS,
        FactorId.CODE_MEASUREMENT: Status.ABSENT,
    }
    assert finding.claims["cdhash"] == CDHASH.hex()


def test_a_listed_cdhash_is_measured_code() -> None:
    finding = judge(vendors=LISTED)
    assert settle_tier(finding.tier, finding.factors) is Tier.HARDWARE_ROOTED
    assert (finding.code_measured, finding.operator_blind) == (True, OperatorBlind.SOFTWARE)
    assert status(finding)[FactorId.CODE_MEASUREMENT] is Status.PASS


def test_a_backend_in_another_process_is_not_blind() -> None:
    data = statement_bytes(backend="local")
    mac = AppleMac()
    evidence = given(record(mac, binding(data)), statement=data, vendors=LISTED)
    finding = make_kind(root=mac.root_der).verify_untrusted(evidence)
    assert (finding.code_measured, finding.operator_blind) == (True, OperatorBlind.NO)


@pytest.mark.parametrize(
    ("mac", "lists"),
    [
        (AppleMac(cdhash=bytes(32)), {}),  # not listed
        (AppleMac(cdhash=None), {}),  # before macOS 27
        (AppleMac(category=3), {}),  # signed for development: a debugger may attach
        (AppleMac(access=None), {}),  # Apple does not say that the Mac is locked
        (AppleMac(access=b"\x30\x00"), {}),
        (AppleMac(), {"app_ids": ("2F53L9ZR3N.another",)}),
        (AppleMac(), {"cdhashes": (CDHASH[:20].hex(),)}),  # cut CDHashes do not count
    ],
)
def test_anything_less_is_not_measured(mac: AppleMac, lists: dict[str, object]) -> None:
    finding = judge(mac, vendors={"apple": {**LISTED["apple"], **lists}})
    assert (finding.code_measured, finding.operator_blind) == (False, OperatorBlind.NO)


@pytest.mark.parametrize(
    ("mac", "lists"),
    [
        (AppleMac(access=None), {}),
        (AppleMac(access=b"\x30\x00"), {}),
        (AppleMac(), {"app_ids": ("2F53L9ZR3N.another",)}),
    ],
)
def test_a_mac_that_is_not_locked_or_runs_another_app_is_self_asserted(mac: AppleMac, lists: dict[str, object]) -> None:
    finding = judge(mac, vendors={"apple": lists})
    assert settle_tier(finding.tier, finding.factors) is Tier.SELF_ASSERTED


def test_an_app_on_the_list_counts() -> None:
    finding = judge(vendors={"apple": {"app_ids": (APP_ID,), **LISTED["apple"]}})
    assert finding.code_measured is True


def test_the_fingerprint_is_the_same_at_every_refresh() -> None:
    mac = AppleMac()
    kind = make_kind(root=mac.root_der)
    first, later = (kind.verify_untrusted(given(record(mac, counter=count))) for count in (1, 2))
    assert first.fingerprint == later.fingerprint == kind.verify_untrusted(given(record(AppleMac()))).fingerprint


@pytest.mark.parametrize(
    ("changed", "factor"),
    [
        ({"mac": AppleMac(aaguid=b"appattestdevelop")}, "attestation_key"),
        ({"now": NOW + 2 * DAY + 1}, "vendor_chain"),
        ({"statement": statement_bytes(backend="remote")}, "binding"),
    ],
)
def test_a_refusal_names_its_factor(changed: dict[str, object], factor: str) -> None:
    with pytest.raises(VerificationError) as caught:
        judge(**changed)  # type: ignore[arg-type]
    assert caught.value.factor == factor


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\xa1\x61a\x01", b"x" * 40_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="binding"):
        apple_app_attest.KIND.verify_untrusted(given(replace(record(AppleMac()), data=data)))


@pytest.mark.parametrize("app_id", ["", "x" * 300, "caf\u00e9", "new\nline"])
def test_an_app_identifier_is_plain(app_id: str) -> None:
    mac = AppleMac(app_id=app_id)
    with pytest.raises(VerificationError, match="code_measurement"):
        make_kind(root=mac.root_der).verify_untrusted(given(record(mac)))


def test_counters_remember_the_last_assertion_of_each_key() -> None:
    counters = Counters()
    counters.check(b"a", 5, b"five")
    counters.check(b"a", 5, b"five")  # the same one again
    counters.check(b"b", 1, b"one")
    for counter, data in ((4, b"four"), (5, b"another five"), (1, b"one")):
        with pytest.raises(VerificationError, match="later assertion"):
            counters.check(b"a", counter, data)
    counters.check(b"a", 6, b"six")
    with pytest.raises(VerificationError, match="later assertion"):
        counters.check(b"a", 5, b"five")


def test_counters_forget_the_key_that_was_seen_longest_ago() -> None:
    counters = Counters(maximum=2)
    for key in (b"a", b"b"):
        counters.check(key, 9, b"")
    counters.check(b"a", 10, b"")
    counters.check(b"c", 9, b"")
    counters.check(b"b", 1, b"")  # was forgotten
    with pytest.raises(VerificationError):
        counters.check(b"c", 1, b"x")


def test_a_verifier_with_a_memory_refuses_an_older_assertion() -> None:
    mac = AppleMac()
    kind = make_kind(Counters(), root=mac.root_der)
    kind.verify_untrusted(given(record(mac, counter=2)))
    with pytest.raises(VerificationError, match="later assertion"):
        kind.verify_untrusted(given(record(mac, counter=1)))
    # An assertion that does not hold leaves no trace: nobody can push a key's counter up but its holder.
    forged = record(mac, bytes(32), counter=99)
    with pytest.raises(VerificationError):
        kind.verify_untrusted(given(forged))
    kind.verify_untrusted(given(record(mac, counter=3)))
