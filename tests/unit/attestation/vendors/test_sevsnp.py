"""AMD SEV-SNP: real Milan reports; Genoa, Turin, VLEK and the later layouts as made here."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit.guests import (
    AMD_NOW,
    MEASUREMENT,
    flips,
    make_leaf,
    make_report,
    of_host,
    policy,
    raw,
    snp_key,
    snp_report,
)
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.vendors import sevsnp
from sealmesh.attestation.vendors.der import read_certificate_untrusted
from sealmesh.attestation.vendors.guest import Judgement, keeps_owner_out
from sealmesh.attestation.vendors.raw import RawFinding
from sealmesh.attestation.vendors.sevsnp_chain import (
    GENERATIONS,
    Endorsement,
    check_endorsed,
    check_issued,
    load_issuer,
    read_endorsement_untrusted,
    verify_leaf_untrusted,
)
from sealmesh.attestation.vendors.sevsnp_report import parse_report_untrusted
from sealmesh.errors import VerificationError

MILAN, GENOA, TURIN = GENERATIONS
CARRIED = snp_report()[0x50:0x90]
DIGEST = snp_report()[0x90:0xC0].hex()
FACTORS = {"attestation_key", "vendor_chain", "platform_state"}
LISTED = f'[snp]\nmeasurements = ["{DIGEST}"]'


def judge(data: bytes | None = None, now: float = AMD_NOW, leaf: bytes | None = None, **more: object) -> RawFinding:
    given = {"vcek": snp_key() if leaf is None else leaf}
    return sevsnp.judge_sevsnp_untrusted(raw(snp_report() if data is None else data, now, **given, **more))


def refusal(**change: object) -> str:
    with pytest.raises(VerificationError) as caught:
        judge(**change)  # type: ignore[arg-type]
    return caught.value.factor


def made(
    report: bytes, generation: int = 1, kind: str = "vcek", *, rules: str = "", **leaf: object
) -> tuple[Judgement, Endorsement]:
    """A made report judged from the step behind AMD's signature on."""
    der = make_leaf(**leaf)  # type: ignore[arg-type]
    endorsement = read_endorsement_untrusted(read_certificate_untrusted(der), GENERATIONS[generation], kind)
    parsed = parse_report_untrusted(report)
    check_endorsed(parsed, endorsement)
    sevsnp.check_signature(parsed, endorsement)
    return sevsnp.judge_report(parsed, endorsement, policy(rules).vendors.get("snp", {})), endorsement


def load_with_cryptography(data: bytes) -> tuple[x509.Certificate, int]:
    certificate = x509.load_der_x509_certificate(data)
    return certificate, certificate.serial_number


