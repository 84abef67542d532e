"""`--require-attested-hosts` by real processes against hosts that lie, each about one thing (A04, A06, A07, A08).

Every liar is the product's own node with one part replaced (`kit.lying_host`), over QUIC, with emulated TPMs of a CA
that the asker trusts: so nothing but the lie is there to refuse it for. In memory, with more liars:
tests/attacks/test_a06_required_hosts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.acceptance.attested import (
    PROMPT,
    ask,
    ask_until,
    failed,
    give_issuers,
    host_with,
    policy_file,
    wait_for_evidence,
)
from tests.acceptance.conftest import Mesh, Node, wait_for_status, wait_until_usable

from kit.lying_host import Lie, LyingProcess
from kit.swtpm import SoftwareTpm

pytestmark = [pytest.mark.process, pytest.mark.swtpm, pytest.mark.xdist_group("attested")]

SOFTWARE = "software-key"
#: What each is refused for, by the factor and in words.
REASONS = {
    SOFTWARE: ("vendor_chain", "no hardware vendor speaks for this host"),
    Lie.NO_EVIDENCE: ("binding", "no evidence of a known type"),
    Lie.ANOTHERS_EVIDENCE: ("binding", "made for something else"),
    Lie.SWAPPED_KEY: ("epoch_statement", "did not sign these inference keys"),
    Lie.STALE_STATEMENT: ("freshness", "the host statement has expired"),
    Lie.REPLAYED_ANSWER: ("own_nonce", "answers another challenge"),
    Lie.ANOTHERS_CERTIFICATE: ("activation", "the activation has failed"),
    Lie.CHANGED_KEY: ("attestation_key", "its hardware key has changed"),
}


def test_every_liar_is_refused_for_its_own_lie_and_gets_no_prompt(mesh: Mesh, two_tpms: list[SoftwareTpm]) -> None:
    tpm, liars_tpm = two_tpms
    good = host_with(mesh, tpm)
    evidence = mesh.root / "evidence"
    policy = policy_file(mesh.root / "policy.toml", tpm.authority.roots, max_age=6)
    client = mesh.client(
        good.ticket,
        *("--require-attested-hosts", "--policy", str(policy), "--save-evidence", str(evidence)),
        record=True,
    )
    wait_until_usable(client, "echo")
    stolen = wait_for_evidence(client, evidence, good)
    change = mesh.root / "change"

    def launch(lie: str) -> Callable[[], Node]:
        give_issuers(mesh.next_home("serve"), liars_tpm)
        arguments = ["--backend", f"echo:?name={lie}", "--tpm", str(liars_tpm.path)]
        if lie == SOFTWARE:  # no lie: it says what it is
            return mesh.launch_host(*arguments, "--attester", "software", ticket=good.ticket)
        kind = partial(LyingProcess, lie=Lie(lie), stolen=stolen, other_tpm=tpm.path, other_tpm_when=change)
        return mesh.launch_host(*arguments, ticket=good.ticket, kind=kind)

    starting = {lie: launch(lie) for lie in REASONS}
    hosts = {lie: ready() for lie, ready in starting.items()}
    # As long as the last one tells the truth it is as good as any: this program is not refused for being another one.
    wait_until_usable(client, Lie.CHANGED_KEY, timeout_s=40)
    change.touch()

    for lie, (factor, words) in REASONS.items():
        host = hosts[lie]

        def refused(status: dict, host: Node = host, words: str = words) -> bool:
            peers = [peer for peer in status["peers"] if peer["endpoint_id"] == host.endpoint_id]
            return any(words in reason for peer in peers for reason in peer["refused"])

        status = wait_for_status(client, refused, f"{lie} was not refused", timeout_s=40)
        assert [one["usable"] for one in status["models"] if one["name"] == lie] == [False], lie
        error = ask_until(client, "no_attested_host", model=lie)
        said = error["refused"][host.endpoint_id]
        assert words in said
        assert factor in failed(error, host)
        assert not [other for _, other in REASONS.values() if other != words and other in said], lie

    # Nothing has left yet; and the record would show it, as it does for the one that is good.
    assert mesh.sealed_streams(client) == 0
    ask_until(client, "none")
    assert mesh.sealed_streams(client) == 1
    assert ask(client).headers["x-sealmesh-host"] == good.endpoint_id
    assert PROMPT.encode() not in mesh.recorded(client)
