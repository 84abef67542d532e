"""What the verifiers of confidential guests and enclaves share: how they are bound, what they are worth, who is blind.

A verifier of a vendor reads and verifies, and leaves a `Judgement`: what holds for the report, whatever it is bound to.
Here that becomes a finding on a host of the mesh, or on a raw file (ATTESTATION.md, Two questions, Binding).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from sealmesh.attestation.envelope import Envelope, Role
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.policy import BackendRule
from sealmesh.attestation.statement import HostStatement
from sealmesh.attestation.vendors.base import EvidenceInput, Finding
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.attestation.vendors.raw import RawFinding
from sealmesh.errors import VerificationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A genuine report, before it is held against what it should be bound to.

    Attributes:
        factors: Chain, key, platform and code. A platform or code that is short of `confidential` is ABSENT with its
            reason: it was shown and holds, only not enough. What does not hold was refused before.
        fingerprint: SHA-256 of the key that signed the report, 32 bytes.
        blinds: Whether this kind of hardware keeps the owner's software out, if the code is measured.
        claims: What the report says, for people.
    """

    factors: tuple[Factor, ...]
    fingerprint: bytes
    blinds: bool = True
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """`confidential` only with a platform and a complete measurement that the policy takes."""
        confidential = self.code_measured and self._passes(FactorId.PLATFORM_STATE)
        return Tier.CONFIDENTIAL if confidential else Tier.HARDWARE_ROOTED

    @property
    def code_measured(self) -> bool:
        """Whether the hardware signed a measurement that is complete and on the policy's list."""
        return self._passes(FactorId.CODE_MEASUREMENT)

    def _passes(self, factor: FactorId) -> bool:
        return any(one.factor is factor and one.status is Status.PASS for one in self.factors)


def find_for_host(judgement: Judgement, evidence: EvidenceInput, carried: bytes) -> Finding:
    """Return what a report is worth for a host of the mesh.

    Args:
        judgement: Of the report.
        evidence: What it has to be held against.
        carried: The report data that the hardware signed.

    Raises:
        VerificationError: It is bound to something else; factor `binding`.
    """
    check_binding(carried, evidence.binding)
    bound = passed(FactorId.BINDING, "the hardware signed this host statement", source=Source.HARDWARE)
    blind = keeps_owner_out(judgement, evidence.statement)
    return Finding(
        tier=judgement.tier,
        factors=(bound, *judgement.factors),
        fingerprint=judgement.fingerprint,
        # The key is the chip's or the cloud's, not the guest's: any guest beside this one would meet the pin too.
        pinnable=False,
        code_measured=judgement.code_measured,
        operator_blind=OperatorBlind.SOFTWARE if blind else OperatorBlind.NO,
        claims=judgement.claims,
    )


def find_for_file(judgement: Judgement, binding: Factor) -> RawFinding:
    """Return what a report is worth as a raw file.

    Nobody is called blind by it: what backend and accelerators the guest uses is not in the report.

    Args:
        judgement: Of the report.
        binding: From `compare_asked`.
    """
    return RawFinding(
        tier_if_bound=judgement.tier,
        bound=binding.status is Status.PASS,
        factors=(binding, *judgement.factors),
        code_measured=judgement.code_measured,
        claims=judgement.claims,
    )


def check_binding(carried: bytes, binding: bytes) -> None:
    """Refuse report data that is not the binding and then zeros: another host's, another nonce's (attacks A04, A07).

    Raises:
        VerificationError: Factor `binding`.
    """
    if len(carried) < len(binding) or not hmac.compare_digest(carried[: len(binding)], binding):
        raise VerificationError(
            "binding", "the hardware signed something else than this host statement", expected=binding.hex()
        )
    if any(carried[len(binding) :]):
        raise VerificationError("binding", "unused report data is not zero")


def compare_asked(*asked: tuple[bytes | None, bytes]) -> Factor:
    """Hold a raw report against what its reader asked for: what is signed equals it, or is it and then zeros.

    Args:
        asked: What was asked for, if anything, and what the report carries in that place.

    Returns:
        The factor `binding`. What does not match is a FAIL and not raised, so that the rest is told too.
    """
    given = [(wanted, carried) for wanted, carried in asked if wanted]
    if not given:
        return lacking(FactorId.BINDING, "no --nonce or --report-data was given to compare")
    try:
        for wanted, carried in given:
            check_binding(carried, wanted)
    except VerificationError:
        reason = "the hardware signed something else than what was asked for"
        return Factor(factor=FactorId.BINDING, status=Status.FAIL, source=Source.HARDWARE, reason=reason)
    return passed(FactorId.BINDING, "the hardware signed what was asked for", source=Source.HARDWARE)


def keeps_owner_out(judgement: Judgement, statement: HostStatement) -> bool:
    """Whether the owner's software cannot read prompts: measured code, nothing of the model outside the guest.

    The statement is the measured code's own word, so it can be believed here. Accelerators are outside the guest until
    their own evidence says otherwise, and that is not this verifier's to judge.
    """
    confidential = judgement.tier is Tier.CONFIDENTIAL and judgement.blinds
    return confidential and BackendRule.LOCAL.allows(statement.backend) and not statement.accelerators


def passed(factor: FactorId, reason: str, *, source: Source = Source.VENDOR_ROOTED) -> Factor:
    """A factor that holds."""
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)


def lacking(factor: FactorId, reason: str, *, source: Source = Source.HARDWARE) -> Factor:
    """A factor that was shown and is genuine, and falls short of what the policy lists."""
    return Factor(factor=factor, status=Status.ABSENT, source=source, reason=reason)


def listed(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Return a list of a policy's vendor table, empty where the policy has none."""
    value = table.get(key)
    return tuple(str(one) for one in value) if isinstance(value, tuple) else ()


def stapled_untrusted(envelope: Envelope, kind: str) -> bytes:
    """Return the one endorsement of a type that the host stapled.

    Raises:
        VerificationError: There is none, or more than one; factor `vendor_chain`.
    """
    found = [record.data for _, record in envelope.of_role(Role.ENDORSEMENT) if record.type == kind]
    if len(found) != 1:
        raise VerificationError("vendor_chain", "the vendor's word for the key is not stapled, or more than once")
    return found[0]


def read_der_untrusted(data: bytes) -> bytes:
    """Return the DER of a file of one certificate, which may be PEM.

    Raises:
        VerificationError: It looks like PEM and is none, or holds several; factor `vendor_chain`.
    """
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    chain = read_chain_untrusted(data)
    if len(chain) != 1:
        raise VerificationError("vendor_chain", "one certificate is wanted, and the file holds several")
    return chain[0]
