"""Intel TDX and SGX: quotes of a confidential guest or an enclave (ATTESTATION.md, Intel TDX).

Procedure: 1. read the quote in its one form; 2. `dcap-qvl` (an optional extension, offline) verifies signatures, chains
to the pinned root, revocation lists and times, with the collateral that the host stapled; 3. the status of the
platform's firmware by policy; 4. what the quote is bound to; 5. never a debug guest; 6. the registers by policy.

TDX's complete measurement is mrtd, rtmr0 to rtmr2 and mrconfigid. An enclave is `hardware-rooted` and no more: no list
of enclaves is part of a policy.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from sealmesh.attestation.factors import Factor, FactorId, Source, Tier
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.guest import (
    Judgement,
    compare_asked,
    find_for_file,
    find_for_host,
    lacking,
    listed,
    passed,
    stapled_untrusted,
)
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.attestation.vendors.tdx_quote import Quote, parse_quote_untrusted
from sealmesh.errors import VerificationError

#: The quote as the quoting service gave it.
TYPE: Final = "application/vnd.sealmesh.tdx"
SGX_TYPE: Final = "application/vnd.sealmesh.sgx"
LABEL: Final = "tdx"
#: Stapled by the host: chains, revocation lists, TCB info and QE identity in one JSON object, as `dcap-qvl` has it.
COLLATERAL_TYPE: Final = "application/vnd.sealmesh.dcap-collateral+json"
COLLATERAL_MAX: Final = 256 * 1024
TABLE: Final = "tdx"
EXTENSION: Final = "sealmesh[tdx]"
#: Where the policy names none: firmware without a known fault.
STATUSES_DEFAULT: Final = ("UpToDate",)
_NEVER: Final = "Revoked"

#: Registers of a TD report: name to offset, 48 bytes each.
REGISTERS: Final[Mapping[str, int]] = MappingProxyType(
    {"mrtd": 136, "mrconfigid": 184, "rtmr0": 328, "rtmr1": 376, "rtmr2": 424, "rtmr3": 472}
)
COMPLETE: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "mrconfigid")
_REGISTER_BYTES: Final = 48
_TD_ATTRIBUTES, _TD_REPORT_DATA = 120, 520
_TD_UNTRUSTED_BITS: Final = 0xFF  # DEBUG and its reserved neighbours: the host may read the guest
_TD_MIGRATABLE: Final = 1 << 29
_TD_SERVICE: Final = slice(600, 648)  # of a TD report 1.5: a guest that may migrate this one
_SGX_ATTRIBUTES, _SGX_MRENCLAVE, _SGX_MRSIGNER, _SGX_REPORT_DATA = 48, 64, 128, 320
_SGX_DEBUG: Final = 1 << 1
_REPORT_DATA_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A quote whose signatures hold.

    Attributes:
        quote: As read.
        status: What Intel says of the platform's firmware, one of its words.
        advisories: Intel's advisories that apply.
    """

    quote: Quote
    status: str
    advisories: tuple[str, ...]


class _Library(Protocol):
    """What is used of `dcap-qvl`."""

    QuoteCollateralV3: type

    def verify_with_root_ca(self, quote: bytes, collateral: object, root: bytes, now: int) -> object: ...


def verify_tdx_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a host's quote of a TDX guest.

    Raises:
        VerificationError: It does not hold, or the extension is not installed; its factor says what.
    """
    return _judge_for_host(evidence, tdx=True)


def verify_sgx_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a host's quote of an SGX enclave.

    Raises:
        VerificationError: It does not hold, or the extension is not installed; its factor says what.
    """
    return _judge_for_host(evidence, tdx=False)


def judge_tdx_untrusted(raw: RawInput) -> RawFinding:
    """Judge a TDX quote as a file.

    Raises:
        VerificationError: It does not hold, or the extension is not installed; its factor says what.
    """
    return _judge_for_file(raw, tdx=True)


def judge_sgx_untrusted(raw: RawInput) -> RawFinding:
    """Judge an SGX quote as a file.

    Raises:
        VerificationError: It does not hold, or the extension is not installed; its factor says what.
    """
    return _judge_for_file(raw, tdx=False)


