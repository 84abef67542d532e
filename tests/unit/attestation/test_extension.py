"""Extension: what a standing statement adds to a live verdict, by the hardware's own order [ST-24] [ST-25]."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest

from kit.attested import NOW, ProvenHost, judge
from kit.chips import REQUIRING, VENDOR
from kit.tpm import ModelTpm, der, p256
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.order import HardwareOrder, confirmed_at
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors.tpm import KIND, TYPE
from sealmesh.attestation.vendors.tpm.evidence import TYPE_AK, TYPE_CA, TpmEvidence
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.errors import VerificationError

VERIFIER = Verifier(policy=REQUIRING, registry={TYPE: KIND})


class Chip:
    """A host whose chip's attestation key the vendor certified: nothing has to be activated."""

    def __init__(self, which: str = "chip") -> None:
        self.tpm = ModelTpm(which, ek=p256(f"{which} ek"))

    def envelope(self, host_statement: bytes, *, clock: int) -> bytes:
        self.tpm.clock = clock
        evidence = TpmEvidence(ak_public=self.tpm.ak_public, parts=self.tpm.quote(binding(host_statement)))
        records = {
            "tpm2": evidence.to_record(),
            "ak": Record(type=TYPE_AK, data=der(VENDOR.ak(self.tpm)), role=Role.ENDORSEMENT),
            "ca": Record(type=TYPE_CA, data=der(VENDOR.issuer), role=Role.ENDORSEMENT),
        }
        return Envelope(records=records).encode()


def live(host: ProvenHost, chip: Chip) -> HostVerdict:
    answer = host.answer()
    shown: ProofAnswer = dataclasses.replace(answer, envelope=chip.envelope(answer.host_statement, clock=10_000))
    return judge(host, shown, verifier=VERIFIER)


def extend(
    verdict: HostVerdict, host: ProvenHost, chip: Chip, *, at: float, clock: int, now: float, **changes: object
) -> HostVerdict | None:
    statement = host.statement(NOW + at, **changes).encode()
    return VERIFIER.extend_untrusted(verdict, statement, chip.envelope(statement, clock=clock), now=NOW + now)


def test_a_later_quote_extends_to_when_it_was_made() -> None:
    host, chip = ProvenHost(), Chip()
    verdict = live(host, chip)
    later = extend(verdict, host, chip, at=300, clock=310_000, now=400)
    assert later is not None
    assert (later.verified_at, later.confirmed_at, later.expires) == (NOW, NOW + 300, NOW + 900)
    assert later.verdict == verdict.verdict
    again = extend(later, host, chip, at=500, clock=510_000, now=501)
    assert again is not None
    assert again.confirmed_at == NOW + 500


def test_a_quote_that_was_held_back_extends_only_to_the_chips_own_time() -> None:
    """A08: the chip's clock has moved by a minute, whatever the statement says and whenever it comes."""
    host, chip = ProvenHost(), Chip()
    later = extend(live(host, chip), host, chip, at=590, clock=70_000, now=590)
    assert later is not None
    assert later.expires == NOW + 60 + 600


@pytest.mark.parametrize(
    ("what", "at", "clock", "changes"),
    [
        ("the same clock", 300, 10_000, {}),
        ("an earlier clock", 300, 9_000, {}),
        ("made before the answer", -10, 20_000, {}),
        ("claims another backend", 300, 310_000, {"backend": "remote"}),
        ("claims another measurement", 300, 310_000, {"measurement": bytes(32)}),
    ],
)
def test_what_is_not_later_adds_nothing(what: str, at: float, clock: int, changes: dict[str, object]) -> None:
    host, chip = ProvenHost(), Chip()
    assert extend(live(host, chip), host, chip, at=at, clock=clock, now=400, **changes) is None


def test_a_chip_that_was_started_anew_adds_nothing() -> None:
    host, chip = ProvenHost(), Chip()
    verdict = live(host, chip)
    chip.tpm.resets += 1
    assert extend(verdict, host, chip, at=300, clock=310_000, now=400) is None


