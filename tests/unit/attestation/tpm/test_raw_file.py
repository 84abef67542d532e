"""Raw TPM files: go-tpm-tools' real attestation of a GCE machine, and tpm2-tools' parts."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from kit.attested import NOW
from kit.tpm import SHA1, Firmware, ModelTpm, Vendor, der, p256, pem, sized
from sealmesh.attestation.appraise import appraise_raw_untrusted
from sealmesh.attestation.factors import FactorId, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.raw import RawFinding, RawInput
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.attestation.vendors.tpm import RAW_KIND
from sealmesh.attestation.vendors.tpm.gotools import parse_attestation_untrusted
from sealmesh.errors import VerificationError

SAMPLE = (Path(__file__).parents[4] / "testvectors/evidence/gce/gce-cos-85-nonce9009.pb").read_bytes()
NONCE = bytes.fromhex("9009")
GCE = RawInput(data=SAMPLE, nonce=NONCE, policy=Policy(), now=NOW)
PARTS = parse_attestation_untrusted(SAMPLE)
VENDOR = Vendor()


def judge(evidence: RawInput) -> RawFinding:
    return RAW_KIND.judge_untrusted(evidence)


def test_the_real_file() -> None:
    finding = judge(GCE)
    assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, True, False)
    assert {one.status for one in finding.factors} == {Status.PASS}
    assert finding.claims == {
        "attestation_key": "000bf175bdb57297b2b289973f819863d6c9d09c236725676914f4248c9a2404c2a4",
        "vendor": "google",
        "tpm_firmware": "2016051100162800",
        "tpm_resets": "10",
        "tpm_restarts": "0",
        "pcr_bank": "sha256",
        "pcrs_quoted": ",".join(str(one) for one in range(24)),
        "pcrs_unexplained": "10",  # IMA
        "boot_events": "44",
        "secure_boot": "on",
        "extra_data": "9009",
    }
    assert appraise_raw_untrusted(RAW_KIND, GCE).verified


@pytest.mark.parametrize("changes", [{"nonce": b"\x90\x08"}, {"nonce": b""}, {"report_data": NONCE + b"\0"}])
def test_another_nonce(changes: dict[str, bytes]) -> None:
    finding = judge(replace(GCE, **changes))
    assert (finding.bound, finding.tier_if_bound) == (False, Tier.HARDWARE_ROOTED)
    assert {one.factor: one.status for one in finding.factors}[FactorId.BINDING] is Status.FAIL
    assert not appraise_raw_untrusted(RAW_KIND, replace(GCE, **changes)).verified


def test_without_a_nonce() -> None:
    finding = judge(replace(GCE, nonce=None))
    assert not finding.bound
    assert FactorId.BINDING not in {one.factor for one in finding.factors}
    assert not appraise_raw_untrusted(RAW_KIND, replace(GCE, nonce=None)).verified
    assert appraise_raw_untrusted(RAW_KIND, replace(GCE, nonce=None), unbound=True).verified


def test_report_data_is_looked_for_in_the_same_place() -> None:
    assert judge(replace(GCE, nonce=None, report_data=NONCE)).bound


@pytest.mark.parametrize("day", ["2021-08-31T23:11:04Z", "2051-08-24T23:16:06Z"])
def test_outside_its_time(day: str) -> None:
    with pytest.raises(VerificationError, match="not valid at this time") as refused:
        judge(replace(GCE, now=datetime.datetime.fromisoformat(day).timestamp()))
    assert refused.value.factor == "vendor_chain"


def test_a_policy_without_its_vendor() -> None:
    with pytest.raises(VerificationError, match="pinned root"):
        judge(replace(GCE, policy=Policy(vendors={"tpm": {"vendors": ("infineon",)}})))


def test_without_its_certificate_it_shows_no_vendor() -> None:
    cut = SAMPLE[: -1340 - 3]
    finding = judge(replace(GCE, data=cut))
    assert finding.tier_if_bound is Tier.SELF_ASSERTED
    appraisal = appraise_raw_untrusted(RAW_KIND, replace(GCE, data=cut))
    assert (appraisal.verified, appraisal.tier) == (False, Tier.SELF_ASSERTED)
    again = judge(replace(GCE, data=cut, given={"ak": PARTS.ak_certificate}))
    assert again.tier_if_bound is Tier.HARDWARE_ROOTED


def test_the_intermediate_given_by_hand_changes_nothing() -> None:
    given = {"ca": load_root("tpm", "google_ek_intermediate_2.pem"), "root": load_root("tpm", "infineon_rsa_root.pem")}
    assert judge(replace(GCE, given=given)).claims["vendor"] == "google"


def test_trailing_bytes_and_cuts() -> None:
    for data in (SAMPLE + b"\0", SAMPLE[:-1], SAMPLE + SAMPLE, b"", SAMPLE[1:]):
        with pytest.raises(VerificationError):
            judge(replace(GCE, data=data))


def regions() -> dict[str, list[range]]:
    """Where in the file everything lies that something signed covers."""
    found: dict[str, list[range]] = {"key": [], "quote": [], "values": [], "certificate": []}

    def note(name: str, piece: bytes, start: int = 0) -> int:
        at = SAMPLE.index(piece, start)
        found[name].append(range(at, at + len(piece)))
        return at + len(piece)

    note("key", PARTS.ak_public)
    for one in PARTS.quotes:
        at = note("quote", one.signature, note("quote", one.attest))
        length = len(one.values) // 24
        for pcr in range(24):
            value = one.values[pcr * length : (pcr + 1) * length]
            note("values", b"\x08" + bytes([pcr, 0x12, length]) + value, at)
    note("certificate", PARTS.ak_certificate)
    return found


def log_digests() -> list[range]:
    start = SAMPLE.index(PARTS.event_log)
    position, found = start + 32 + int.from_bytes(PARTS.event_log[28:32], "little"), []
    while position < start + len(PARTS.event_log):
        found.append(range(position, position + 4))  # the register
        position += 12
        for length in (20, 32, 48):
            found.append(range(position, position + 2 + length))
            position += 2 + length
        position += 4 + int.from_bytes(SAMPLE[position : position + 4], "little")
    return found


@pytest.mark.parametrize(("name", "step"), [("key", 1), ("quote", 3), ("values", 7), ("certificate", 3)])
def test_flipped_bits_of_what_is_signed(name: str, step: int) -> None:
    """`test_structures.py` flips a bit of every byte of these structures; here, within the real file."""
    positions = [one for piece in regions()[name] for one in piece]
    for position in positions[::step]:
        changed = SAMPLE[:position] + bytes([SAMPLE[position] ^ 1 << position % 8]) + SAMPLE[position + 1 :]
        with pytest.raises(VerificationError):
            judge(replace(GCE, data=changed))


def test_flipped_bits_of_the_logs_digests() -> None:
    for position in [one for piece in log_digests() for one in piece][::7]:
        changed = SAMPLE[:position] + bytes([SAMPLE[position] ^ 1 << position % 8]) + SAMPLE[position + 1 :]
        with pytest.raises(VerificationError):
            judge(replace(GCE, data=changed))


def test_what_no_signature_covers() -> None:
    """The file's tags and lengths; of its log the header, the events' types, and data that is not what was extended.

    Whatever is changed there, the verdict says the same or less: no factor passes that did not, no claim gets better.
    """
    honest = judge(GCE)
    passed = {one.factor for one in honest.factors if one.status is Status.PASS}
    covered = {at for pieces in (*regions().values(), log_digests()) for piece in pieces for at in piece}
    left = [at for at in range(len(SAMPLE)) if at not in covered]
    taken = 0
    for position in left[::29]:
        changed = SAMPLE[:position] + bytes([SAMPLE[position] ^ 1 << position % 8]) + SAMPLE[position + 1 :]
        try:
            finding = judge(replace(GCE, data=changed))
        except VerificationError:
            continue
        taken += 1
        assert finding.tier_if_bound <= honest.tier_if_bound
        assert {one.factor for one in finding.factors if one.status is Status.PASS} <= passed
        assert finding.claims["secure_boot"] in ("on", "unknown")
        same = set(honest.claims) - {"secure_boot", "pcrs_unexplained", "boot_events", "vendor"}
        assert all(finding.claims[name] == honest.claims[name] for name in same)
    assert taken


# --- tpm2-tools -----------------------------------------------------------------------------------------------------


def parts(*, bank: int = 0x0B, wrapped: bool = False, **given: bytes) -> RawInput:
    firmware = Firmware(ModelTpm(ek=p256("ek")))
    log = firmware.boot()
    tpm = firmware.tpm
    quote = tpm.quote(b"nonce", range(10), bank)
    wrap = sized if wrapped else bytes
    companions = {
        "public": wrap(tpm.ak_public),
        "signature": quote.signature,
        "pcrs": quote.values,
        "log": log,
        "ak": der(VENDOR.ak(tpm)),
        "ca": pem(VENDOR.issuer),
        "root": pem(VENDOR.root),
    }
    return RawInput(
        data=wrap(quote.attest),
        given={role: value for role, value in (companions | given).items() if value},
        nonce=b"nonce",
        policy=Policy(),
        now=NOW,
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_quote_with_its_companions(wrapped: bool) -> None:
    finding = judge(parts(wrapped=wrapped))
    assert (finding.tier_if_bound, finding.bound) == (Tier.HARDWARE_ROOTED, True)
    assert (finding.claims["vendor"], finding.claims["secure_boot"]) == ("extra", "on")


def test_with_an_endorsement_key_alone_it_is_the_keys_own_word() -> None:
    tpm = ModelTpm(ek=p256("ek"))
    finding = judge(parts(ak=b"", ek=der(VENDOR.ek(tpm))))
    assert finding.tier_if_bound is Tier.SELF_ASSERTED
    absent = {one.factor for one in finding.factors if one.status is Status.ABSENT}
    assert absent == {FactorId.ACTIVATION, FactorId.VENDOR_CHAIN}
    with pytest.raises(VerificationError, match="pinned root"):
        judge(parts(ak=b"", ek=der(VENDOR.ek(tpm)), root=b""))


@pytest.mark.parametrize("role", ["public", "signature", "pcrs"])
def test_a_companion_that_is_missing(role: str) -> None:
    with pytest.raises(VerificationError, match=f"--with {role}="):
        judge(parts(**{role: b""}))
    assert role in RAW_KIND.roles


def test_several_certificates_where_one_is_meant() -> None:
    with pytest.raises(VerificationError, match="one certificate"):
        judge(parts(ak=pem(VENDOR.root, VENDOR.issuer)))


def test_the_sha1_bank_alone() -> None:
    with pytest.raises(VerificationError, match="only registers of the SHA-1 bank") as refused:
        judge(parts(bank=SHA1))
    assert refused.value.factor == "platform_state"
