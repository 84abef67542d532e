"""AWS Nitro: a real document, and what cannot be one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.guests import EVIDENCE, NITRO_NOW, flips, nitro_document, of_host, policy, raw, sample
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.vendors import nitro
from sealmesh.attestation.vendors.base import Finding
from sealmesh.attestation.vendors.nitro_document import DOCUMENT_MAX, parse_document_untrusted, unwrap_dstack_untrusted
from sealmesh.attestation.vendors.raw import RawFinding
from sealmesh.errors import VerificationError

DOCUMENT = nitro_document()
PCRS = parse_document_untrusted(DOCUMENT).pcrs
FACTORS = {"attestation_key", "vendor_chain", "platform_state"}


def listing(*numbers: int, **wrong: str) -> str:
    rows = [f'{number} = ["{PCRS[number].hex()}"]' for number in numbers]
    rows += [f'{name.removeprefix("pcr")} = ["{value}"]' for name, value in wrong.items()]
    return "[nitro.pcrs]\n" + "\n".join(rows)


def judge(data: bytes = DOCUMENT, now: float = NITRO_NOW, **more: object) -> RawFinding:
    return nitro.judge_nitro_untrusted(raw(data, now, **more))  # type: ignore[arg-type]


def refusal(data: bytes = DOCUMENT, **change: object) -> str:
    with pytest.raises(VerificationError) as caught:
        judge(data, **change)  # type: ignore[arg-type]
    return caught.value.factor


class TestTheRealDocument:
    def test_it_is_genuine_and_its_code_is_unknown(self) -> None:
        finding = judge()
        assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False, False)
        assert finding.claims["module_id"].startswith("i-0827e799ec9232d44-enc")
        assert {"pcr0", "pcr1", "pcr2", "pcr4"} == {key for key in finding.claims if key.startswith("pcr")}

    def test_listed_registers_make_it_confidential(self) -> None:
        for rules in (listing(0, 1, 2), listing(0, 1, 2, 4)):
            finding = judge(rules=rules)
            assert (finding.tier_if_bound, finding.code_measured) == (Tier.CONFIDENTIAL, True)
            assert finding.operator_blind is OperatorBlind.NO

    @pytest.mark.parametrize(
        "rules",
        [
            listing(0, 1),
            listing(0, 2),
            listing(1, 2),
            listing(4),
            listing(0, 1, pcr2="00" * 48),
            listing(0, 1, 2, pcr8="11" * 48),
        ],
    )
    def test_less_does_not(self, rules: str) -> None:
        finding = judge(rules=rules)
        assert (finding.tier_if_bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False)

    def test_the_container_of_dstack_is_read(self) -> None:
        data = sample("nitro/dstack_nitro.bin")
        assert unwrap_dstack_untrusted(data) == DOCUMENT
        assert judge(data).tier_if_bound is Tier.HARDWARE_ROOTED
        for changed in (data + b"\x00", data[:-1], data[:4], data[:2]):
            assert refusal(changed) == "attestation_key"

    def test_a_tag_is_read(self) -> None:
        assert judge(b"\xd2" + DOCUMENT).tier_if_bound is Tier.HARDWARE_ROOTED
        assert refusal(b"\xd2\xd2" + DOCUMENT) == "attestation_key"

    def test_it_is_bound_to_its_user_data(self) -> None:
        assert judge(report_data=bytes(64)).bound
        for word in ("nonce", "report_data"):
            finding = judge(**{word: b"other"})
            assert not finding.bound
            assert finding.factors[0].status is Status.FAIL

    def test_outside_its_time(self) -> None:
        # The leaf holds from 13:15:34Z to 16:15:37Z, the document is of 13:15:37Z.
        assert judge(now=1_766_668_500.0).tier_if_bound is Tier.HARDWARE_ROOTED  # a clock 37 seconds behind
        for now in (1_766_668_470.0, 1_766_679_338.0, 0.0, 1e300, float("nan")):
            assert refusal(now=now) == "vendor_chain"

    def test_every_byte_is_looked_at(self) -> None:
        # The whole file is the frame, the signed document and the signature; of the frame, one form is taken.
        for offset, changed in flips(DOCUMENT, step=3):
            assert refusal(changed) in FACTORS, f"byte {offset}"

    @pytest.mark.parametrize("data", [b"", DOCUMENT[:-1], DOCUMENT + b"\x00", DOCUMENT[:40], b"\x84", DOCUMENT[:10]])
    def test_cut_or_followed(self, data: bytes) -> None:
        assert refusal(data) == "attestation_key"
        with pytest.raises(VerificationError, match="malformed"):
            parse_document_untrusted(data)

    def test_the_sample_in_the_repository_is_the_published_one(self) -> None:
        assert (EVIDENCE / "nitro/dstack_nitro.bin").stat().st_size == 4682


class TestForAHost:
    def find(self, rules: str = "", binding: bytes = bytes(32), **statement: object) -> Finding:
        evidence = of_host(nitro.TYPE, DOCUMENT, NITRO_NOW, binding=binding, rules=rules, **statement)
        return nitro.KIND.verify_untrusted(evidence)

    def test_it_is_found(self) -> None:
        finding = self.find(listing(0, 1, 2))
        assert (finding.tier, finding.code_measured, finding.pinnable) == (Tier.CONFIDENTIAL, True, False)
        assert finding.operator_blind is OperatorBlind.SOFTWARE
        assert (FactorId.BINDING, Status.PASS) in {(one.factor, one.status) for one in finding.factors}
        assert finding.claims["keeps_out"] == "the instance's owner, not AWS"

    def test_nobody_is_blind_by_unknown_code_or_a_model_elsewhere(self) -> None:
        assert self.find().operator_blind is OperatorBlind.NO
        assert self.find(listing(0, 1, 2), backend="remote").operator_blind is OperatorBlind.NO
        assert self.find(listing(0, 1, 2), accelerators=("a gpu",)).operator_blind is OperatorBlind.NO


class TestReading:
    def frame(self, payload: bytes) -> bytes:
        head = bytes.fromhex("8444a1013822a059") + len(payload).to_bytes(2, "big")
        return head + payload + bytes.fromhex("5860") + bytes(96)

    @pytest.mark.parametrize(
        ("payload", "why"),
        [
            (b"", "cut"),
            (b"\xa0", "SHA-384"),
            (b"\x80", "another kind"),
            (b"\xa0\xa0", "follow"),
            (b"\xbf", "cut"),
            (b"\xb8\xff", "too many"),
            (b"\xbf" + b"".join(b"\x18" + bytes([n]) + b"\x00" for n in range(24, 60)) + b"\xff", "too many"),
            (b"\xa2\x00\x00\x00\x00", "twice"),
            (b"\xa1\x40\x00", "another kind"),
            (b"\x81\x81\x81\x00", "kind"),
            (b"\xc0\x00", "kind"),
            (b"\x20", "kind"),
            (b"\xf5", "kind"),
            (b"\xfb" + bytes(8), "another form"),
            (b"\x1c", "another form"),
            (b"\x5f\x41a\xff", "another form"),
            (b"\x61\xff", "UTF-8"),
            (b"\x9b" + b"\xff" * 8, "too many"),
            (b"\x5b" + b"\xff" * 8, "cut"),
        ],
    )
    def test_what_aws_does_not_write(self, payload: bytes, why: str) -> None:
        with pytest.raises(VerificationError, match=why) as caught:
            parse_document_untrusted(self.frame(payload))
        assert caught.value.factor == "attestation_key"

    def test_too_long(self) -> None:
        with pytest.raises(VerificationError, match="too long"):
            parse_document_untrusted(bytes(DOCUMENT_MAX + 1))


@pytest.mark.parametrize("zero", [("0",), ("1",), ("2",), ("0", "1", "2")])
def test_a_debug_enclave_whatever_the_lists_say(zero: tuple[str, ...]) -> None:
    pcrs = {str(number): value.hex() for number, value in PCRS.items()}
    nitro.check_no_debug(pcrs)
    document, key = nitro.verify_document_untrusted(DOCUMENT, NITRO_NOW)
    zeroed = replace(document, pcrs={**PCRS, **{int(number): bytes(48) for number in zero}})
    with pytest.raises(VerificationError, match="debug"):
        nitro.judge_document(zeroed, key, policy(listing(0, 1, 2)).vendors["nitro"])
    with pytest.raises(VerificationError, match="debug") as caught:
        nitro.check_no_debug({**pcrs, **dict.fromkeys(zero, "00" * 48)})
    assert caught.value.factor == "platform_state"
    with pytest.raises(VerificationError, match="debug"):
        nitro.check_no_debug({"0": pcrs["0"]})
