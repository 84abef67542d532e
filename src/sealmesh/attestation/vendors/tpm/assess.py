"""What a verified quote is worth: whose chip it is, how the machine was started, what the asker demands.

Everything here is after `quote.verify_quote_untrusted`: the bytes hold, and the question is who stands behind the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from sealmesh.attestation.factors import Factor, FactorId, Source, Status, Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.tpm.certificates import (
    VENDORS,
    Endorsed,
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)
from sealmesh.attestation.vendors.tpm.eventlog import BootLog, check_boot_log
from sealmesh.attestation.vendors.tpm.quote import QuotedRegisters, require_registers
from sealmesh.attestation.vendors.tpm.structures import Public
from sealmesh.errors import VerificationError

_PCRS: Final = 24
_FIRMWARE_PCRS: Final = frozenset(range(8))
#: Registers that together cover firmware, boot loader, kernel, command line and initrd: with GRUB, or with a unified
#: kernel image. That the command line names a verity root is what whoever lists the values has looked at.
_COMPLETE: Final = (frozenset({0, 2, 4, 7, 8, 9}), frozenset({0, 2, 4, 7, 11, 12}))


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmPolicy:
    """The asker's `[tpm]` table.

    Attributes:
        vendors: Vendors that are taken; None for all that are pinned.
        extra_roots: Roots of the asker's own.
        require_secure_boot: Whether a log has to prove it.
        pcrs: PCR index to the values that are taken.
    """

    vendors: frozenset[str] | None = None
    extra_roots: tuple[x509.Certificate, ...] = ()
    require_secure_boot: bool = False
    pcrs: Mapping[int, frozenset[bytes]] = field(default_factory=dict)

    @classmethod
    def read(cls, policy: Policy, roots: Sequence[x509.Certificate] = ()) -> TpmPolicy:
        """Read the table; texts of `extra_roots` are certificates in PEM (who reads the file puts them there).

        Args:
            policy: The asker's.
            roots: More roots of the asker's own.

        Raises:
            VerificationError: It names what there is not; nothing is taken by a policy that cannot be understood.
        """
        table = policy.vendors.get("tpm", {})
        vendors, extra, pcrs = table.get("vendors"), table.get("extra_roots"), table.get("pcrs")
        chosen = frozenset(str(one) for one in vendors) if isinstance(vendors, tuple) else None
        if chosen is not None and not chosen <= VENDORS:
            words = ", ".join(sorted(VENDORS))
            raise VerificationError(
                "vendor_chain", f"the policy names a TPM vendor that is not pinned; there are {words}"
            )
        texts = extra if isinstance(extra, tuple) else ()
        read = [one for text in texts for one in parse_certificates_untrusted(str(text).encode())]
        return cls(
            vendors=chosen,
            extra_roots=(*roots, *read),
            require_secure_boot=table.get("require_secure_boot") is True,
            pcrs=_read_pcrs(pcrs if isinstance(pcrs, Mapping) else {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsements:
    """Certificates that came with a quote, read and not verified.

    Attributes:
        ak: Of the attestation key.
        ek: Of the endorsement key.
        issuers: Above either.
    """

    ak: x509.Certificate | None = None
    ek: x509.Certificate | None = None
    issuers: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who stands behind an attestation key.

    Attributes:
        rooted: Whether a vendor's chip is shown.
        ek: The endorsement key, if its chain holds; what an activation would be made for.
        factors: `attestation_key`, `activation`, `vendor_chain`.
        claims: For people.
        certified: Whether a vendor certified the attestation key itself, so that no activation is needed.
    """

    rooted: bool
    ek: Endorsed | None
    factors: tuple[Factor, ...]
    claims: Mapping[str, str]
    certified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How the machine was started.

    Attributes:
        holds: Whether nothing that the policy demands is missing.
        measured: Whether every register of a complete measurement is on the policy's list.
        factors: `platform_state`, `code_measurement`.
        claims: For people.
    """

    holds: bool
    measured: bool
    factors: tuple[Factor, ...]
    claims: Mapping[str, str]


def judge_standing_untrusted(
    public: Public, given: Endorsements, policy: TpmPolicy, *, activated: Callable[[bytes], bool], now: float
) -> Standing:
    """Say whose the attestation key is. A certificate that came and does not hold is a refusal, not an absence.

    Args:
        public: The attestation key.
        given: What came with the quote.
        policy: The asker's.
        activated: Digest of an endorsement key to whether *this verifier* activated this attestation key with it.
        now: Unix seconds.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    ek = None
    if given.ek is not None:
        ek = verify_endorsement_untrusted(
            given.ek,
            use=Use.EK,
            supplied=given.issuers,
            extra_roots=policy.extra_roots,
            vendors=policy.vendors,
            now=now,
        )
    if given.ak is not None:
        certified = verify_endorsement_untrusted(
            given.ak,
            use=Use.AK,
            supplied=given.issuers,
            extra_roots=policy.extra_roots,
            vendors=policy.vendors,
            now=now,
        )
        check_same_key(certified, public)
        return _certified(certified, ek, public)
    if ek is not None and activated(ek.digest):
        return _activated(ek, public)
    return _unknown(ek, public)