class TestTheRealReport:
    def test_it_is_genuine_and_its_code_is_unknown(self) -> None:
        finding = judge()
        assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False, False)
        assert {one.factor: one.status for one in finding.factors} == {
            FactorId.BINDING: Status.ABSENT,
            FactorId.VENDOR_CHAIN: Status.PASS,
            FactorId.ATTESTATION_KEY: Status.PASS,
            FactorId.PLATFORM_STATE: Status.PASS,
            FactorId.CODE_MEASUREMENT: Status.ABSENT,
        }
        assert finding.claims["product"] == "milan"
        assert finding.claims["tcb"] == "bl=3 tee=0 snp=8 ucode=115"

    def test_a_listed_digest_makes_it_confidential(self) -> None:
        finding = judge(rules=LISTED)
        assert (finding.tier_if_bound, finding.code_measured) == (Tier.CONFIDENTIAL, True)
        # A file says nothing of where the model runs.
        assert finding.operator_blind is OperatorBlind.NO

    def test_another_listed_digest_does_not(self) -> None:
        finding = judge(rules=f'[snp]\nmeasurements = ["{"00" * 48}"]')
        assert (finding.tier_if_bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False)

    def test_hexadecimal_and_pem_are_read(self) -> None:
        assert judge(snp_report().hex().encode()).tier_if_bound is Tier.HARDWARE_ROOTED
        with pytest.warns(match="serial number"):
            pem = x509.load_der_x509_certificate(snp_key()).public_bytes(Encoding.PEM)
        assert judge(leaf=pem).tier_if_bound is Tier.HARDWARE_ROOTED
        assert refusal(leaf=pem + pem) == "vendor_chain"

    @pytest.mark.parametrize("word", ["nonce", "report_data"])
    def test_it_is_bound_to_what_it_signed(self, word: str) -> None:
        assert judge(**{word: CARRIED}).bound  # type: ignore[arg-type]
        for other in (CARRIED[:32], bytes(64), CARRIED + b"x", CARRIED[:-1] + b"x"):
            finding = judge(**{word: other})  # type: ignore[arg-type]
            assert not finding.bound
            assert finding.factors[0].status is Status.FAIL

    def test_nothing_asked_is_not_bound(self) -> None:
        assert not judge(nonce=b"", report_data=b"").bound

    @pytest.mark.parametrize("now", [1_680_000_000.0, 1_901_700_000.0, 0.0, 1e300, float("nan")])
    def test_outside_its_time(self, now: float) -> None:
        assert refusal(now=now) == "vendor_chain"

    def test_without_its_certificate(self) -> None:
        with pytest.raises(VerificationError, match="--with vcek="):
            sevsnp.judge_sevsnp_untrusted(raw(snp_report(), AMD_NOW))

    def test_beside_another_chips_certificate(self) -> None:
        assert refusal(leaf=snp_key("gsg_vcek.der")) == "vendor_chain"

    def test_the_debug_guest_is_genuine_and_refused(self) -> None:
        report, key = snp_report("gsg_attestation.bin"), snp_key("gsg_vcek.der")
        parsed, endorsement = sevsnp.verify_report_untrusted(report, key, AMD_NOW)
        assert (parsed.debug, endorsement.generation) == (True, MILAN)
        measurement = parsed.measurement.hex()
        for rules in ("", f'[snp]\nmeasurements = ["{measurement}"]'):
            assert refusal(data=report, leaf=key, rules=rules) == "platform_state"

    def test_every_byte_of_the_report_is_looked_at(self) -> None:
        # Unsigned are 0x2A0 to the end: r, s, and zeros. None may change.
        for offset, changed in flips(snp_report()):
            assert refusal(data=changed) in FACTORS, f"byte {offset:#x}"

    def test_every_byte_of_the_certificate_is_looked_at(self) -> None:
        for offset, changed in flips(snp_key()):
            assert refusal(leaf=changed) in FACTORS, f"byte {offset:#x}"

    @pytest.mark.parametrize(
        "data", [b"", snp_report()[:-1], snp_report() + b"\x00", snp_report().hex().encode() + b"00"]
    )
    def test_cut_or_followed(self, data: bytes) -> None:
        assert refusal(data=data) == "attestation_key"

    @pytest.mark.parametrize("leaf", [snp_key()[:-1], snp_key() + b"\x00", b"\x30", b"\x30\x80\x00\x00"])
    def test_a_certificate_cut_or_followed(self, leaf: bytes) -> None:
        assert refusal(leaf=leaf) == "vendor_chain"


class TestForAHost:
    def find(self, **change: object) -> object:
        words = {"binding": CARRIED, "endorsements": {sevsnp.ENDORSEMENT_TYPE: snp_key()}, **change}
        return sevsnp.KIND.verify_untrusted(of_host(sevsnp.TYPE, snp_report(), AMD_NOW, **words))  # type: ignore[arg-type]

    def test_it_is_found(self) -> None:
        finding = sevsnp.KIND.verify_untrusted(
            of_host(
                sevsnp.TYPE,
                snp_report(),
                AMD_NOW,
                binding=CARRIED,
                rules=LISTED,
                endorsements={sevsnp.ENDORSEMENT_TYPE: snp_key()},
            )
        )
        assert (finding.tier, finding.code_measured, finding.pinnable) == (Tier.CONFIDENTIAL, True, False)
        assert (FactorId.BINDING, Status.PASS) in {(one.factor, one.status) for one in finding.factors}
        key = read_certificate_untrusted(snp_key()).public_key
        assert finding.fingerprint == hashlib.sha256(key).digest()

    def test_milan_is_blind_only_by_the_policys_word(self) -> None:
        for more, blind in (("", OperatorBlind.NO), ("\nmilan_blind = true", OperatorBlind.SOFTWARE)):
            assert self.find(rules=LISTED + more).operator_blind is blind  # type: ignore[attr-defined]

    def test_unused_report_data(self) -> None:
        with pytest.raises(VerificationError, match="unused report data"):
            self.find(binding=CARRIED[:32])

    @pytest.mark.parametrize("stapled", [{}, {"application/other": snp_key()}])
    def test_without_its_certificate(self, stapled: dict[str, bytes]) -> None:
        with pytest.raises(VerificationError, match="not stapled"):
            self.find(endorsements=stapled)

    def test_two_certificates_are_one_too_many(self) -> None:
        evidence = of_host(
            sevsnp.TYPE,
            snp_report(),
            AMD_NOW,
            binding=CARRIED,
            endorsements={sevsnp.ENDORSEMENT_TYPE: snp_key()},
        )
        other = Record(type=sevsnp.ENDORSEMENT_TYPE, data=snp_key("gsg_vcek.der"), role=Role.ENDORSEMENT)
        both = Envelope(records={**evidence.envelope.records, "other": other})
        with pytest.raises(VerificationError, match="more than once"):
            sevsnp.KIND.verify_untrusted(dataclasses.replace(evidence, envelope=both))


