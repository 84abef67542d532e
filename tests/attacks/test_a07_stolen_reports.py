"""A07 (and A04): genuine evidence of somebody else's guest, in the answer of a host that has none.

The evidence verifies to the vendor's root, and is bound to another statement: another host's, another nonce's.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.attested import ProvenHost, judge
from kit.guests import AMD_NOW, NITRO_NOW, TDX_NOW, nitro_document, snp_key, snp_report, tdx_collateral, tdx_quote
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.attestation.factors import FactorId
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import nitro, sevsnp, software, tdx
from sealmesh.attestation.vendors.base import EvidenceKind
from sealmesh.attestation.vendors.guest import check_binding
from sealmesh.attestation.verifier import REGISTRY, Verifier
from sealmesh.errors import VerificationError

VENDORS = {
    "sev-snp": (sevsnp.TYPE, sevsnp.KIND, snp_report(), AMD_NOW, (sevsnp.ENDORSEMENT_TYPE, snp_key())),
    "tdx": (tdx.TYPE, tdx.KIND, tdx_quote(), TDX_NOW, (tdx.COLLATERAL_TYPE, tdx_collateral())),
    "nitro": (nitro.TYPE, nitro.KIND, nitro_document(), NITRO_NOW, ("unused", b"-")),
}
ROWS = pytest.mark.parametrize(("kind", "row", "data", "now", "stapled"), list(VENDORS.values()), ids=list(VENDORS))


@ROWS
@pytest.mark.parametrize("with_software", [False, True])
def test_a_host_shows_somebody_elses_report(
    kind: str, row: EvidenceKind, data: bytes, now: float, stapled: tuple[str, bytes], with_software: bool
) -> None:
    if kind == tdx.TYPE:
        pytest.importorskip("dcap_qvl", reason="the optional extension is not installed")
    host = ProvenHost()
    answer = host.answer(now=now)
    records = {
        "stolen": Record(type=kind, data=data, role=Role.EVIDENCE),
        "endorsement": Record(type=stapled[0], data=stapled[1], role=Role.ENDORSEMENT),
    }
    if with_software:
        records[software.LABEL] = Envelope.parse_untrusted(answer.envelope).records[software.LABEL]
    stolen = replace(answer, envelope=Envelope(records=records).encode())
    verifier = Verifier(policy=Policy(), registry={**REGISTRY, kind: row})
    # Beside its own software key the theft gains nothing either: a required factor fails, and that is the end.
    with pytest.raises(VerificationError) as caught:
        judge(host, stolen, now=now, verifier=verifier)
    assert caught.value.factor == FactorId.BINDING.id


@pytest.mark.parametrize(
    ("carried", "why"),
    [
        (bytes(64), "something else"),
        (b"c" * 32 + bytes(32), "something else"),
        (b"b" * 31 + b"c" + bytes(32), "something else"),
        (b"b" * 31, "something else"),
        (b"b" * 32 + bytes(31) + b"\x01", "not zero"),
        (b"b" * 64, "not zero"),
    ],
)
def test_the_named_defence_stands_alone(carried: bytes, why: str) -> None:
    with pytest.raises(VerificationError, match=why) as caught:
        check_binding(carried, b"b" * 32)
    assert caught.value.factor == "binding"
    check_binding(b"b" * 32 + bytes(32), b"b" * 32)