def check_same_key(certified: Endorsed, public: Public) -> None:
    """Refuse a genuine certificate of another key (attack A06).

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    if certified.key != public.key:
        raise VerificationError("vendor_chain", "the certificate is for another key than the one that signed")


def judge_boot(registers: QuotedRegisters, log: BootLog | None, policy: TpmPolicy, *, source: Source) -> Boot:
    """Say how the machine was started, and hold it against the policy.

    Args:
        registers: As quoted.
        log: The boot log, if one came.
        policy: The asker's.
        source: Whose word the registers are.

    Raises:
        VerificationError: The registers are SHA-1's, or the log does not give them; factor `platform_state`.
    """
    bank_name, bank = require_registers(registers), registers.quote.selection.bank
    claims = {"pcr_bank": bank_name, "pcrs_quoted": ",".join(str(one) for one in registers.values)}
    secure_boot: bool | None = None
    if log is not None:
        unexplained = check_boot_log(log, bank, registers.values)
        secure_boot = log.secure_boot(bank) if 7 in registers.values else None
        claims["boot_events"] = str(len(log.events))
        claims["pcrs_unexplained"] = ",".join(str(one) for one in unexplained)
    claims["secure_boot"] = {True: "on", False: "off", None: "unknown"}[secure_boot]
    wrong = [index for index, taken in policy.pcrs.items() if registers.values.get(index) not in taken]
    explained = log is not None and set(registers.values) >= _FIRMWARE_PCRS
    if wrong:
        names = ", ".join(str(one) for one in wrong)
        state = (Status.FAIL, f"PCR {names} is not quoted, or has no value of the policy's list")
    elif policy.require_secure_boot and secure_boot is not True:
        state = (Status.FAIL, "the policy requires Secure Boot, and no boot log proves it")
    elif explained:
        state = (Status.PASS, f"the boot log gives the quoted registers; Secure Boot: {claims['secure_boot']}")
    elif policy.pcrs:
        state = (Status.PASS, "the quoted registers have values of the policy's list")
    else:
        state = (Status.ABSENT, "registers were quoted, but no boot log explains those of the firmware")
    holds = state[0] is not Status.FAIL
    measured = holds and any(complete <= set(policy.pcrs) for complete in _COMPLETE)
    factors = [_factor(FactorId.PLATFORM_STATE, state[0], source, state[1])]
    if measured:
        word = "every register from firmware to initrd has a value of the policy's list"
        factors.append(_factor(FactorId.CODE_MEASUREMENT, Status.PASS, source, word))
    return Boot(holds=holds, measured=measured, factors=tuple(factors), claims=claims)


def settle(standing: Standing, boot: Boot) -> Tier:
    """The tier of a quote: hardware-rooted only with a vendor's chip, and with what the policy demands of its start."""
    return Tier.HARDWARE_ROOTED if standing.rooted and boot.holds else Tier.SELF_ASSERTED


def _certified(certified: Endorsed, ek: Endorsed | None, public: Public) -> Standing:
    return Standing(
        rooted=True,
        ek=ek,
        factors=(
            _factor(
                FactorId.ATTESTATION_KEY,
                Status.PASS,
                Source.VENDOR_ROOTED,
                "a restricted signing key that its vendor certified",
            ),
            _factor(
                FactorId.ACTIVATION,
                Status.PASS,
                Source.VENDOR_ROOTED,
                "not needed: the vendor's certificate is for the attestation key itself",
            ),
            _chain(certified.vendor, "attestation key"),
        ),
        claims=_claims(public, certified.vendor),
        certified=True,
    )


def _activated(ek: Endorsed, public: Public) -> Standing:
    return Standing(
        rooted=True,
        ek=ek,
        factors=(
            _factor(
                FactorId.ATTESTATION_KEY,
                Status.PASS,
                Source.PEER_WITNESSED,
                "a restricted signing key of the chip with the endorsement key",
            ),
            _factor(
                FactorId.ACTIVATION,
                Status.PASS,
                Source.PEER_WITNESSED,
                "this verifier saw the chip hand out a secret made for both keys",
            ),
            _chain(ek.vendor, "endorsement key"),
        ),
        claims=_claims(public, ek.vendor),
    )


def _unknown(ek: Endorsed | None, public: Public) -> Standing:
    word = "no vendor certified the attestation key"
    if ek is not None:
        word = f"a genuine endorsement key of {ek.vendor}, but nothing ties the attestation key to it"
    return Standing(
        rooted=False,
        ek=ek,
        factors=(
            _factor(
                FactorId.ATTESTATION_KEY,
                Status.PASS,
                Source.SELF_ASSERTED,
                "a key that says of itself that a chip holds it; a program could say the same",
            ),
            _factor(
                FactorId.ACTIVATION,
                Status.ABSENT,
                Source.PEER_WITNESSED,
                "this verifier has not activated the key; only who did can know that it lives in a chip",
            ),
            _factor(FactorId.VENDOR_CHAIN, Status.ABSENT, Source.SELF_ASSERTED, word),
        ),
        claims=_claims(public, ""),
    )


def _chain(vendor: str, of: str) -> Factor:
    word = f"the certificate of the {of} leads to a pinned root of {vendor}; revocation is not checked"
    return _factor(FactorId.VENDOR_CHAIN, Status.PASS, Source.VENDOR_ROOTED, word)


def _claims(public: Public, vendor: str) -> dict[str, str]:
    claims = {"attestation_key": public.name.hex()}
    return {**claims, "vendor": vendor} if vendor else claims


def _factor(factor: FactorId, status: Status, source: Source, reason: str) -> Factor:
    return Factor(factor=factor, status=status, source=source, reason=reason)


def _read_pcrs(table: Mapping[str, object]) -> dict[int, frozenset[bytes]]:
    read: dict[int, frozenset[bytes]] = {}
    for name, values in table.items():
        if name not in {str(index) for index in range(_PCRS)} or not isinstance(values, tuple):
            raise VerificationError("platform_state", "the policy's [tpm] pcrs are named 0 to 23")
        read[int(name)] = frozenset(bytes.fromhex(str(value)) for value in values)
    return read