def _judge_for_host(evidence: EvidenceInput, *, tdx: bool) -> Finding:
    collateral = stapled_untrusted(evidence.envelope, COLLATERAL_TYPE)
    verified = verify_quote_untrusted(evidence.record.data, collateral, evidence.now, tdx=tdx)
    judgement = judge_quote(verified, evidence.policy.vendors.get(TABLE, {}))
    return find_for_host(judgement, evidence, report_data(verified.quote))


def _judge_for_file(raw: RawInput, *, tdx: bool) -> RawFinding:
    collateral = raw.given.get("collateral")
    if not collateral:
        raise VerificationError("vendor_chain", "Intel's collateral for this quote is needed: --with collateral=")
    verified = verify_quote_untrusted(raw.data, collateral, raw.now, tdx=tdx)
    carried = report_data(verified.quote)
    # A quote has no nonce of its own: what is fresh is put into its report data.
    binding = compare_asked((raw.nonce, carried), (raw.report_data, carried))
    return find_for_file(judge_quote(verified, raw.policy.vendors.get(TABLE, {})), binding)


# --- 1. and 2. the quote --------------------------------------------------------------------------------------------


def verify_quote_untrusted(data: bytes, collateral: bytes, now: float, *, tdx: bool) -> Verified:
    """Return a quote that a genuine platform signed.

    Args:
        data: The quote.
        collateral: JSON.
        now: Unix seconds.
        tdx: Whether it has to be of a TDX guest; else of an SGX enclave.

    Raises:
        VerificationError: Factor `vendor_chain` or `attestation_key`.
    """
    quote = parse_quote_untrusted(data)
    if quote.is_tdx is not tdx:
        raise VerificationError("attestation_key", f"the quote is not of {'a TDX guest' if tdx else 'an SGX enclave'}")
    library = load_library()
    text = _read_collateral_untrusted(collateral)
    try:
        parsed = library.QuoteCollateralV3.from_json(text)  # type: ignore[attr-defined] # a class of the library
        report = library.verify_with_root_ca(quote.data, parsed, load_root("intel", "sgx_root_ca.pem"), int(now))
        result = json.loads(report.to_json())  # type: ignore[attr-defined] # the same
        status, advisories = str(result["status"]), tuple(str(one) for one in result["advisory_ids"])
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # A panic of the library is no Exception. Whatever hostile bytes make of it, they verify nothing.
        raise VerificationError("vendor_chain", "Intel's chain or collateral does not hold for this quote") from error
    return Verified(quote=quote, status=status, advisories=advisories)


def load_library() -> _Library:
    """Return `dcap-qvl`, which is an optional extension.

    Raises:
        VerificationError: It is not installed; factor `vendor_chain`.
    """
    try:
        library: _Library = importlib.import_module("dcap_qvl")
    except ImportError as error:
        raise VerificationError(
            "vendor_chain", f"Intel evidence needs an extension that is not installed: {EXTENSION}"
        ) from error
    return library


def _read_collateral_untrusted(data: bytes) -> str:
    if len(data) > COLLATERAL_MAX:
        raise VerificationError("vendor_chain", "Intel's collateral is too long")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("vendor_chain", "Intel's collateral is not JSON") from error


def report_data(quote: Quote) -> bytes:
    """Return what the guest or enclave had signed, 64 bytes."""
    offset = _TD_REPORT_DATA if quote.is_tdx else _SGX_REPORT_DATA
    return quote.body[offset : offset + _REPORT_DATA_BYTES]


# --- 3., 5. and 6. policy --------------------------------------------------------------------------------------------


def judge_quote(verified: Verified, table: Mapping[str, object]) -> Judgement:
    """Hold a genuine quote against the policy's `[tdx]` table.

    Raises:
        VerificationError: A debug guest, or firmware of a status that the policy does not take; `platform_state`.
    """
    quote = verified.quote
    check_no_debug(quote)
    check_status(verified.status, table)
    platform, code = _judge_guest(quote, verified.status, table) if quote.is_tdx else _judge_enclave(verified.status)
    return Judgement(
        factors=(
            passed(FactorId.VENDOR_CHAIN, "Intel's pinned root certifies the platform"),
            passed(FactorId.ATTESTATION_KEY, "the platform's quoting enclave signed it", source=Source.HARDWARE),
            platform,
            code,
        ),
        fingerprint=hashlib.sha256(quote.attestation_key).digest(),
        claims={
            "quote_version": str(quote.version),
            "status": verified.status,
            "advisories": " ".join(verified.advisories),
            **_registers(quote),
        },
    )


