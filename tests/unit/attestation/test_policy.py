"""Policies: what is demanded is demanded, what cannot be understood is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kit.attested import NOW, ProvenHost, judge
from kit.tpm import Vendor, pem
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import (
    POLICY_MAX,
    BackendRule,
    FirstUse,
    PinRule,
    Policy,
    PolicyException,
    parse_policy_untrusted,
)
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.errors import ConfigError
from sealmesh.hardening.posture import Control

KEY = "ab" * 32


@pytest.fixture
def verdict() -> HostVerdict:
    return judge(ProvenHost())


def test_an_empty_file_demands_nothing_but_sealing() -> None:
    assert parse_policy_untrusted(b"") == Policy()
    assert Policy().minimum is Tier.NONE


def test_a_whole_file_is_read() -> None:
    policy = parse_policy_untrusted(
        f"""
        minimum = "hardware-rooted"
        max_age = 120
        suites = ["xwing"]
        pins = "refuse"
        on_first_use = "pin"
        backend = "in-process"
        [measurement]
        blessed = ["{KEY.upper()}"]
        [tpm]
        vendors = ["infineon"]
        extra_roots = [{json.dumps(pem(Vendor().root).decode())}]
        require_secure_boot = true
        pcrs = {{ 0 = ["{KEY}"], 7 = ["{KEY}", "{KEY}"] }}
        [apple]
        app_ids = ["TEAM.app"]
        cdhashes = ["aa"]
        mda_max_age = 604800
        [snp]
        measurements = ["{KEY}"]
        min_tcb = {{ snp = 8 }}
        max_vmpl = 0
        [tdx]
        statuses = ["UpToDate"]
        measurements = {{ mrtd = ["{KEY}"] }}
        [gpu]
        required = true
        [[exception]]
        key = "{KEY}"
        tier = "self-asserted"
        until = 2027-01-15T08:00:00Z
        """.encode()
    )
    assert policy.minimum is Tier.HARDWARE_ROOTED
    assert (policy.max_age, policy.suites) == (120.0, frozenset({2}))
    assert (policy.pins, policy.on_first_use, policy.backend) == (PinRule.REFUSE, FirstUse.PIN, BackendRule.IN_PROCESS)
    assert policy.measurements == frozenset({KEY})
    assert policy.vendors["tpm"]["require_secure_boot"] is True
    assert policy.vendors["snp"]["max_vmpl"] == 0
    assert "measurement" not in policy.vendors
    assert policy.exceptions == (PolicyException(key=bytes.fromhex(KEY), tier=Tier.SELF_ASSERTED, until=NOW),)


BAD = {
    "no TOML": ("minimum = ", "valid TOML"),
    "no UTF-8": (b"minimum = '\xff'", "valid TOML"),
    "deep": ("a = " + "[" * 5000, "valid TOML"),
    "unknown key": ('minimun = "pinned"', "unknown key 'minimun'"),
    "unknown key in a table": ("[tpm]\nvendor = ['x']", "unknown key 'vendor' in [tpm]"),
    "unknown tier": ('minimum = "gold"', "unknown tier"),
    "tier is a number": ("minimum = 3", "minimum is a text"),
    "no age": ("max_age = 0", "1 to 600"),
    "age over a verdict's life": ("max_age = 601", "1 to 600"),
    "age is true": ("max_age = true", "whole number"),
    "empty suites": ("suites = []", "never means"),
    "unknown suite": ('suites = ["rot13"]', "'rot13' is none"),
    "suites is a text": ('suites = "xwing"', "is a list"),
    "unknown pin rule": ('pins = "maybe"', "one of accept, refuse"),
    "pin rule is a list": ("pins = ['accept']", "one of accept, refuse"),
    "unknown first use": ('on_first_use = "trust"', "one of refuse, pin"),
    "unknown backend": ('backend = "cloud"', "one of in-process, local, any"),
    "empty blessed list": ("[measurement]\nblessed = []", "never means"),
    "blessed is no hex": ("[measurement]\nblessed = ['zz']", "not hexadecimal"),
    "empty table": ("[snp]", "not empty"),
    "table is a number": ("snp = 1", "is a table"),
    "empty measurements": ("[snp]\nmeasurements = []", "never means"),
    "empty named list": ("[tdx]\nmeasurements = { mrtd = [] }", "never means"),
    "empty name table": ("[tpm]\npcrs = {}", "not empty"),
    "empty text in a list": ("[tpm]\nvendors = ['']", "not empty"),
    "misspelt TPM vendor": ("[tpm]\nvendors = ['intel', 'infinion']", "'infinion' is none; there are google"),
    "a root by its path": ("[tpm]\nextra_roots = ['root.pem']", "not a path"),
    "no such PCR": (f"[tpm]\npcrs = {{ 24 = ['{KEY}'] }}", "unknown key '24' in tpm.pcrs"),
    "a PCR by another name": (f"[tpm]\npcrs = {{ PCR0 = ['{KEY}'] }}", "unknown key 'PCR0' in tpm.pcrs"),
    "an empty digest": ("[measurement]\nblessed = ['']", "is empty"),
    "negative": ("[snp]\nmax_vmpl = -1", "zero or more"),
    "no boolean": ("[gpu]\nrequired = 1", "true or false"),
    "exception is a table": ("[exception]\nkey = 'a'", "[[exception]]"),
    "exception without an end": (f"[[exception]]\nkey = '{KEY}'\ntier = 'none'", "exactly key, tier and until"),
    "exception for a short key": (
        "[[exception]]\nkey = 'abcd'\ntier = 'none'\nuntil = 2027-01-01T00:00:00Z",
        "64 hex digits",
    ),
    "exception until a local time": (
        f"[[exception]]\nkey = '{KEY}'\ntier = 'none'\nuntil = 2027-01-01T00:00:00",
        "with its offset",
    ),
    "exception until a day": (f"[[exception]]\nkey = '{KEY}'\ntier = 'none'\nuntil = 2027-01-01", "with its offset"),
    "too long": ("#" * (POLICY_MAX + 1), "too long"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_file_that_is_not_understood_in_full_is_refused(content: str | bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy_untrusted(content.encode() if isinstance(content, str) else content)
    assert words in str(caught.value)


def test_the_default_accepts_a_software_key(verdict: HostVerdict) -> None:
    assert Policy().refusals(verdict, NOW) == ()


def test_a_tier_below_the_minimum_is_refused(verdict: HostVerdict) -> None:
    assert Policy(minimum=Tier.SELF_ASSERTED).refusals(verdict, NOW) == ()
    (reason,) = Policy(minimum=Tier.PINNED).refusals(verdict, NOW)
    assert reason == "its tier is self-asserted, the policy demands pinned"


def test_the_flag_only_raises_the_minimum() -> None:
    assert Policy().at_least(Tier.HARDWARE_ROOTED).minimum is Tier.HARDWARE_ROOTED
    assert Policy(minimum=Tier.CONFIDENTIAL).at_least(Tier.PINNED).minimum is Tier.CONFIDENTIAL


def test_old_evidence_is_refused(verdict: HostVerdict) -> None:
    policy = Policy(max_age=60)
    assert policy.refusals(verdict, NOW + 60) == ()
    (reason,) = policy.refusals(verdict, NOW + 61)
    assert "61 s old" in reason


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        (BackendRule.IN_PROCESS, {"in-process"}),
        (BackendRule.LOCAL, {"in-process", "local"}),
        (BackendRule.ANY, {"in-process", "local", "remote"}),
    ],
)
def test_a_backend_that_is_too_far_is_refused(rule: BackendRule, accepted: set[str]) -> None:
    host = ProvenHost()
    for backend in ("in-process", "local", "remote"):
        verdict = judge(host, host.answer(backend=backend))
        assert (Policy(backend=rule).refusals(verdict, NOW) == ()) is (backend in accepted)


def test_code_that_is_not_listed_is_refused() -> None:
    host = ProvenHost()
    policy = Policy(measurements=frozenset({KEY}))
    assert policy.refusals(judge(host, host.answer(measurement=bytes.fromhex(KEY))), NOW) == ()
    for other in (b"", b"o" * 32):
        (reason,) = policy.refusals(judge(host, host.answer(measurement=other)), NOW)
        assert "not on the policy's list" in reason


def test_an_exception_is_for_one_host_and_ends(verdict: HostVerdict) -> None:
    granted = PolicyException(key=verdict.endpoint_id, tier=Tier.SELF_ASSERTED, until=NOW + 10)
    policy = Policy(minimum=Tier.HARDWARE_ROOTED, exceptions=(granted,))
    assert policy.refusals(verdict, NOW + 9) == ()
    assert policy.refusals(verdict, NOW + 10) != ()
    other = replace(policy, exceptions=(replace(granted, key=b"o" * 32),))
    assert other.refusals(verdict, NOW) != ()


def test_an_exception_raises_nobodys_minimum(verdict: HostVerdict) -> None:
    granted = PolicyException(key=verdict.endpoint_id, tier=Tier.CONFIDENTIAL, until=NOW + 10)
    assert Policy(exceptions=(granted,)).minimum_for(verdict.endpoint_id, NOW) is Tier.NONE


def test_a_policy_cannot_be_changed_from_outside() -> None:
    policy = parse_policy_untrusted(b"[gpu]\nrequired = true")
    with pytest.raises(TypeError):
        policy.vendors["gpu"]["required"] = False  # type: ignore[index]


def test_what_a_policy_demands_in_a_word() -> None:
    """[PL-3] Whoever asks for anything but a seal sends nothing to a host without a key."""
    assert Policy().demand == ""
    assert Policy().at_least(Tier.SELF_ASSERTED).demand == "self-asserted"
    for policy in (
        Policy(measurements=frozenset({"00"})),
        Policy(backend=next(rule for rule in BackendRule if rule is not BackendRule.ANY)),
        Policy(suites=frozenset({2})),
        Policy(posture=tuple(Control)[:1]),
    ):
        assert policy.demand
    for name in ("max_age", "pins", "on_first_use"):
        assert name not in Policy(max_age=1.0, on_first_use=FirstUse.PIN).demand