class TestGenerationsAndLayouts:
    RULES = f'[snp]\nmeasurements = ["{MEASUREMENT.hex()}"]'
    TURIN_TCB = bytes([1, 2, 3, 4, 0, 0, 0, 77])
    TURIN_PARTS: ClassVar = {9: 1, 1: 2, 2: 3, 3: 4, 8: 77}

    @pytest.mark.parametrize("version", [2, 3, 4, 5])
    def test_every_layout(self, version: int) -> None:
        judgement, _ = made(make_report(version=version), rules=self.RULES)
        assert judgement.tier is Tier.CONFIDENTIAL
        assert judgement.blinds

    @pytest.mark.parametrize("version", [0, 1, 6, 2**32 - 1])
    def test_unknown_layouts(self, version: int) -> None:
        with pytest.raises(VerificationError, match="version"):
            parse_report_untrusted(make_report(version=version))

    def test_turin_counts_otherwise_and_has_short_chip_ids(self) -> None:
        chip = b"TURINCHP"
        report = make_report(version=5, tcb=self.TURIN_TCB, processor=(0x1A, 0x02), chip_id=chip.ljust(64, b"\x00"))
        judgement, _ = made(report, 2, tcb=self.TURIN_PARTS, chip_id=chip)
        assert judgement.claims["tcb"] == "fmc=1 bl=2 tee=3 snp=4 ucode=77"
        assert made(report, 2, tcb=self.TURIN_PARTS, chip_id=b"\x04\x08" + chip)
        with pytest.raises(VerificationError, match="another chip"):
            made(report, 2, tcb=self.TURIN_PARTS, chip_id=b"TURINCHX")
        with pytest.raises(VerificationError, match="another firmware"):
            made(report, 2, tcb={**self.TURIN_PARTS, 9: 2}, chip_id=chip)
        longer = make_report(version=5, tcb=self.TURIN_TCB, processor=(0x1A, 0x02), chip_id=chip.ljust(64, b"\x01"))
        with pytest.raises(VerificationError, match="another chip"):
            made(longer, 2, tcb=self.TURIN_PARTS, chip_id=chip)

    @pytest.mark.parametrize("processor", [(0x19, 0x01), (0x1A, 0x02), (0x17, 0x11), (0xFF, 0xFF)])
    def test_a_processor_of_another_generation(self, processor: tuple[int, int]) -> None:
        with pytest.raises(VerificationError, match="generation"):
            made(make_report(processor=processor))

    def test_a_clouds_key_names_no_chip(self) -> None:
        report = make_report(key_info=1 << 2, chip_id=bytes(64))
        judgement, endorsement = made(report, 1, "vlek", issuer="SEV-VLEK-Genoa", subject="SEV-VLEK", chip_id=None)
        assert judgement.claims["key"] == "vlek"
        assert endorsement.chip_id == b""

    @pytest.mark.parametrize(("key_info", "kind"), [(0, "vlek"), (1 << 2, "vcek"), (7 << 2, "vcek"), (2 << 2, "vcek")])
    def test_another_kind_of_key(self, key_info: int, kind: str) -> None:
        with pytest.raises(VerificationError, match="kind of key"):
            made(make_report(key_info=key_info, processor=(0x19, 0x11)), 1, kind)

    def test_a_chip_id_is_left_out_only_if_the_report_says_so(self) -> None:
        made(make_report(key_info=2, chip_id=bytes(64), processor=(0x19, 0x11)))
        with pytest.raises(VerificationError, match="another chip"):
            made(make_report(key_info=0, chip_id=bytes(64), processor=(0x19, 0x11)))


