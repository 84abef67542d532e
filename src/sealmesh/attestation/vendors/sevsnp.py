"""AMD SEV-SNP: a report of the chip on a confidential guest (ATTESTATION.md, AMD SEV-SNP).

Procedure: 1. read the report; 2. the key's certificate up to a pinned root, within its time; 3. the certificate is for
this chip and firmware; 4. the report's signature; 5. what the report is bound to; 6. the platform: never a debug guest,
privilege level and firmware by policy; 7. the launch digest by policy. What fails raises, and its factor is named.

A launch digest is complete only if the guest's firmware had the kernel, command line and initrd hashed into it, and the
root image is checked by those (kernel hashes and dm-verity). The report does not say so: whoever puts a digest on the
policy's list does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

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
    read_der_untrusted,
    stapled_untrusted,
)
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.sevsnp_chain import Endorsement, check_endorsed, verify_leaf_untrusted
from sealmesh.attestation.vendors.sevsnp_report import REPORT_BYTES, Report, parse_report_untrusted
from sealmesh.errors import VerificationError

#: The report, 1184 bytes.
TYPE: Final = "application/vnd.sealmesh.sev-snp"
LABEL: Final = "sev-snp"
#: Stapled by the host: the VCEK or VLEK, DER.
ENDORSEMENT_TYPE: Final = "application/vnd.sealmesh.sev-snp-key"
TABLE: Final = "snp"
MAX_VMPL_DEFAULT: Final = 0


def verify_sevsnp_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a host's report.

    Raises:
        VerificationError: It does not hold; its factor says what.
    """
    leaf = stapled_untrusted(evidence.envelope, ENDORSEMENT_TYPE)
    report, endorsement = verify_report_untrusted(evidence.record.data, leaf, evidence.now)
    judgement = judge_report(report, endorsement, evidence.policy.vendors.get(TABLE, {}))
    return find_for_host(judgement, evidence, report.report_data)


def judge_sevsnp_untrusted(raw: RawInput) -> RawFinding:
    """Judge a report as a file: 1184 bytes, or their hexadecimal digits.

    Raises:
        VerificationError: It does not hold; its factor says what.
    """
    leaf = raw.given.get("vcek") or raw.given.get("vlek")
    if not leaf:
        raise VerificationError("vendor_chain", "the chip's certificate is needed: --with vcek= or --with vlek=")
    report, endorsement = verify_report_untrusted(_unhex(raw.data), read_der_untrusted(leaf), raw.now)
    # A report has no nonce of its own: what is fresh is put into its report data.
    binding = compare_asked((raw.nonce, report.report_data), (raw.report_data, report.report_data))
    return find_for_file(judge_report(report, endorsement, raw.policy.vendors.get(TABLE, {})), binding)


def verify_report_untrusted(data: bytes, leaf: bytes, now: float) -> tuple[Report, Endorsement]:
    """Return a report that a genuine chip signed, and what AMD says of the key.

    Args:
        data: The report.
        leaf: The VCEK or VLEK, DER.
        now: Unix seconds.

    Raises:
        VerificationError: Factor `vendor_chain` or `attestation_key`.
    """
    # 1. to 4. of the procedure above.
    report = parse_report_untrusted(data)
    endorsement = verify_leaf_untrusted(leaf, now)
    check_endorsed(report, endorsement)
    check_signature(report, endorsement)
    return report, endorsement


