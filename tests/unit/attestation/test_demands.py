"""What a policy demands of a host's own word: posture and backend, each a factor with its reason."""

from __future__ import annotations

import pytest

from kit import attested
from kit.attested import NOW, ProvenHost
from sealmesh.attestation.challenge import ProofAnswer
from sealmesh.attestation.factors import Factor, FactorId, Source, Status
from sealmesh.attestation.policy import BackendRule, Policy, parse_policy_untrusted
from sealmesh.attestation.verifier import HostVerdict, Verifier
from sealmesh.errors import ConfigError
from sealmesh.hardening.posture import Control

POLICY = Policy(posture=(Control.SECCOMP, Control.LANDLOCK))
GOOD = {"seccomp": "on: 39 calls are refused", "landlock": "on", "yama": "off: ptrace_scope is 0"}
#: What a peer writes must not reach a reason: `\x1b[2J` clears a terminal.
HOSTILE = "on\x1b[2J"


@pytest.fixture
def host() -> ProvenHost:
    return ProvenHost()


def judge(host: ProvenHost, answer: ProofAnswer, policy: Policy) -> HostVerdict:
    return attested.judge(host, answer, verifier=Verifier(policy=policy))


def factor(verdict: HostVerdict, wanted: FactorId) -> Factor:
    return next(one for one in verdict.verdict.factors if one.factor is wanted)


def test_a_host_that_says_that_every_demanded_control_is_on_is_taken(host: ProvenHost) -> None:
    verdict = judge(host, host.answer(posture=GOOD), POLICY)
    found = factor(verdict, FactorId.POSTURE)
    assert (found.status, found.source) == (Status.PASS, Source.SELF_ASSERTED)
    assert POLICY.refusals(verdict, NOW) == ()


@pytest.mark.parametrize(
    ("posture", "words"),
    [
        ({**GOOD, "landlock": "off: other threads run already"}, "landlock is off"),
        ({**GOOD, "landlock": "unavailable: old kernel"}, "landlock is unavailable"),
        ({"seccomp": "on"}, "landlock is not named"),
        ({}, "seccomp is not named, landlock is not named"),
        ({**GOOD, "landlock": HOSTILE}, "landlock is not named"),
        ({**GOOD, "landlock": "ON"}, "landlock is not named"),
    ],
)
def test_a_host_that_does_not_is_refused_and_told_apart_without_its_own_words(
    host: ProvenHost, posture: dict[str, str], words: str
) -> None:
    verdict = judge(host, host.answer(posture=posture), POLICY)
    found = factor(verdict, FactorId.POSTURE)
    assert (found.status, found.reason) == (Status.FAIL, f"demanded, and the host says: {words}")
    assert POLICY.refusals(verdict, NOW) == (f"of its hardening, {words}; the policy demands it",)
    assert HOSTILE not in found.reason


def test_nothing_is_demanded_where_the_policy_says_nothing(host: ProvenHost) -> None:
    verdict = judge(host, host.answer(posture={}), Policy())
    assert factor(verdict, FactorId.POSTURE).status is Status.ABSENT
    assert factor(verdict, FactorId.BACKEND).status is Status.ABSENT
    assert Policy().refusals(verdict, NOW) == ()


@pytest.mark.parametrize(("backend", "status"), [("in-process", Status.PASS), ("local", Status.FAIL)])
def test_a_backend_that_is_demanded_is_a_factor_too(host: ProvenHost, backend: str, status: Status) -> None:
    policy = Policy(backend=BackendRule.IN_PROCESS)
    verdict = judge(host, host.answer(backend=backend), policy)
    found = factor(verdict, FactorId.BACKEND)
    assert found.status is status
    assert f"its backend is {backend}" in found.reason
    assert bool(policy.refusals(verdict, NOW)) is (status is Status.FAIL)


def test_a_policy_file_names_controls() -> None:
    policy = parse_policy_untrusted(b'posture = ["seccomp", "landlock", "seccomp"]\nbackend = "in-process"')
    assert policy.posture == (Control.SECCOMP, Control.LANDLOCK)
    assert policy.backend is BackendRule.IN_PROCESS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('posture = ["secomp"]', "no control 'secomp'"),
        ("posture = []", "an empty list never means"),
        ('posture = "seccomp"', "posture is a list"),
        ("posture = [1]", "posture is a text"),
        ('[posture]\nseccomp = "on"', "posture is a list"),
    ],
)
def test_a_demand_that_cannot_be_understood_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_policy_untrusted(text.encode())
