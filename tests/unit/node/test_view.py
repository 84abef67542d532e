"""Records, verdicts and links joined into what people and the dialer see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kit.attested import NOW, ProvenHost, judge
from kit.people import Member, People
from sealmesh import __version__
from sealmesh.attestation.plain import PlainRule
from sealmesh.attestation.verified import VerifiedHost
from sealmesh.attestation.verifier import HostVerdict
from sealmesh.client.asker import Answer, AppRequest, Asker, ModelListing
from sealmesh.client.counters import Counters
from sealmesh.errors import BusyError
from sealmesh.gossip.record import Model, Summary
from sealmesh.gossip.table import Entry
from sealmesh.host.serve import HostCounters
from sealmesh.identity.grants import Role
from sealmesh.node.view import MeshView, offer_of, snapshot
from sealmesh.routing.directory import Directory
from sealmesh.status import MeshStatus

OWN = b"o" * 32


@dataclass
class Verdicts:
    """What the verifier knows, as the test says, and what it was told."""

    verdicts: dict[bytes, HostVerdict] = field(default_factory=dict)
    hosts: dict[bytes, VerifiedHost] = field(default_factory=dict)
    reasons: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    told: list[tuple[str, bytes]] = field(default_factory=list)

    def verified(self, endpoint_id: bytes, now: float) -> VerifiedHost | None:
        return self.hosts.get(endpoint_id)

    def verdict(self, endpoint_id: bytes) -> HostVerdict | None:
        return self.verdicts.get(endpoint_id)

    def refusals(self, endpoint_id: bytes) -> tuple[str, ...]:
        return self.reasons.get(endpoint_id, ())

    def note_host(self, endpoint_id: bytes) -> None:
        self.told.append(("note", endpoint_id))

    def forget(self, endpoint_id: bytes) -> None:
        self.told.append(("forget", endpoint_id))


@dataclass
class Line:
    rtt_ms: float | None = 3.5
    path: str = "direct"


class Seen:
    """A view over records that the test puts there."""

    def __init__(self) -> None:
        self.summaries: dict[bytes, Summary] = {}
        self.links: dict[bytes, Line] = {}
        self.verdicts = Verdicts()
        self.directory = Directory(verified=self.verdicts.verified, refusals=self.verdicts.refusals)
        self.view = MeshView(
            own_id=OWN,
            directory=self.directory,
            verifier=self.verdicts,  # type: ignore[arg-type]
            entry=lambda one: self.entry(self.summaries[one]) if one in self.summaries else None,
            entries=lambda: [self.entry(summary) for summary in self.summaries.values()],
            link=self.links.get,  # type: ignore[arg-type]
            now=lambda: NOW + 60,
        )

    def entry(self, summary: Summary) -> Entry:
        nothing: Any = None
        return Entry(data=b"", digest=b"", summary=summary, credentials=b"", admitted=nothing, seen_at=NOW)

    def put(self, summary: Summary) -> bytes:
        self.summaries[summary.endpoint_id] = summary
        self.view.record_changed(summary.endpoint_id)
        return summary.endpoint_id


def host(people: People) -> Member:
    return people.member()


def test_an_offer_is_of_a_host_with_models_that_stays() -> None:
    member = People().member()
    summary = member.summary(models=(Model(name="m", context_length=9, digest=bytes(32)),))
    offer = offer_of(summary)
    assert offer is not None
    assert (offer.endpoint_id, offer.models, offer.plain) == (member.id, {"m": 9}, False)
    assert offer_of(member.summary(leaving=True)) is None
    assert offer_of(member.summary(models=())) is None
    assert offer_of(member.summary(roles=Role.CLIENT)) is None


def test_a_node_without_a_sealed_suite_is_plain() -> None:
    member = People().member()
    for capabilities in ((), ("relay:1", "unsealed:1")):
        offer = offer_of(member.summary(capabilities=capabilities))
        assert offer is not None
        assert offer.plain
        assert not offer.takes_plain
    willing = offer_of(member.summary(capabilities=("plain",)))
    assert willing is not None
    assert (willing.plain, willing.takes_plain) == (True, True)
    both = offer_of(member.summary(capabilities=("plain", "sealed:1")))
    assert both is not None
    assert not both.plain


def test_a_key_in_a_record_is_noted_before_the_record_counts() -> None:
    """[PL-4]"""
    seen, member = Seen(), People().member()
    keyed: list[tuple[bytes, int]] = []
    seen.view._note_key = lambda one: keyed.append((one, len(list(seen.directory))))
    seen.put(member.summary(capabilities=("plain",)))
    assert keyed == []
    seen.directory.remove(member.id)
    one = seen.put(member.summary(capabilities=("plain", "sealed:9")))
    assert keyed == [(one, 0)]


def test_a_plain_host_is_shown_as_plain_with_why_it_is_not_used() -> None:
    """[PL-7]"""
    seen, member = Seen(), People().member()
    seen.put(member.summary(capabilities=("plain",)))
    (peer,) = seen.view.peers()
    assert (peer.plain, peer.tier, peer.sealed_suites) == (True, "none", ())
    assert "--allow-plain-hosts" in peer.refused[0]
    seen.directory._plain_rule = PlainRule(allowed=True, demanded="", had_key=lambda _: False)
    assert seen.view.peers()[0].refused == ()


def test_a_new_host_is_offered_and_challenged_and_one_that_leaves_is_forgotten() -> None:
    seen, member = Seen(), People().member()
    one = seen.put(member.summary())
    assert [offer.endpoint_id for offer in seen.directory] == [one]
    seen.put(member.summary(leaving=True))
    assert list(seen.directory) == []
    assert seen.verdicts.told == [("note", one), ("forget", one)]
    del seen.summaries[one]
    seen.view.record_changed(one)
    assert seen.verdicts.told[-1] == ("forget", one)


def test_a_plain_host_is_never_challenged_and_this_node_is_no_host_of_its_own() -> None:
    seen, member = Seen(), People().member()
    seen.put(member.summary(capabilities=()))
    seen.put(member.summary(endpoint_id=OWN))
    assert seen.verdicts.told == [("forget", member.id)]
    assert len(list(seen.directory)) == 1
    assert [peer.endpoint_id for peer in seen.view.peers()] == [member.id.hex()]


def test_addresses_and_round_trips_are_those_of_records_and_links() -> None:
    seen, member = Seen(), People().member()
    one = seen.put(member.summary(relay_url="https://relay.example"))
    address = seen.view.address_of(one)
    assert address is not None
    assert (address.endpoint_id, address.relay_url) == (one, "https://relay.example")
    assert address.addresses == member.summary().addresses
    assert seen.view.address_of(OWN) is None
    assert seen.view.rtt_ms(one) is None
    seen.links[one] = Line()
    assert seen.view.rtt_ms(one) == 3.5
    seen.links[one] = Line(rtt_ms=None)
    assert seen.view.rtt_ms(one) == 0.0


def test_a_verified_host_shows_its_verdict_and_a_refused_one_why() -> None:
    seen, people = Seen(), People()
    proven = ProvenHost()
    verdict = judge(proven)
    member = people.member()
    one = seen.put(member.summary())
    seen.verdicts.verdicts[one] = verdict
    seen.verdicts.hosts[one] = verdict.host_for(proven.epoch(), NOW)
    seen.links[one] = Line()
    other = seen.put(people.member().summary())
    seen.verdicts.reasons[other] = ("it did not answer",)
    peers = {peer.endpoint_id: peer for peer in seen.view.peers()}
    good, bad = peers[one.hex()], peers[other.hex()]
    assert (good.tier, good.connected, good.rtt_ms, good.path) == ("self-asserted", True, 3.5, "direct")
    assert good.sealed_suites == ("xwing", "x25519")
    assert good.evidence_age_s == 60.0
    assert good.posture == {"core_dumps": "off: RLIMIT_CORE=0"}
    assert good.refused == ()
    assert (bad.tier, bad.connected, bad.path, bad.refused) == ("none", False, "unknown", ("it did not answer",))
    assert (bad.sealed_suites, bad.evidence_age_s) == ((), None)
    assert list(peers) == sorted(peers)


def test_a_client_is_refused_nothing_and_who_leaves_is_not_shown() -> None:
    seen, people = Seen(), People()
    client = seen.put(people.member(Role.CLIENT).summary(models=()))
    seen.verdicts.reasons[client] = ("nobody asked",)
    seen.put(people.member().summary(leaving=True))
    (peer,) = seen.view.peers()
    assert (peer.role, peer.refused) == ("client", ())


class Nobody(Asker):
    def models(self) -> tuple[ModelListing, ...]:
        return (ModelListing(name="m", context_length=1, hosts=2, usable=True, best_tier="pinned"),)

    async def ask(self, request: AppRequest) -> Answer:
        raise NotImplementedError


def test_a_snapshot_adds_what_was_asked_and_what_was_served() -> None:
    asked, served = Counters(), HostCounters()
    asked.asked()
    asked.asked().done(prompt_tokens=1, completion_tokens=2)
    asked.asked().failed(BusyError())
    served.open, served.done, served.prompt_tokens, served.completion_tokens = 3, 4, 5, 6
    served.refused.update({"busy": 2})
    status = snapshot(
        own_id=OWN,
        mesh=MeshStatus(id="aa", name="home"),
        roles=("client", "host"),
        view=Seen().view,
        asker=Nobody(),
        asked=asked,
        served=served,
        policy_minimum="none",
        posture={"seccomp": "on"},
        uptime_s=1.26,
    )
    assert (status.version, status.endpoint_id, status.uptime_s) == (__version__, OWN.hex(), 1.3)
    assert (status.exchanges.open, status.exchanges.done) == (4, 5)
    assert status.exchanges.failed_by_reason == {"busy": 1, "served_busy": 2}
    assert (status.tokens.prompt, status.tokens.completion) == (1, 2)
    assert (status.tokens.served_prompt, status.tokens.served_completion) == (5, 6)
    assert [model.name for model in status.models] == ["m"]
    assert asked.status().failed_by_reason == {"busy": 1}  # taking it changes nothing
