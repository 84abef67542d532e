"""A06 for AMD SEV-SNP: a software key in a chip's report, and a home-made AMD with all the right names."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kit.guests import AMD_NOW, CHIP_KEY, make_leaf, make_report, raw, snp_key, snp_report
from sealmesh.attestation.vendors import sevsnp
from sealmesh.attestation.vendors.der import read_certificate_untrusted
from sealmesh.attestation.vendors.sevsnp_chain import (
    GENERATIONS,
    check_endorsed,
    check_issued,
    load_issuer,
    read_endorsement_untrusted,
)
from sealmesh.attestation.vendors.sevsnp_report import parse_report_untrusted
from sealmesh.errors import VerificationError

#: What the genuine VCEK of the sample says of its chip.
CHIP = snp_report()[0x1A0:0x1E0]
TCB = snp_report()[0x180:0x188]


def refusal(report: bytes, leaf: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        sevsnp.judge_sevsnp_untrusted(raw(report, AMD_NOW, vcek=leaf))
    return caught.value


def test_a_software_key_signs_a_report_beside_a_genuine_certificate() -> None:
    software = ec.derive_private_key(0xBAD, ec.SECP384R1())
    forged = make_report(version=2, tcb=TCB, chip_id=CHIP, key=software)
    error = refusal(forged, snp_key())
    assert (error.factor, error.reason) == ("attestation_key", "the chip's key did not sign this report")


@pytest.mark.parametrize(
    ("issuer", "subject", "key_info", "chip_id"),
    [
        ("SEV-Milan", "SEV-VCEK", 0, bytes(range(64))),
        ("SEV-Genoa", "SEV-VCEK", 0, bytes(range(64))),
        ("SEV-VLEK-Milan", "SEV-VLEK", 1 << 2, None),
        ("SEV-VLEK-Turin", "SEV-VLEK", 1 << 2, None),
    ],
    ids=["vcek-milan", "vcek-genoa", "vlek-milan", "vlek-turin"],
)
def test_a_home_made_amd_with_the_right_names(issuer: str, subject: str, key_info: int, chip_id: bytes | None) -> None:
    """All shapes hold: names, extensions, algorithm, the report's own signature. Only AMD's signature is not AMD's."""
    parts = {1: 3, 2: 0, 3: 8, 8: 115, 9: 0}
    leaf = make_leaf(issuer=issuer, subject=subject, tcb=parts, chip_id=chip_id)
    error = refusal(make_report(version=2, key_info=key_info), leaf)
    assert (error.factor, error.reason) == ("vendor_chain", "AMD did not sign this certificate")


def test_the_forgery_is_good_but_for_its_root() -> None:
    """Else the tests above would hold for another reason."""
    leaf = read_certificate_untrusted(make_leaf())
    endorsement = read_endorsement_untrusted(leaf, GENERATIONS[0], "vcek")
    report = parse_report_untrusted(make_report(version=2))
    check_endorsed(report, endorsement)
    sevsnp.check_signature(report, endorsement)


def test_amds_keys_do_not_vouch_for_each_others_generation() -> None:
    milan, _ = load_issuer("milan", "ask")
    genoa, root = load_issuer("genoa", "ask")
    check_issued(genoa, root)
    with pytest.raises(VerificationError):
        check_issued(milan, root)


def test_a_report_of_a_debug_guest_is_no_proof_however_genuine() -> None:
    error = refusal(snp_report("gsg_attestation.bin"), snp_key("gsg_vcek.der"))
    assert error.factor == "platform_state"
    assert "genuine" in error.reason


def test_the_key_of_the_forger_is_not_the_samples() -> None:
    genuine = read_certificate_untrusted(snp_key()).public_key
    assert read_certificate_untrusted(make_leaf(key=CHIP_KEY)).public_key != genuine