def check_no_debug(quote: Quote) -> None:
    """Refuse a guest or enclave that its host may read, whatever the lists say.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    if quote.is_tdx:
        debug = _number(quote.body, _TD_ATTRIBUTES, 8) & _TD_UNTRUSTED_BITS
    else:
        debug = _number(quote.body, _SGX_ATTRIBUTES, 8) & _SGX_DEBUG
    if debug:
        raise VerificationError("platform_state", "a genuine platform runs this in debug mode: its host can read it")


def check_status(status: str, table: Mapping[str, object]) -> None:
    """Refuse a platform whose firmware has a status that the policy does not take; a revoked one always.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    accepted = listed(table, "statuses") or STATUSES_DEFAULT
    if status == _NEVER or status not in accepted:
        raise VerificationError(
            "platform_state",
            "Intel gives the platform's firmware a status that the policy does not take",
            expected=" or ".join(accepted),
            got=status,
        )


def _judge_guest(quote: Quote, status: str, table: Mapping[str, object]) -> tuple[Factor, Factor]:
    migratable = _number(quote.body, _TD_ATTRIBUTES, 8) & _TD_MIGRATABLE or any(quote.body[_TD_SERVICE])
    if migratable:
        platform = lacking(FactorId.PLATFORM_STATE, "a guest that is not measured here may move this one's memory")
    else:
        platform = passed(FactorId.PLATFORM_STATE, f"no debug guest, firmware {status}", source=Source.HARDWARE)
    return platform, _judge_code(_registers(quote), table.get("measurements"))


def _judge_code(registers: Mapping[str, str], lists: object) -> Factor:
    if not isinstance(lists, Mapping) or not lists:
        return lacking(FactorId.CODE_MEASUREMENT, "the policy lists no registers: unknown code")
    if any(registers.get(name) not in listed(lists, name) for name in lists):
        return lacking(FactorId.CODE_MEASUREMENT, "a register is not on the policy's list: unknown code")
    missing = [name for name in COMPLETE if not listed(lists, name)]
    if missing:
        words = ", ".join(missing)
        return lacking(FactorId.CODE_MEASUREMENT, f"the policy's measurement is not complete: {words} not listed")
    return passed(FactorId.CODE_MEASUREMENT, "every register is on the policy's list", source=Source.HARDWARE)


def _judge_enclave(status: str) -> tuple[Factor, Factor]:
    return (
        passed(FactorId.PLATFORM_STATE, f"no debug enclave, firmware {status}", source=Source.HARDWARE),
        lacking(FactorId.CODE_MEASUREMENT, "no list of enclaves is part of a policy: unknown code"),
    )


def _registers(quote: Quote) -> dict[str, str]:
    if quote.is_tdx:
        offsets: Mapping[str, int] = REGISTERS
        length = _REGISTER_BYTES
    else:
        offsets, length = {"mrenclave": _SGX_MRENCLAVE, "mrsigner": _SGX_MRSIGNER}, 32
    return {name: quote.body[offset : offset + length].hex() for name, offset in offsets.items()}


def _number(data: bytes, offset: int, width: int) -> int:
    return int.from_bytes(data[offset : offset + width], "little")


KIND: Final = EvidenceKind(verify_untrusted=verify_tdx_untrusted, ceiling=Tier.CONFIDENTIAL)
SGX_KIND: Final = EvidenceKind(verify_untrusted=verify_sgx_untrusted, ceiling=Tier.HARDWARE_ROOTED)
_ROLES: Final = {"collateral": "Intel's chains, revocation lists, TCB info and QE identity, JSON"}
RAW_KIND: Final = RawKind(name="tdx", judge_untrusted=judge_tdx_untrusted, roles=_ROLES, extension=EXTENSION)
SGX_RAW_KIND: Final = RawKind(name="sgx", judge_untrusted=judge_sgx_untrusted, roles=_ROLES, extension=EXTENSION)
