"""Any bytes, and any damage to real evidence of guests: a finding, or VerificationError and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.guests import (
    AMD_NOW,
    NITRO_NOW,
    TDX_NOW,
    make_leaf,
    make_report,
    nitro_document,
    of_host,
    raw,
    sample,
    snp_key,
    snp_report,
    tdx_collateral,
    tdx_quote,
)
from sealmesh.attestation.vendors import nitro, sevsnp, tdx
from sealmesh.attestation.vendors.der import read_certificate_untrusted, read_value_untrusted
from sealmesh.attestation.vendors.guest import read_der_untrusted, stapled_untrusted
from sealmesh.attestation.vendors.nitro_document import parse_document_untrusted, unwrap_dstack_untrusted
from sealmesh.attestation.vendors.sevsnp_chain import GENERATIONS, read_endorsement_untrusted, verify_leaf_untrusted
from sealmesh.attestation.vendors.sevsnp_report import parse_report_untrusted
from sealmesh.attestation.vendors.tdx_quote import check_chain_form_untrusted, parse_quote_untrusted
from sealmesh.errors import VerificationError

READERS: dict[str, Callable[[bytes], object]] = {
    "sevsnp": lambda data: sevsnp.judge_sevsnp_untrusted(raw(data, AMD_NOW, vcek=snp_key())),
    "sevsnp leaf": lambda data: sevsnp.judge_sevsnp_untrusted(raw(snp_report(), AMD_NOW, vlek=data)),
    "sevsnp host": lambda data: sevsnp.verify_sevsnp_untrusted(
        of_host(
            sevsnp.TYPE,
            data,
            AMD_NOW,
            binding=bytes(32),
            endorsements={sevsnp.ENDORSEMENT_TYPE: snp_key()},
        )
    ),
    "sevsnp report": parse_report_untrusted,
    "sevsnp chain": lambda data: verify_leaf_untrusted(data, AMD_NOW),
    "sevsnp endorsement": lambda data: read_endorsement_untrusted(
        read_certificate_untrusted(data), GENERATIONS[2], "vcek"
    ),
    "der": read_certificate_untrusted,
    "der value": lambda data: read_value_untrusted(data, 0x02),
    "der file": read_der_untrusted,
    "nitro": lambda data: nitro.judge_nitro_untrusted(raw(data, NITRO_NOW)),
    "nitro host": lambda data: nitro.verify_nitro_untrusted(of_host(nitro.TYPE, data, NITRO_NOW, binding=bytes(32))),
    "nitro document": parse_document_untrusted,
    "nitro container": unwrap_dstack_untrusted,
    "nitro payload": lambda data: parse_document_untrusted(
        bytes.fromhex("8444a1013822a059") + (len(data) & 0xFFFF).to_bytes(2, "big") + data + b"\x58\x60" + bytes(96)
    ),
    "tdx": lambda data: tdx.judge_tdx_untrusted(raw(data, TDX_NOW, collateral=tdx_collateral())),
    "tdx collateral": lambda data: tdx.judge_tdx_untrusted(raw(tdx_quote(), TDX_NOW, collateral=data)),
    "tdx host": lambda data: tdx.verify_tdx_untrusted(
        of_host(tdx.TYPE, data, TDX_NOW, binding=bytes(32), endorsements={tdx.COLLATERAL_TYPE: tdx_collateral()})
    ),
    "tdx quote": parse_quote_untrusted,
    "tdx chain": check_chain_form_untrusted,
    "sgx": lambda data: tdx.judge_sgx_untrusted(raw(data, TDX_NOW, collateral=tdx_collateral())),
    "sgx host": lambda data: tdx.verify_sgx_untrusted(
        of_host(tdx.SGX_TYPE, data, TDX_NOW, binding=bytes(32), endorsements={tdx.COLLATERAL_TYPE: tdx_collateral()})
    ),
    "stapled": lambda data: stapled_untrusted(
        of_host("x", b"x", AMD_NOW, binding=b"", endorsements={"y": data}).envelope, "y"
    ),
}
SEEDS = (
    snp_report(),
    make_report(version=5),
    snp_key(),
    make_leaf(),
    nitro_document(),
    nitro_document()[10:-98],
    sample("nitro/dstack_nitro.bin"),
    tdx_quote(),
    tdx_quote()[1258:4936],
    tdx_collateral(),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A seed with bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 40)))
        data[start:stop] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[start:stop]) * 2)))
    return bytes(data)


@pytest.mark.parametrize("name", list(READERS))
@settings(max_examples=60)
@given(data=st.one_of(damaged(), st.binary(max_size=300)))
def test_any_bytes(name: str, data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        READERS[name](data)


@pytest.mark.parametrize("name", list(READERS))
def test_every_seed_and_every_cut_of_it(name: str) -> None:
    for seed in SEEDS:
        for stop in {0, 1, 2, 3, 4, 10, len(seed) // 2, len(seed) - 1, len(seed)}:
            with contextlib.suppress(VerificationError):
                READERS[name](seed[:stop])


@pytest.mark.parametrize("name", list(READERS))
def test_long_and_hollow(name: str) -> None:
    for data in (
        bytes(1 << 20),
        b"\x30\x82\xff\xff" * 40_000,
        b"\xbf" * 40_000,
        b"-----BEGIN CERTIFICATE-----\n" * 9_000,
    ):
        with contextlib.suppress(VerificationError):
            READERS[name](data)
