"""Intel TDX and SGX: a real TDX quote; what only Intel's keys could make is tried behind the signature."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from kit.guests import TDX_NOW, flips, of_host, policy, raw, tdx_collateral, tdx_quote
from sealmesh.attestation.factors import FactorId, OperatorBlind, Status, Tier
from sealmesh.attestation.vendors import tdx
from sealmesh.attestation.vendors.base import Finding
from sealmesh.attestation.vendors.raw import RawFinding
from sealmesh.attestation.vendors.tdx_quote import QUOTE_MAX, Quote, parse_quote_untrusted
from sealmesh.errors import VerificationError

pytest.importorskip("dcap_qvl", reason="the optional extension is not installed")

QUOTE = tdx_quote()
BODY = parse_quote_untrusted(QUOTE).body
CARRIED = BODY[520:584]
SIGNED_END = 4936  # zeros fill the buffer from here
FACTORS = {"attestation_key", "vendor_chain", "platform_state"}


def register(name: str) -> str:
    return BODY[tdx.REGISTERS[name] : tdx.REGISTERS[name] + 48].hex()


def listing(*names: str, **wrong: str) -> str:
    rows = [f'{name} = ["{register(name)}"]' for name in names]
    rows += [f'{name} = ["{value}"]' for name, value in wrong.items()]
    return "[tdx.measurements]\n" + "\n".join(rows)


def judge(data: bytes = QUOTE, now: float = TDX_NOW, collateral: bytes | None = None, **more: object) -> RawFinding:
    given = {"collateral": tdx_collateral() if collateral is None else collateral}
    return tdx.judge_tdx_untrusted(raw(data, now, **given, **more))  # type: ignore[arg-type]


def refusal(data: bytes = QUOTE, **change: object) -> str:
    with pytest.raises(VerificationError) as caught:
        judge(data, **change)  # type: ignore[arg-type]
    return caught.value.factor


def changed_quote(*, offset: int, value: bytes, version: int = 4, is_tdx: bool = True) -> Quote:
    """A quote with another body, as from behind its signature."""
    body = bytearray(BODY if is_tdx else bytes(384))
    if offset + len(value) > len(body):
        body.extend(bytes(offset + len(value) - len(body)))
    body[offset : offset + len(value)] = value
    return Quote(data=b"", version=version, is_tdx=is_tdx, body=bytes(body), attestation_key=bytes(64))


def judged(quote: Quote, rules: str = "", status: str = "UpToDate") -> tdx.Judgement:
    verified = tdx.Verified(quote=quote, status=status, advisories=("INTEL-SA-00001",))
    return tdx.judge_quote(verified, policy(rules).vendors.get("tdx", {}))


class TestTheRealQuote:
    def test_it_is_genuine_and_its_code_is_unknown(self) -> None:
        finding = judge()
        assert (finding.tier_if_bound, finding.bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False, False)
        assert finding.claims["status"] == "UpToDate"
        assert finding.claims["mrtd"].startswith("91eb2b44d141d4ec")

    def test_a_complete_measurement_makes_it_confidential(self) -> None:
        for rules in (listing(*tdx.COMPLETE), listing(*tdx.COMPLETE, "rtmr3")):
            finding = judge(rules=rules)
            assert (finding.tier_if_bound, finding.code_measured) == (Tier.CONFIDENTIAL, True)
            assert finding.operator_blind is OperatorBlind.NO

    @pytest.mark.parametrize("missing", tdx.COMPLETE)
    def test_an_incomplete_one_does_not(self, missing: str) -> None:
        rest = [name for name in tdx.COMPLETE if name != missing]
        for rules in (listing(*rest), listing(*rest, **{missing: "11" * 48}), listing(*tdx.COMPLETE, rtmr3="11" * 48)):
            finding = judge(rules=rules)
            assert (finding.tier_if_bound, finding.code_measured) == (Tier.HARDWARE_ROOTED, False)

    @pytest.mark.parametrize("word", ["nonce", "report_data"])
    def test_it_is_bound_to_what_it_signed(self, word: str) -> None:
        assert judge(**{word: CARRIED}).bound
        for other in (CARRIED[:32], bytes(64), CARRIED + b"x"):
            assert judge(**{word: other}).factors[0].status is Status.FAIL

    @pytest.mark.parametrize("now", [TDX_NOW - 30 * 86400, TDX_NOW + 40 * 86400, 0.0, -1.0, 1e300, float("nan")])
    def test_outside_its_time(self, now: float) -> None:
        assert refusal(now=now) == "vendor_chain"

    def test_every_byte_is_looked_at(self) -> None:
        # The whole file: signed, or of one form (sizes, PEM), or the zeros that fill the buffer.
        for offset, changed in flips(QUOTE, step=3):
            assert refusal(changed) in FACTORS, f"byte {offset}"

    @pytest.mark.parametrize("data", [b"", QUOTE[:47], QUOTE[: SIGNED_END - 1], QUOTE + b"x", QUOTE[:700]])
    def test_cut_or_followed(self, data: bytes) -> None:
        assert refusal(data) in FACTORS

    def test_the_line_ends_of_the_chain(self) -> None:
        # The library skips them, so that here alone a change of one is seen.
        start = QUOTE.index(b"-----BEGIN")
        for offset in range(start, SIGNED_END):
            if QUOTE[offset] == ord("\n"):
                for other in (b"\r", b" ", b"\x0b", b""):
                    changed = QUOTE[:offset] + other + QUOTE[offset + 1 :]
                    assert refusal(changed + QUOTE[-1:] * (1 - len(other))) in FACTORS

    def test_zeros_that_fill_a_buffer(self) -> None:
        # No signature covers them, and they say nothing: a quoting service may hand out its whole buffer.
        assert judge(QUOTE[:SIGNED_END]).tier_if_bound is Tier.HARDWARE_ROOTED
        assert refusal(QUOTE[:SIGNED_END] + bytes(QUOTE_MAX)) == "attestation_key"

    def test_it_is_no_enclave(self) -> None:
        with pytest.raises(VerificationError, match="not of an SGX enclave"):
            tdx.judge_sgx_untrusted(raw(QUOTE, TDX_NOW, collateral=tdx_collateral()))


class TestCollateral:
    SIGNED = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")

    @pytest.mark.parametrize("field", SIGNED)
    def test_signed_bytes(self, field: str) -> None:
        content = json.loads(tdx_collateral())
        data = bytes.fromhex(content[field])
        for offset, changed in flips(data, step=max(1, len(data) // 60)):
            told = json.dumps({**content, field: changed.hex()}).encode()
            assert refusal(collateral=told) == "vendor_chain", f"byte {offset}"

    @pytest.mark.parametrize("field", ["tcb_info", "qe_identity"])
    def test_signed_texts(self, field: str) -> None:
        content = json.loads(tdx_collateral())
        text = content[field]
        for offset in range(0, len(text), 13):
            changed = text[:offset] + chr(ord(text[offset]) ^ 1) + text[offset + 1 :]
            assert refusal(collateral=json.dumps({**content, field: changed}).encode()) == "vendor_chain"

    @pytest.mark.parametrize("field", ["tcb_info_issuer_chain", "qe_identity_issuer_chain"])
    def test_the_signers_certificate(self, field: str) -> None:
        content = json.loads(tdx_collateral())
        text = content[field]
        for offset in range(100, 900, 7):  # inside the first certificate's text
            if "\n" in (text[offset], chr(ord(text[offset]) ^ 1)):
                continue
            changed = text[:offset] + ("A" if text[offset] != "A" else "B") + text[offset + 1 :]
            assert refusal(collateral=json.dumps({**content, field: changed}).encode()) == "vendor_chain"

    def test_what_no_signature_covers(self) -> None:
        # The revocation list's issuer stands in the quote too, and of the other chains the root is the pinned one: the
        # library looks at neither, so that changing them changes nothing.
        content = json.loads(tdx_collateral())
        assert judge(collateral=json.dumps({**content, "pck_crl_issuer_chain": "anything"}).encode())
        for field in ("tcb_info_issuer_chain", "qe_identity_issuer_chain"):
            text = content[field][:-200] + "A" + content[field][-199:]
            assert judge(collateral=json.dumps({**content, field: text}).encode())

    def test_missing_malformed_or_too_long(self) -> None:
        content = json.loads(tdx_collateral())
        for field in content:
            rest = {key: value for key, value in content.items() if key != field}
            assert refusal(collateral=json.dumps(rest).encode()) == "vendor_chain"
        for data in (b"{}", b"[]", b"\xff", b"[" * 100_000, b" " * (tdx.COLLATERAL_MAX + 1)):
            assert refusal(collateral=data) == "vendor_chain"
        with pytest.raises(VerificationError, match="--with collateral="):
            tdx.judge_tdx_untrusted(raw(QUOTE, TDX_NOW))


class TestForAHost:
    def find(self, rules: str = "", **change: object) -> Finding:
        words = {"binding": CARRIED, "endorsements": {tdx.COLLATERAL_TYPE: tdx_collateral()}, **change}
        return tdx.KIND.verify_untrusted(of_host(tdx.TYPE, QUOTE, TDX_NOW, rules=rules, **words))  # type: ignore[arg-type]

    def test_it_is_found(self) -> None:
        finding = self.find(listing(*tdx.COMPLETE))
        assert (finding.tier, finding.code_measured, finding.pinnable) == (Tier.CONFIDENTIAL, True, False)
        assert finding.operator_blind is OperatorBlind.SOFTWARE
        assert (FactorId.BINDING, Status.PASS) in {(one.factor, one.status) for one in finding.factors}

    def test_unknown_code_blinds_nobody(self) -> None:
        assert (self.find().tier, self.find().operator_blind) == (Tier.HARDWARE_ROOTED, OperatorBlind.NO)

    def test_unused_report_data(self) -> None:
        with pytest.raises(VerificationError, match="unused report data"):
            self.find(binding=CARRIED[:32])

    def test_without_collateral(self) -> None:
        with pytest.raises(VerificationError, match="not stapled"):
            self.find(endorsements={})


class TestPolicy:
    COMPLETE = listing(*tdx.COMPLETE)

    @pytest.mark.parametrize(
        ("rules", "status", "fits"),
        [
            ("", "UpToDate", True),
            ("", "SWHardeningNeeded", False),
            ('[tdx]\nstatuses = ["UpToDate", "SWHardeningNeeded"]', "SWHardeningNeeded", True),
            ('[tdx]\nstatuses = ["SWHardeningNeeded"]', "UpToDate", False),
            ('[tdx]\nstatuses = ["Revoked"]', "Revoked", False),
        ],
    )
    def test_statuses(self, rules: str, status: str, fits: bool) -> None:
        quote = changed_quote(offset=0, value=b"")
        if fits:
            assert judged(quote, rules, status).claims["status"] == status
        else:
            with pytest.raises(VerificationError, match="status") as caught:
                judged(quote, rules, status)
            assert caught.value.factor == "platform_state"

    @pytest.mark.parametrize("bit", range(8))
    def test_debug_whatever_the_lists_say(self, bit: int) -> None:
        with pytest.raises(VerificationError, match="debug"):
            judged(changed_quote(offset=120, value=bytes([1 << bit])), self.COMPLETE)

    def test_a_guest_that_may_be_moved_is_not_confidential(self) -> None:
        for offset, value in ((123, b"\x30"), (600, b"\x01")):
            judgement = judged(changed_quote(offset=offset, value=value), self.COMPLETE)
            assert (judgement.tier, judgement.code_measured) == (Tier.HARDWARE_ROOTED, True)
        assert judged(changed_quote(offset=0, value=b""), self.COMPLETE).tier is Tier.CONFIDENTIAL

    def test_an_enclave_is_hardware_and_no_more(self) -> None:
        enclave = changed_quote(offset=64, value=b"e" * 32, is_tdx=False)
        judgement = judged(enclave, self.COMPLETE)
        assert (judgement.tier, judgement.code_measured) == (Tier.HARDWARE_ROOTED, False)
        assert judgement.claims["mrenclave"] == (b"e" * 32).hex()
        assert tdx.SGX_KIND.ceiling is Tier.HARDWARE_ROOTED
        with pytest.raises(VerificationError, match="debug"):
            judged(changed_quote(offset=48, value=b"\x02", is_tdx=False))
        assert tdx.report_data(changed_quote(offset=320, value=b"d" * 64, is_tdx=False)) == b"d" * 64


class TestReading:
    def quote(self, version: int, tee: int, body: bytes, signature: bytes) -> bytes:
        header = version.to_bytes(2, "little") + b"\x02\x00" + tee.to_bytes(4, "little") + bytes(40)
        return header + body + len(signature).to_bytes(4, "little") + signature

    def test_versions_3_to_5_of_both(self) -> None:
        nested = QUOTE[636:SIGNED_END]
        flat = nested[:128] + nested[134:]
        for version, tee, head, size, signature in (
            (3, 0, b"", 384, flat),
            (4, 0, b"", 384, nested),
            (4, 0x81, b"", 584, nested),
            (5, 0, bytes([1, 0]) + (384).to_bytes(4, "little"), 384, nested),
            (5, 0x81, bytes([2, 0]) + (584).to_bytes(4, "little"), 584, nested),
            (5, 0x81, bytes([3, 0]) + (648).to_bytes(4, "little"), 648, nested),
        ):
            body = bytes(range(256)) * 3
            read = parse_quote_untrusted(self.quote(version, tee, head + body[:size], signature))
            assert (read.version, read.is_tdx, read.body) == (version, tee == 0x81, body[:size])
            assert read.attestation_key == nested[64:128]

    @pytest.mark.parametrize(
        ("version", "tee", "body"),
        [
            (2, 0, bytes(384)),
            (6, 0, bytes(384)),
            (3, 0x81, bytes(584)),
            (4, 0x80, bytes(584)),
            (5, 0x81, bytes([1, 0]) + (384).to_bytes(4, "little") + bytes(384)),
            (5, 0x81, bytes([2, 0]) + (585).to_bytes(4, "little") + bytes(585)),
            (5, 0x81, bytes([4, 0]) + (584).to_bytes(4, "little") + bytes(584)),
        ],
    )
    def test_unknown_layouts(self, version: int, tee: int, body: bytes) -> None:
        with pytest.raises(VerificationError) as caught:
            parse_quote_untrusted(self.quote(version, tee, body, QUOTE[636:SIGNED_END]))
        assert caught.value.factor == "attestation_key"


def test_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(VerificationError, match=r"not installed: sealmesh\[tdx\]") as caught:
        judge()
    assert caught.value.factor == "vendor_chain"


def test_a_panic_of_the_library_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    class Collateral:
        @staticmethod
        def from_json(_: str) -> None:
            raise Panic

    library = dataclasses.make_dataclass("library", ["QuoteCollateralV3"])(Collateral)
    monkeypatch.setitem(sys.modules, "dcap_qvl", library)
    assert refusal() == "vendor_chain"
