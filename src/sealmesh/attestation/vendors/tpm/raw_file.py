"""Raw TPM evidence: what go-tpm-tools or tpm2-tools wrote, judged for `sealmesh verify --kind tpm2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.tpm.assess import (
    Endorsements,
    Standing,
    TpmPolicy,
    judge_boot,
    judge_standing_untrusted,
    settle,
)
from sealmesh.attestation.vendors.tpm.certificates import parse_certificates_untrusted
from sealmesh.attestation.vendors.tpm.eventlog import BootLog, check_boot_log, parse_boot_log_untrusted
from sealmesh.attestation.vendors.tpm.evidence import describe
from sealmesh.attestation.vendors.tpm.gotools import parse_attestation_untrusted
from sealmesh.attestation.vendors.tpm.quote import (
    QuotedRegisters,
    QuoteParts,
    check_extra_data,
    verify_key_untrusted,
    verify_quote_untrusted,
)
from sealmesh.attestation.vendors.tpm.structures import HASHES, MAGIC, unwrap_untrusted
from sealmesh.errors import VerificationError

_MAGIC: Final = MAGIC.to_bytes(4, "big")
_ROLES: Final[Mapping[str, str]] = {
    "ek": "certificate of the endorsement key, DER or PEM",
    "ak": "the vendor's certificate of the attestation key, DER or PEM",
    "ca": "certificates of issuers between a certificate and its root, PEM (or one in DER)",
    "root": "a root of your own to trust beside the pinned ones, PEM or DER",
    "public": "TPM2B_PUBLIC or TPMT_PUBLIC of the attestation key, where FILE is a TPMS_ATTEST",
    "signature": "TPMT_SIGNATURE, where FILE is a TPMS_ATTEST",
    "pcrs": "the quoted PCR values one after another, where FILE is a TPMS_ATTEST (tpm2_quote --pcrs_format=values)",
    "log": "the boot log, TCG crypto-agile",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What a file and its companions hold, read and not verified."""

    ak_public: bytes
    quotes: tuple[QuoteParts, ...]
    log: bytes
    endorsements: Endorsements


def judge_raw_untrusted(evidence: RawInput) -> RawFinding:
    """Judge a go-tpm-tools attestation, or a TPMS_ATTEST with its companions, by the same numbered procedure.

    A nonce or report data that does not match is a failed factor and not an error: the evidence holds, for another.

    Raises:
        VerificationError: Something that was shown does not hold.
    """
    shown = _read_untrusted(evidence)
    policy = TpmPolicy.read(evidence.policy, _certificates(evidence.given, "root"))
    # 1. to 6., for the quote of each bank.
    public = verify_key_untrusted(shown.ak_public)
    registers = [verify_quote_untrusted(public, parts) for parts in shown.quotes]
    best = choose_bank(registers)
    # 7. What it is bound to.
    bound, binding = _judge_binding(registers, evidence)
    # 8. Who stands behind the key. A stranger has activated nothing.
    standing = judge_standing_untrusted(public, shown.endorsements, policy, activated=lambda _: False, now=evidence.now)
    # 9. How the machine was started; a log has to fit every bank that was quoted.
    source = Source.HARDWARE if standing.rooted else Source.SELF_ASSERTED
    log = parse_boot_log_untrusted(shown.log) if shown.log else None
    _check_every_bank(log, registers)
    boot = judge_boot(best, log, policy, source=source)
    tier = settle(standing, boot)
    return RawFinding(
        tier_if_bound=tier,
        bound=bound,
        factors=(*(_binding_factor(*one, standing) for one in binding), *standing.factors, *boot.factors),
        code_measured=tier is Tier.HARDWARE_ROOTED and boot.measured,
        claims={**describe(standing, best), **boot.claims, "extra_data": best.quote.extra.hex()},
    )


def choose_bank(registers: Sequence[QuotedRegisters]) -> QuotedRegisters:
    """Return the registers to judge by; those of the SHA-1 bank are never chosen.

    Raises:
        VerificationError: There are no others; factor `platform_state`.
    """
    strong = [one for one in registers if one.quote.selection.bank in HASHES]
    if not strong:
        raise VerificationError("platform_state", "only registers of the SHA-1 bank were quoted")
    return min(strong, key=lambda one: one.quote.selection.bank)


def _judge_binding(registers: Sequence[QuotedRegisters], evidence: RawInput) -> tuple[bool, list[tuple[Status, str]]]:
    """A TPM carries one thing, its extra data: both a nonce and report data are looked for there."""
    wanted = [one for one in (evidence.nonce, evidence.report_data) if one is not None]
    if not wanted:
        return False, []
    try:
        for one in registers:
            for expected in wanted:
                check_extra_data(one.quote, expected)
    except VerificationError as error:
        return False, [(Status.FAIL, error.reason)]
    return True, [(Status.PASS, "the quotes carry what was given")]


def _binding_factor(status: Status, reason: str, standing: Standing) -> Factor:
    source = Source.HARDWARE if standing.rooted else Source.SELF_ASSERTED
    return Factor(factor=FactorId.BINDING, status=status, source=source, reason=reason)


def _check_every_bank(log: BootLog | None, registers: Sequence[QuotedRegisters]) -> None:
    if log is None:
        return
    for one in registers:
        if one.quote.selection.bank in log.algorithms:
            check_boot_log(log, one.quote.selection.bank, one.values)


def _read_untrusted(evidence: RawInput) -> _Shown:
    given = evidence.given
    ak, ek, issuers = _one(given, "ak"), _one(given, "ek"), _certificates(given, "ca")
    data = evidence.data
    if _MAGIC in (data[:4], data[2:6]):
        parts = QuoteParts(
            attest=unwrap_untrusted(data, factor="attestation_key"),
            signature=_companion(given, "signature"),
            values=_companion(given, "pcrs"),
        )
        return _Shown(
            ak_public=unwrap_untrusted(_companion(given, "public"), factor="attestation_key"),
            quotes=(parts,),
            log=given.get("log", b""),
            endorsements=Endorsements(ak=ak, ek=ek, issuers=issuers),
        )
    file = parse_attestation_untrusted(data)
    inside = [one for der in file.issuers for one in parse_certificates_untrusted(der)]
    if ak is None and file.ak_certificate:
        ak = _only(file.ak_certificate)
    return _Shown(
        ak_public=file.ak_public,
        quotes=file.quotes,
        log=given.get("log", file.event_log),
        endorsements=Endorsements(ak=ak, ek=ek, issuers=(*issuers, *inside)),
    )


def _companion(given: Mapping[str, bytes], role: str) -> bytes:
    content = given.get(role)
    if content is None:
        raise VerificationError("attestation_key", f"a TPMS_ATTEST needs its companion: --with {role}=")
    return content


def _certificates(given: Mapping[str, bytes], role: str) -> tuple[x509.Certificate, ...]:
    return parse_certificates_untrusted(given[role]) if role in given else ()


def _one(given: Mapping[str, bytes], role: str) -> x509.Certificate | None:
    return _only(given[role]) if role in given else None


def _only(data: bytes) -> x509.Certificate:
    found = parse_certificates_untrusted(data)
    if len(found) != 1:
        raise VerificationError("vendor_chain", "one certificate is expected, not several")
    return found[0]


RAW_KIND: Final = RawKind(name="tpm2", judge_untrusted=judge_raw_untrusted, roles=_ROLES)
