"""A10: somebody brings back code that was taken off the list, or blesses code that its signers never did.

A list is one signature short, of wrong keys, expired, rolled back, for another platform, or put together from two.
"""

from __future__ import annotations

import json

import pytest

from kit.attested import NOW, ProvenHost, judge
from kit.builds import DAY, build, draft, measurement, public, sign, signed, trust
from kit.gossip import Net
from sealmesh.attestation.blessed import BlessedKeeper, read_list_untrusted
from sealmesh.attestation.factors import FactorId, Status
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.verifier import Verifier
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.gossip.messages import Notices, encode
from sealmesh.limits import BLESSED_RECEIVED_BURST


def refused(data: bytes, now: float = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        read_list_untrusted(data, trust(), now)
    assert caught.value.factor == "blessed_list"
    return caught.value.reason


def test_a10_a_whole_list_is_taken() -> None:
    found = read_list_untrusted(signed(now=NOW), trust(), NOW)
    assert found.find_build(measurement(), "linux-x86_64-cp311", NOW).label == build().label


def test_a10_one_signature_short() -> None:
    assert refused(signed(now=NOW, by=["ada"])) == "signed by 1 of the 2 keys that are needed"
    assert refused(draft(now=NOW)) == "signed by 0 of the 2 keys that are needed"


def test_a10_one_holder_does_not_count_as_two() -> None:
    again = sign(signed(now=NOW, by=["ada"]), "ada")
    assert refused(again) == "signed by 1 of the 2 keys that are needed"
    twice = json.loads(again)
    twice["signatures"] *= 2
    assert "no TUF metadata" in refused(json.dumps(twice).encode())
    # The same signature under another's key id.
    posing = json.loads(signed(now=NOW))
    posing["signatures"][1]["sig"] = posing["signatures"][0]["sig"]
    assert refused(json.dumps(posing).encode()) == "signed by 1 of the 2 keys that are needed"
    with pytest.raises(ConfigError, match="twice"):
        trust("ada", "ada", "ben")


def test_a10_wrong_keys() -> None:
    assert refused(signed(now=NOW, by=["eve", "mallory"])) == "signed by 0 of the 2 keys that are needed"
    assert refused(signed(now=NOW, by=["ada", "eve"])) == "signed by 1 of the 2 keys that are needed"
    # A surplus signature of somebody else does no harm.
    assert read_list_untrusted(signed(now=NOW, by=["ada", "eve", "cleo"]), trust(), NOW).version == 1


def test_a10_changed_after_signing() -> None:
    good = json.loads(signed(now=NOW))
    for change in (
        {"version": 2},
        {"expires": "2027-02-15T00:00:00Z"},
        {"x-sealmesh-list": "other"},
        {"targets": {}},
        {"more": 1},
    ):
        changed = {**good, "signed": {**good["signed"], **change}}
        assert refused(json.dumps(changed).encode()) == "signed by 0 of the 2 keys that are needed"


def test_a10_mix_and_match_of_two_lists() -> None:
    """Ada signed the list with the bad build taken off, Ben the one before: nobody gets a list of both."""
    before = json.loads(signed(build("bad"), build("good"), now=NOW, by=["ben"]))
    after = json.loads(signed(build("good"), now=NOW, version=2, by=["ada"]))
    for base in (before, after):
        mixed = {**base, "signatures": [*before["signatures"], *after["signatures"]]}
        assert refused(json.dumps(mixed).encode()) == "signed by 1 of the 2 keys that are needed"


def test_a10_a_list_of_another_mesh_or_product() -> None:
    assert refused(signed(now=NOW, name="another")) == "signed as another list"


def test_a10_other_metadata_of_the_same_signers() -> None:
    other = json.loads(signed(now=NOW))
    other["signed"]["_type"] = "snapshot"
    other["signed"]["meta"] = {}
    assert "another kind" in refused(json.dumps(other).encode())


def test_a10_expired() -> None:
    data = signed(now=NOW)
    assert read_list_untrusted(data, trust(), NOW + 30 * DAY - 1)
    assert "has expired" in refused(data, NOW + 30 * DAY)


def test_a10_a_list_for_years() -> None:
    data = signed(now=NOW, days=3650)
    assert "more than 30 days" in refused(data)


def test_a10_rolled_back() -> None:
    keeper = BlessedKeeper(trust())
    old, new = signed(build("bad"), now=NOW), signed(build("good"), now=NOW, version=2)
    assert keeper.offer_untrusted(old, NOW)
    assert keeper.offer_untrusted(new, NOW)
    with pytest.raises(VerificationError, match="version 1 is older than version 2"):
        keeper.offer_untrusted(old, NOW)
    assert keeper.data == new


def test_a10_rolled_back_over_a_restart_and_past_the_end() -> None:
    old, new = signed(build("bad"), now=NOW + 20 * DAY), signed(build("good"), now=NOW, version=2)
    keeper = BlessedKeeper(trust())
    keeper.restore_untrusted(new)
    later = NOW + 31 * DAY
    assert keeper.in_force(later) is None
    with pytest.raises(VerificationError, match="version 1 is older than version 2"):
        keeper.offer_untrusted(old, later)
    assert keeper.offer_untrusted(signed(build("good"), now=later, version=3), later)


def judged(policy: Policy, **stated: object) -> tuple[Status, str, tuple[str, ...]]:
    host = ProvenHost()
    verdict = judge(host, host.answer(**stated), verifier=Verifier(policy=policy))  # type: ignore[arg-type]
    (factor,) = (one for one in verdict.verdict.factors if one.factor is FactorId.MEASUREMENT)
    assert factor.source.value == "self_asserted"
    return factor.status, factor.reason, policy.refusals(verdict, NOW)


def demanding(*data: bytes) -> Policy:
    base = Policy(blessed_trust=trust()).require_blessed()
    return base.with_blessed(read_list_untrusted(*data, trust(), NOW)) if data else base


def test_a10_a_build_of_another_platform() -> None:
    policy = demanding(signed(build(), build(platform="darwin-arm64-cp312"), now=NOW))
    mine = measurement()
    assert judged(policy, measurement=mine, platform="linux-x86_64-cp311")[0] is Status.PASS
    for platform in ("darwin-arm64-cp312", "", "linux-aarch64-cp311"):
        status, reason, refusals = judged(policy, measurement=mine, platform=platform)
        assert status is Status.FAIL
        assert reason == "unblessed: its build is blessed for another platform"
        assert refusals == (reason,)


@pytest.mark.parametrize("stated", [b"", b"\x07" * 32, public("ada")])
def test_a10_a_build_that_is_not_listed(stated: bytes) -> None:
    status, reason, refusals = judged(demanding(signed(now=NOW)), measurement=stated, platform="linux-x86_64-cp311")
    assert status is Status.FAIL
    assert reason.startswith("unblessed: ")
    assert refusals == (reason,)


def test_a10_no_list_blesses_nothing() -> None:
    status, reason, refusals = judged(demanding(), measurement=measurement(), platform="linux-x86_64-cp311")
    assert (status, refusals) == (Status.FAIL, (reason,))


def test_a10_a_list_that_ends_while_it_is_in_force() -> None:
    host = ProvenHost()
    policy = demanding(signed(now=NOW - 30 * DAY + 5))
    stated = {"measurement": measurement(), "platform": "linux-x86_64-cp311"}
    verdict = judge(host, host.answer(**stated), verifier=Verifier(policy=policy))  # type: ignore[arg-type]
    assert policy.refusals(verdict, NOW + 4) == ()
    assert policy.refusals(verdict, NOW + 5) == ("unblessed: version 1 has expired",)


class Counted(BlessedKeeper):
    """A keeper that counts what is offered to it."""

    offered = 0

    def offer_untrusted(self, data: bytes, now: float) -> bool:
        self.offered += 1
        return super().offer_untrusted(data, now)


def test_a10_a_flood_of_lists_that_do_not_hold_costs_little() -> None:
    """A member sends ever other lists: a few are verified, whether it connects again or not; others' lists count."""
    net, keeper = Net(), Counted(trust())
    node, flooder, other = net.add(blessed=keeper), net.add(), net.add()
    net.link(node, flooder)
    net.link(node, other)
    for number in range(10):
        for _ in range(20):
            bad = encode(Notices(blessed=signed(now=NOW, version=2 + number, by=["ada"])))
            net.do(node, net.cores[node].receive_untrusted(flooder, bad, net.now))
        net.cut(node, flooder)
        net.link(node, flooder)
    assert keeper.offered <= BLESSED_RECEIVED_BURST
    net.do(node, net.cores[node].receive_untrusted(other, encode(Notices(blessed=signed(now=NOW))), net.now))
    assert keeper.newest is not None
    net.run(5)
    net.do(
        node, net.cores[node].receive_untrusted(flooder, encode(Notices(blessed=signed(now=NOW, version=9))), net.now)
    )
    assert keeper.newest.version == 9
    assert net.misbehaved == []