def check_signature(report: Report, endorsement: Endorsement) -> None:
    """Refuse a report that the endorsed key did not sign: a software key in a hardware blob (attack A06).

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    try:
        endorsement.key.verify(report.signature, report.signed, ec.ECDSA(SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("attestation_key", "the chip's key did not sign this report") from error


def judge_report(report: Report, endorsement: Endorsement, table: Mapping[str, object]) -> Judgement:
    """Hold a genuine report against the policy's `[snp]` table.

    Raises:
        VerificationError: A debug guest, too low a privilege level or too old a firmware; factor `platform_state`.
    """
    check_no_debug(report)
    check_vmpl(report, table)
    check_firmware(report, endorsement, table)
    generation = endorsement.generation
    return Judgement(
        factors=(
            passed(FactorId.VENDOR_CHAIN, f"AMD's pinned root for {generation.name.capitalize()} certifies the key"),
            passed(FactorId.ATTESTATION_KEY, f"the {report.key.upper()} signed the report", source=Source.HARDWARE),
            _platform(report, table),
            _code(report, table),
        ),
        fingerprint=hashlib.sha256(endorsement.public_key).digest(),
        # Milan's memory encryption has no defence against a host that writes old ciphertext back; the policy may say
        # that its asker takes it for blind all the same.
        blinds=generation.name != "milan" or table.get("milan_blind") is True,
        claims={
            "product": generation.name,
            "report_version": str(report.version),
            "key": report.key,
            "chip_id": report.chip_id.hex(),
            "measurement": report.measurement.hex(),
            "host_data": report.host_data.hex(),
            "vmpl": str(report.vmpl),
            "tcb": " ".join(f"{part}={number}" for part, number in endorsement.tcb.items()),
        },
    )


def check_no_debug(report: Report) -> None:
    """Refuse a guest that its host may read, whatever the lists say.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    if report.debug:
        raise VerificationError("platform_state", "a genuine chip runs this guest in debug mode: its host can read it")


def check_vmpl(report: Report, table: Mapping[str, object]) -> None:
    """Refuse a report that code below the demanded privilege level asked for.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    highest = table.get("max_vmpl", MAX_VMPL_DEFAULT)
    if not isinstance(highest, int) or report.vmpl > highest:
        raise VerificationError(
            "platform_state",
            "less privileged code in the guest than the policy takes asked for the report",
            expected=f"VMPL {highest} or lower",
            got=f"VMPL {report.vmpl}",
        )


def check_firmware(report: Report, endorsement: Endorsement, table: Mapping[str, object]) -> None:
    """Refuse firmware below the policy's floor: `min_tcb`, by part, or by generation and part as `milan_ucode`.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    floor = table.get("min_tcb", {})
    if not isinstance(floor, Mapping):
        raise VerificationError("platform_state", "the policy's min_tcb is no table")
    for part, version in report.tcb_parts(endorsement.generation.tcb).items():
        least = floor.get(f"{endorsement.generation.name}_{part}", floor.get(part, 0))
        if version < least:
            raise VerificationError(
                "platform_state",
                f"the firmware's {part} is older than the policy takes",
                expected=f"{least} or newer",
                got=str(version),
            )


def _platform(report: Report, table: Mapping[str, object]) -> Factor:
    if report.migratable:
        return lacking(FactorId.PLATFORM_STATE, "an agent that is not measured here may move the guest's memory")
    floor = "not below the policy's floor" if table.get("min_tcb") else "of any age: the policy sets no floor"
    return passed(
        FactorId.PLATFORM_STATE,
        f"no debug guest, privilege level {report.vmpl}, firmware {floor}",
        source=Source.HARDWARE,
    )


def _code(report: Report, table: Mapping[str, object]) -> Factor:
    measurements = listed(table, "measurements")
    if not measurements:
        return lacking(FactorId.CODE_MEASUREMENT, "the policy lists no launch digest: unknown code")
    if report.measurement.hex() not in measurements:
        return lacking(FactorId.CODE_MEASUREMENT, "the launch digest is not on the policy's list: unknown code")
    return passed(FactorId.CODE_MEASUREMENT, "the launch digest is on the policy's list", source=Source.HARDWARE)


def _unhex(data: bytes) -> bytes:
    if len(data) == REPORT_BYTES:
        return data
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError:
        return data


KIND: Final = EvidenceKind(verify_untrusted=verify_sevsnp_untrusted, ceiling=Tier.CONFIDENTIAL)
RAW_KIND: Final = RawKind(
    name="sev-snp",
    judge_untrusted=judge_sevsnp_untrusted,
    roles={"vcek": "the chip's certificate, DER or PEM", "vlek": "the cloud's certificate, DER or PEM"},
)
