"""Evidence of confidential guests (AMD, Intel, AWS): records of envelopes and raw files, the real samples as seeds."""

from __future__ import annotations

import json
from collections.abc import Callable

from fuzz.harness import Harness, Target, holds

from kit.guests import (
    AMD_NOW,
    NITRO_NOW,
    TDX_NOW,
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
from kit.tsm import VCEK, VLEK, certificate_table
from sealmesh.attestation.appraise import appraise_raw_untrusted
from sealmesh.attestation.vendors import nitro, sevsnp, tdx
from sealmesh.attestation.vendors.base import Finding
from sealmesh.attestation.vendors.der import read_certificate_untrusted, read_value_untrusted
from sealmesh.attestation.vendors.guest import read_der_untrusted
from sealmesh.attestation.vendors.nitro_document import parse_document_untrusted
from sealmesh.attestation.vendors.raw import RawInput, RawKind
from sealmesh.attestation.vendors.sevsnp_chain import verify_leaf_untrusted
from sealmesh.attestation.vendors.sevsnp_report import parse_report_untrusted
from sealmesh.attestation.vendors.tdx_quote import check_chain_form_untrusted, parse_quote_untrusted
from sealmesh.attesters.guest import read_certificates_untrusted
from sealmesh.errors import AttesterError, VerificationError

_REFUSES = (VerificationError,)
_SNP_DATA = snp_report()[0x50:0x90]
_TDX_DATA = tdx.report_data(parse_quote_untrusted(tdx_quote()))
_NITRO_DATA = parse_document_untrusted(nitro_document()).user_data
_CHAIN = tdx_quote()[tdx_quote().index(b"-----BEGIN") :]
_CHAIN = _CHAIN[: _CHAIN.rindex(b"-----END CERTIFICATE-----\n") + len(b"-----END CERTIFICATE-----\n")]
_AMD_KEYS = {sevsnp.ENDORSEMENT_TYPE: snp_key()}
_INTEL = {tdx.COLLATERAL_TYPE: tdx_collateral()}


def _unchanged(finding: Finding, data: bytes, good: bytes) -> None:
    """One byte string of a record is worth something here, and no other: nobody else can sign."""
    holds(data == good or not finding.factors)


def _snp(data: bytes) -> None:
    given = of_host(sevsnp.TYPE, data, AMD_NOW, binding=_SNP_DATA, endorsements=_AMD_KEYS)
    _unchanged(sevsnp.verify_sevsnp_untrusted(given), data, snp_report())


def _snp_key(data: bytes) -> None:
    given = of_host(sevsnp.TYPE, snp_report(), AMD_NOW, binding=_SNP_DATA, endorsements={sevsnp.ENDORSEMENT_TYPE: data})
    _unchanged(sevsnp.verify_sevsnp_untrusted(given), data, snp_key())


def _tdx(data: bytes) -> None:
    given = of_host(tdx.TYPE, data, TDX_NOW, binding=_TDX_DATA, endorsements=_INTEL)
    # Zeros may follow a quote, and are no part of it.
    _unchanged(tdx.verify_tdx_untrusted(given), data.rstrip(b"\0"), tdx_quote().rstrip(b"\0"))


def _sgx(data: bytes) -> None:
    given = of_host(tdx.SGX_TYPE, data, TDX_NOW, binding=_TDX_DATA, endorsements=_INTEL)
    tdx.verify_sgx_untrusted(given)


def _collateral(data: bytes) -> None:
    tdx.judge_tdx_untrusted(raw(tdx_quote(), TDX_NOW, collateral=data))


def _nitro(data: bytes) -> None:
    given = of_host(nitro.TYPE, data, NITRO_NOW, binding=_NITRO_DATA)
    _unchanged(nitro.verify_nitro_untrusted(given), data.removeprefix(b"\xd2"), nitro_document())


def _file(kind: RawKind, given: RawInput) -> Callable[[bytes], None]:
    """`sealmesh verify` raises nothing at all: a refusal is an answer too."""

    def take(data: bytes) -> None:
        bare = RawInput(data=data, given=given.given, policy=given.policy, now=given.now)
        appraisal = appraise_raw_untrusted(kind, bare, unbound=True)
        json.dumps(appraisal.describe())
        if appraisal.tier_if_bound.value == 0:
            raise VerificationError("binding", "refused, and said so")

    return take


HARNESS = Harness(
    snp=Target(_snp, _REFUSES, [snp_report(), make_report()]),
    snp_key=Target(_snp_key, _REFUSES, [snp_key()]),
    snp_file=Target(
        _file(sevsnp.RAW_KIND, raw(b"", AMD_NOW, vcek=snp_key())),
        _REFUSES,
        [snp_report(), sample("sev-snp/virtee_report_milan.hex")],
    ),
    report=Target(parse_report_untrusted, _REFUSES, [snp_report(), make_report(version=5)]),
    leaf=Target(lambda data: verify_leaf_untrusted(data, AMD_NOW), _REFUSES, [snp_key(), snp_key("gsg_vcek.der")]),
    certificate=Target(read_certificate_untrusted, _REFUSES, [snp_key()]),
    value=Target(lambda data: read_value_untrusted(data, 2), _REFUSES, [b"\x02\x01\x08"]),
    der_file=Target(read_der_untrusted, _REFUSES, [snp_key()]),
    tdx=Target(_tdx, _REFUSES, [tdx_quote()]),
    tdx_file=Target(_file(tdx.RAW_KIND, raw(b"", TDX_NOW, collateral=tdx_collateral())), _REFUSES, [tdx_quote()]),
    sgx=Target(_sgx, _REFUSES, [tdx_quote()]),
    sgx_file=Target(_file(tdx.SGX_RAW_KIND, raw(b"", TDX_NOW, collateral=tdx_collateral())), _REFUSES, [tdx_quote()]),
    collateral=Target(_collateral, _REFUSES, [tdx_collateral()]),
    quote=Target(parse_quote_untrusted, _REFUSES, [tdx_quote()]),
    chain=Target(check_chain_form_untrusted, _REFUSES, [_CHAIN]),
    nitro=Target(_nitro, _REFUSES, [nitro_document()]),
    nitro_file=Target(
        _file(nitro.RAW_KIND, raw(b"", NITRO_NOW)), _REFUSES, [nitro_document(), sample("nitro/dstack_nitro.bin")]
    ),
    host_certificates=Target(
        read_certificates_untrusted, (AttesterError,), [certificate_table((VCEK, snp_key()), (VLEK, b"cloud"))]
    ),
    document=Target(parse_document_untrusted, _REFUSES, [nitro_document()]),
)