class TestPolicy:
    def report(self, **change: object) -> bytes:
        return make_report(processor=(0x19, 0x11), **change)  # type: ignore[arg-type]

    def test_vmpl(self) -> None:
        with pytest.raises(VerificationError, match="less privileged") as caught:
            made(self.report(vmpl=1))
        assert caught.value.factor == "platform_state"
        made(self.report(vmpl=1), rules="[snp]\nmax_vmpl = 1")
        with pytest.raises(VerificationError, match="less privileged"):
            made(self.report(vmpl=2), rules="[snp]\nmax_vmpl = 1")

    def test_a_report_that_the_host_asked_for(self) -> None:
        with pytest.raises(VerificationError, match="the host asked"):
            made(self.report(vmpl=0xFFFFFFFF), rules="[snp]\nmax_vmpl = 4294967295")

    @pytest.mark.parametrize(
        ("floor", "fits"),
        [
            ("snp = 8", True),
            ("snp = 9", False),
            ("ucode = 116", False),
            ("genoa_snp = 9", False),
            ("milan_snp = 9", True),
            ("snp = 9, genoa_snp = 8", True),
        ],
    )
    def test_the_firmwares_floor(self, floor: str, fits: bool) -> None:
        rules = f"[snp]\nmin_tcb = {{ {floor} }}"
        if fits:
            made(self.report(), rules=rules)
        else:
            with pytest.raises(VerificationError, match="older") as caught:
                made(self.report(), rules=rules)
            assert caught.value.factor == "platform_state"

    def test_debug_whatever_the_lists_say(self) -> None:
        with pytest.raises(VerificationError, match="debug"):
            made(self.report(policy_bits=0x30000 | 1 << 19), rules=TestGenerationsAndLayouts.RULES)

    def test_a_guest_that_may_be_moved_is_not_confidential(self) -> None:
        judgement, _ = made(self.report(policy_bits=0x30000 | 1 << 18), rules=TestGenerationsAndLayouts.RULES)
        assert (judgement.tier, judgement.code_measured) == (Tier.HARDWARE_ROOTED, True)

    def test_other_signatures(self) -> None:
        with pytest.raises(VerificationError, match="another way"):
            made(self.report(algorithm=2))


class TestWhoIsBlind:
    def test_only_with_everything_in_the_guest(self) -> None:
        rules = TestGenerationsAndLayouts.RULES
        judgement, _ = made(make_report(processor=(0x19, 0x11)), rules=rules)
        statement = of_host("x", b"", AMD_NOW, binding=b"").statement
        assert keeps_owner_out(judgement, statement)
        for change in ({"backend": "remote"}, {"accelerators": ("a gpu",)}):
            assert not keeps_owner_out(judgement, dataclasses.replace(statement, **change))  # type: ignore[arg-type]
        unlisted, _ = made(make_report(processor=(0x19, 0x11)))
        assert not keeps_owner_out(unlisted, statement)


class TestCertificates:
    @pytest.mark.parametrize("name", ["gsg_vcek.der", "virtee_vcek_milan.der"])
    def test_this_reader_reads_what_cryptography_reads(self, name: str) -> None:
        """The test that will tell: AMD's serial number is zero, and `cryptography` says it will stop loading that."""
        mine = read_certificate_untrusted(snp_key(name))
        with pytest.warns(match="serial number"):
            theirs, serial = load_with_cryptography(snp_key(name))
        assert serial == 0
        assert mine.signed == theirs.tbs_certificate_bytes
        assert mine.signature == theirs.signature
        assert mine.issuer == theirs.issuer.public_bytes()
        assert mine.subject == theirs.subject.public_bytes()
        assert mine.not_before == theirs.not_valid_before_utc.timestamp()
        assert mine.not_after == theirs.not_valid_after_utc.timestamp()
        key = theirs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert mine.public_key == key
        assert len(mine.extensions) == len(theirs.extensions)

    def test_the_shipped_chains_hold(self) -> None:
        for generation in GENERATIONS:
            for kind in ("ask", "asvk"):
                issuer, root = load_issuer(generation.name, kind)
                assert issuer.issuer == root.subject == root.issuer

    def test_a_leaf_without_its_extensions(self) -> None:
        for change in ({"tcb": {1: 3}}, {"chip_id": None}, {"chip_id": b"short"}):
            leaf = read_certificate_untrusted(make_leaf(**change))  # type: ignore[arg-type]
            with pytest.raises(VerificationError) as caught:
                read_endorsement_untrusted(leaf, MILAN, "vcek")
            assert caught.value.factor == "vendor_chain"

    def test_a_certificate_that_names_two_ways_of_signing(self) -> None:
        # The outer name is not signed. The library's own default would hide a change of it.
        algorithm = read_certificate_untrusted(snp_key()).algorithm
        head, tail = snp_key().rsplit(algorithm, 1)
        with pytest.raises(VerificationError, match="two ways"):
            read_certificate_untrusted(head + algorithm[:-1] + bytes([algorithm[-1] ^ 1]) + tail)

    def test_a_certificate_signed_in_another_way_than_amds(self) -> None:
        issuer, root = load_issuer("milan", "ask")
        with pytest.raises(VerificationError, match="another way of signing"):
            check_issued(dataclasses.replace(issuer, algorithm=b"\x30\x00"), root)

    def test_an_issuer_of_no_name_of_amds(self) -> None:
        with pytest.raises(VerificationError, match="not AMD's"):
            verify_leaf_untrusted(make_leaf(issuer="SEV-Naples"), AMD_NOW)
