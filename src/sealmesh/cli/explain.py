"""What a verdict means, in words that promise no more than the evidence does (ATTESTATION.md, Two questions)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealmesh.attestation.appraise import Appraisal
from sealmesh.attestation.factors import FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.words import tier_words
from sealmesh.cli.terminal import Tone, escape_peer_text

_SHOWN_MAX: Final = 400  # characters of a reason or a claim

#: Whose chip a kind of raw evidence speaks of.
_MAKERS: Final[Mapping[str, str]] = {
    "sev-snp": "AMD",
    "tdx": "Intel",
    "sgx": "Intel",
    "nvidia-gpu": "NVIDIA",
    "app-attest": "Apple",
    "apple-mda": "Apple",
    "nitro": "AWS Nitro",
}

_SOURCES: Final[Mapping[Source, str]] = {
    Source.SELF_ASSERTED: "the host's own word, or of who made the file",
    Source.PEER_WITNESSED: "seen by the verifier itself",
    Source.VENDOR_ROOTED: "a hardware vendor's signature",
    Source.HARDWARE: "the chip itself",
}

#: What each factor asks, for somebody who has read no specification.
QUESTIONS: Final[Mapping[FactorId, str]] = {
    FactorId.HOST_STATEMENT: "is what the host says of itself well formed?",
    FactorId.ENDPOINT_ID: "is it about the host that was reached?",
    FactorId.FRESHNESS: "is it of its time?",
    FactorId.OWN_NONCE: "was it made for this one asker's random number?",
    FactorId.EPOCH_STATEMENT: "are the keys that prompts are sealed to the host's?",
    FactorId.BINDING: "does the evidence vouch for just this, and for nothing else?",
    FactorId.ATTESTATION_KEY: "which key signed the evidence, and what is known of it?",
    FactorId.PIN: "is it the key that the asker holds the host to?",
    FactorId.ACTIVATION: "has the chip shown that this key lives in it?",
    FactorId.VENDOR_CHAIN: "does a hardware vendor say that the chip is genuine?",
    FactorId.PLATFORM_STATE: "how was the machine started?",
    FactorId.CODE_MEASUREMENT: "which code runs, by the word of what is below it?",
    FactorId.ACCELERATORS: "are the accelerators genuine, and whose are they?",
    FactorId.POSTURE: "does it say that what you demand protects its process?",
    FactorId.BACKEND: "does it say that its model is as near as you demand?",
    FactorId.MEASUREMENT: "is the build that the host says it runs a blessed one?",
}

_STYLES: Final[Mapping[Status, str]] = {Status.PASS: "green", Status.FAIL: "red", Status.ABSENT: "dim"}


def shown_tier_words(appraisal: Appraisal) -> str:
    """What the tier is worth, with the maker's name where one is known."""
    vendor = appraisal.claims.get("vendor", "")  # of a TPM, by the names of the policy
    words = tier_words(appraisal.tier.label, appraisal.operator_blind.value, vendor=vendor)
    maker = _MAKERS.get(appraisal.kind, "")
    return words.replace("a genuine vendor's chip", f"a genuine {maker} chip") if maker else words


def is_bound(appraisal: Appraisal) -> bool:
    """Whether the evidence vouches for what the reader asked for, or for a host."""
    return any(one.factor is FactorId.BINDING and one.status is Status.PASS for one in appraisal.factors)


def headline(name: str, appraisal: Appraisal, tone: Tone) -> str:
    """One line: which file, verified or refused, the tier and what it is worth."""
    word = tone.style("verified", "green") if appraisal.verified else tone.style("refused", "red")
    shown = escape_peer_text(name, most=_SHOWN_MAX)
    if appraisal.tier is Tier.NONE:
        said = "it holds, and shows nothing of a host by itself" if appraisal.verified else "nothing was proven"
        return f"{shown}: {word}: none: {said}"
    unbound = "" if is_bound(appraisal) else " (bound to nothing: whose, and of when, is not shown)"
    return f"{shown}: {word}: {appraisal.tier.label}: {shown_tier_words(appraisal)}{unbound}"


def explain_lines(appraisal: Appraisal, tone: Tone, *, saved: bool) -> list[str]:
    """The whole verdict for a reader who wants to know why, and what it does not say."""
    lines = []
    if appraisal.reasons:
        lines += ["", tone.style("Why it is refused", "bold")]
        lines += [f"  {escape_peer_text(reason, most=_SHOWN_MAX)}" for reason in appraisal.reasons]
    lines += ["", tone.style("What it means", "bold"), *(f"  {line}" for line in _meaning(appraisal, saved=saved))]
    lines += ["", tone.style("What was checked", "bold")]
    for one in appraisal.factors:
        status = tone.style(one.status.value.ljust(6), _STYLES[one.status])
        lines.append(f"  {one.number:>2} {one.id:<16} {status} {QUESTIONS[one.factor]}")
        word = f" ({_SOURCES[one.source]})" if one.status is Status.PASS else ""
        lines.append(f"{' ' * 29}{escape_peer_text(one.reason, most=_SHOWN_MAX)}{word}")
    if appraisal.claims:
        lines += ["", tone.style("What the evidence says", "bold")]
        lines += [
            f"  {escape_peer_text(name)}: {escape_peer_text(value, most=_SHOWN_MAX)}"
            for name, value in sorted(appraisal.claims.items())
        ]
    return lines


def _meaning(appraisal: Appraisal, *, saved: bool) -> list[str]:
    if appraisal.tier is Tier.NONE:
        said = ["Nothing was proven of a host by this file alone; treat the host as one that showed no evidence."]
        if appraisal.tier_if_bound > Tier.NONE:
            said.append(
                f"If it were bound to what you asked for it would be {appraisal.tier_if_bound.label}. Genuine evidence "
                "of somebody else's machine, or of last year, looks the same as yours: give --nonce or --report-data, "
                "or accept with --unbound that nothing is bound."
            )
        return said
    said = [f"{appraisal.tier.label}: {shown_tier_words(appraisal)}."]
    if not is_bound(appraisal):
        said.append("Nothing ties it to a host or a time: it may be anybody's.")
    if appraisal.code_measured:
        said.append("A layer below the code signed which code runs, and it is on your list.")
    else:
        said.append("Which code runs there is not shown: nothing below it vouches for code that you listed.")
    if appraisal.operator_blind is OperatorBlind.SOFTWARE:
        said.append("Its owner cannot read prompts with software alone. Whoever opens the machine can.")
    else:
        said.append("Its owner can read prompts: nothing here says otherwise.")
    if saved:
        said.append("When it was asked for, and over which connection, is the word of whoever saved the file.")
    return said