def test_another_chip_ends_the_verdict() -> None:
    host, chip, other = ProvenHost(), Chip(), Chip("other")
    verdict = live(host, chip)
    assert verdict.fingerprint is not None
    with pytest.raises(VerificationError, match=f"it was {verdict.fingerprint.hex()}, it is [0-9a-f]{{64}}") as refused:
        extend(verdict, host, other, at=300, clock=310_000, now=400)
    assert refused.value.factor == "attestation_key"


def test_another_process_ends_the_verdict() -> None:
    host, chip = ProvenHost(), Chip()
    verdict = live(host, chip)
    host.restart("second")
    with pytest.raises(VerificationError, match="process is a new one"):
        extend(verdict, host, chip, at=300, clock=310_000, now=400)


def test_evidence_that_does_not_hold_ends_the_verdict() -> None:
    host, chip = ProvenHost(), Chip()
    verdict = live(host, chip)
    statement = host.statement(NOW + 300).encode()
    other = chip.envelope(host.statement(NOW + 301).encode(), clock=310_000)
    with pytest.raises(VerificationError, match="made for something else"):
        VERIFIER.extend_untrusted(verdict, statement, other, now=NOW + 400)


def test_nothing_extends_a_software_key() -> None:
    host = ProvenHost()
    verdict = judge(host)
    statement = host.statement(NOW + 300).encode()
    assert verdict.order is None
    assert Verifier(policy=REQUIRING).extend_untrusted(verdict, statement, host.envelope(statement), now=NOW) is None


def test_a_counter_that_is_no_clock_says_what_came_first_only() -> None:
    """App Attest: the statement's own time counts, which the key has signed."""
    first, second = (HardwareOrder(line=b"key", count=count) for count in (4, 5))
    assert confirmed_at(first, second, answered_at=NOW, issued=NOW + 300) == NOW + 300
    assert confirmed_at(second, first, answered_at=NOW, issued=NOW + 300) is None
    other = HardwareOrder(line=b"another key", count=9)
    assert confirmed_at(first, other, answered_at=NOW, issued=NOW + 300) is None


def test_quotes_made_ahead_do_not_keep_a_verdict_for_more_than_an_hour() -> None:
    """A08: an owner sets the chip's clock forward and signs what is to be shown when the chip has long been sold."""
    host, chip = ProvenHost(), Chip()
    verdict = live(host, chip)
    for at in range(300, 7200, 300):
        later = extend(verdict, host, chip, at=at, clock=10_000 + at * 1000, now=at)
        assert (later is not None) is (at < 3000)
        verdict = later or verdict
        assert verdict.expires <= NOW + 3600
    assert verdict.verified_at == NOW


def test_later_evidence_that_turned_bad_ends_the_verdict() -> None:
    """The registers are no longer those of the policy's list: nobody waits ten minutes for the verdict's own end."""
    host, chip = ProvenHost(), Chip()
    good = chip.tpm.value(7).hex()
    listing = dataclasses.replace(
        REQUIRING, vendors={"tpm": {**REQUIRING.vendors["tpm"], "pcrs": MappingProxyType({"7": (good,)})}}
    )
    verifier = Verifier(policy=listing, registry={TYPE: KIND})
    answer = host.answer()
    shown = dataclasses.replace(answer, envelope=chip.envelope(answer.host_statement, clock=10_000))
    verdict = judge(host, shown, verifier=verifier)
    assert verdict.verdict.tier is Tier.HARDWARE_ROOTED
    chip.tpm.extend(7, b"\x07" * 32)
    statement = host.statement(NOW + 300).encode()
    with pytest.raises(VerificationError, match="PCR 7") as refused:
        verifier.extend_untrusted(verdict, statement, chip.envelope(statement, clock=310_000), now=NOW + 301)
    assert refused.value.factor == "platform_state"
