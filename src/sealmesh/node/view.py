"""What this node knows of the mesh, kept in step: records feed the directory and the verifier, both feed the status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from sealmesh import __version__
from sealmesh.attestation.statement import HostStatement
from sealmesh.client.asker import Asker
from sealmesh.client.counters import Counters
from sealmesh.client.verify import HostVerifier
from sealmesh.errors import VerificationError
from sealmesh.gossip.record import Summary
from sealmesh.gossip.table import Entry
from sealmesh.host.serve import HostCounters
from sealmesh.identity.grants import Role
from sealmesh.mesh.shunned import CutOff
from sealmesh.node.attested import attestation_of
from sealmesh.node.plain import CAPABILITY as PLAIN
from sealmesh.routing.directory import Directory, HostOffer
from sealmesh.sealed.suites import Suite
from sealmesh.status import (
    BlessedStatus,
    CutOffStatus,
    ExchangeStatus,
    HostAttestation,
    MeshStatus,
    ModelStatus,
    NodeStatus,
    PeerStatus,
    ServedModelStatus,
    ServedStatus,
    TokenStatus,
)
from sealmesh.transport.base import EndpointAddress, PathKind

_SEALED_PREFIX: Final = "sealed:"


def offer_of(summary: Summary) -> HostOffer | None:
    """What a record offers to askers; None for a node that serves nothing or is leaving."""
    if summary.leaving or Role.HOST not in summary.roles or not summary.models:
        return None
    return HostOffer(
        endpoint_id=summary.endpoint_id,
        models={model.name: model.context_length for model in summary.models},
        plain=not any(capability.startswith(_SEALED_PREFIX) for capability in summary.capabilities),
        takes_plain=PLAIN in summary.capabilities,
    )


class LinkView(Protocol):
    """What the view needs of a link: how a peer is reached."""

    @property
    def rtt_ms(self) -> float | None:
        """Round-trip time in milliseconds, if measured."""

    @property
    def path(self) -> PathKind:
        """How packets reach the member."""


class MeshView:
    """Records, verdicts and links of one node, joined.

    Args:
        own_id: This node's endpoint id.
        directory: Hosts and their offers.
        verifier: Verdicts.
        entry: The record in force of an endpoint.
        entries: All records in force.
        link: Endpoint id to the live link, if there is one.
        now: Unix seconds.
        note_key: Told of each endpoint whose own record names a key, before the record counts; None in tests
            of other things.
        build_state: What the policy makes of the build that a host says it runs; "" where it names no list.
    """

    def __init__(
        self,
        *,
        own_id: bytes,
        directory: Directory,
        verifier: HostVerifier,
        entry: Callable[[bytes], Entry | None],
        entries: Callable[[], Iterable[Entry]],
        link: Callable[[bytes], LinkView | None],
        now: Callable[[], float],
        note_key: Callable[[bytes], None] | None = None,
        build_state: Callable[[HostStatement], str] = lambda _: "",
    ) -> None:
        self._own_id = own_id
        self._note_key = note_key
        self._directory = directory
        self._verifier = verifier
        self._entry = entry
        self._entries = entries
        self._link = link
        self._now = now
        self._build_state = build_state

    def record_changed(self, endpoint_id: bytes) -> None:
        """The table holds something new of an endpoint, or its record has ended."""
        if endpoint_id == self._own_id:
            return
        entry = self._entry(endpoint_id)
        offer = None if entry is None else offer_of(entry.summary)
        if offer is None:
            self._directory.remove(endpoint_id)
            self._verifier.forget(endpoint_id)
            return
        if offer.plain:
            self._verifier.forget(endpoint_id)
        elif self._note_key is not None:
            self._note_key(endpoint_id)  # [PL-4]
        self._directory.put(offer)
        if not offer.plain:
            self._verifier.note_host(endpoint_id)

    def address_of(self, endpoint_id: bytes) -> EndpointAddress | None:
        """Where a member says that it can be reached."""
        entry = self._entry(endpoint_id)
        if entry is None:
            return None
        return EndpointAddress(
            endpoint_id=endpoint_id,
            addresses=entry.summary.addresses,
            relay_url=entry.summary.relay_url or None,
        )

    def rtt_ms(self, endpoint_id: bytes) -> float | None:
        """Round-trip time to a connected member; None where it is not connected."""
        link = self._link(endpoint_id)
        return None if link is None else (link.rtt_ms or 0.0)

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every other member that is known."""
        return tuple(
            self._peer(entry)
            for entry in sorted(self._entries(), key=lambda entry: entry.summary.endpoint_id)
            if entry.summary.endpoint_id != self._own_id and not entry.summary.leaving
        )

    def attestation(self, model: str) -> tuple[HostAttestation, ...]:
        """The evidence and the verdict of every other node that advertises a model."""
        found = []
        for entry in sorted(self._entries(), key=lambda entry: entry.summary.endpoint_id):
            summary, offer = entry.summary, offer_of(entry.summary)
            if offer is None or summary.endpoint_id == self._own_id or model not in offer.models:
                continue
            shown = attestation_of(self._verifier, summary.endpoint_id, name=summary.name, now=self._now())
            # A plain node has nothing to seal to, so nothing is ever asked of it.
            found.append(replace(shown, refused=self._refusals(offer), waiting=False) if offer.plain else shown)
        return tuple(found)

    def _peer(self, entry: Entry) -> PeerStatus:
        summary = entry.summary
        now = self._now()
        link = self._link(summary.endpoint_id)
        verdict = self._verifier.verdict(summary.endpoint_id)
        usable = self._verifier.verified(summary.endpoint_id, now)
        offer = offer_of(summary)
        return PeerStatus(
            endpoint_id=summary.endpoint_id.hex(),
            name=summary.name,
            role=",".join(summary.roles.names),
            version=summary.node_version,
            models=tuple(model.name for model in summary.models),
            tier=verdict.verdict.tier.label if verdict else "none",
            code_measured=verdict.verdict.code_measured if verdict else False,
            operator_blind=str(verdict.verdict.operator_blind) if verdict else "no",
            posture=dict(verdict.statement.posture) if verdict else {},
            path=link.path if link else "unknown",
            rtt_ms=link.rtt_ms if link else None,
            sealed_suites=tuple(Suite(suite).label for suite in sorted(usable.keys, reverse=True)) if usable else (),
            evidence_age_s=round(max(0.0, now - verdict.confirmed_at), 1) if verdict else None,
            connected=link is not None,
            plain=offer is not None and offer.plain,
            fingerprint=verdict.fingerprint.hex() if verdict and verdict.fingerprint else "",
            vendor=verdict.claims.get("vendor", "") if verdict else "",
            refused=() if usable or offer is None else self._refusals(offer),
            build=self._build_state(verdict.statement) if verdict else "",
        )

    def _refusals(self, offer: HostOffer) -> tuple[str, ...]:
        if not offer.plain:
            return self._verifier.refusals(offer.endpoint_id)
        try:
            self._directory.plain_host(offer.endpoint_id)
        except VerificationError as error:
            return (error.reason,)
        return ()


def snapshot(
    *,
    own_id: bytes,
    mesh: MeshStatus,
    roles: tuple[str, ...],
    view: MeshView,
    asker: Asker,
    asked: Counters,
    served: HostCounters | None,
    policy_minimum: str,
    posture: Mapping[str, str],
    uptime_s: float,
    attester: str = "",
    hardware_key: str = "",
    keys_at_rest: str = "file",
    blessed: BlessedStatus | None = None,
    cut_off: Iterable[CutOff] = (),
) -> NodeStatus:
    """Take the whole of `/api/status`."""
    own = asked.status()
    failed = dict(own.failed_by_reason)
    for reason, count in served.refused.items() if served is not None else ():
        failed[f"served_{reason}"] = failed.get(f"served_{reason}", 0) + count
    exchanges = ExchangeStatus(
        open=own.open + (served.open if served is not None else 0),
        done=own.done + (served.done if served is not None else 0),
        failed_by_reason=failed,
    )
    return NodeStatus(
        version=__version__,
        endpoint_id=own_id.hex(),
        mesh=mesh,
        roles=roles,
        models=tuple(
            ModelStatus(
                name=listing.name,
                context_length=listing.context_length,
                hosts=listing.hosts,
                usable=listing.usable,
                best_tier=listing.best_tier,
                plain=listing.plain,
            )
            for listing in asker.models()
        ),
        peers=view.peers(),
        exchanges=exchanges,
        tokens=TokenStatus(
            prompt=asked.prompt_tokens,
            completion=asked.completion_tokens,
            served_prompt=served.prompt_tokens if served else 0,
            served_completion=served.completion_tokens if served else 0,
        ),
        policy_minimum=policy_minimum,
        posture=dict(posture),
        uptime_s=round(uptime_s, 1),
        asked=own,
        served=None
        if served is None
        else ServedStatus(
            open=served.open,
            done=served.done,
            refused_by_reason=dict(served.refused),
            models=tuple(
                ServedModelStatus(model=model, requests=done, prompt_tokens=prompt, completion_tokens=completion)
                for model, (done, prompt, completion) in sorted(served.models.items())
            ),
        ),
        attester=attester,
        hardware_key=hardware_key,
        keys_at_rest=keys_at_rest,
        blessed=blessed,
        cut_off=tuple(
            CutOffStatus(
                endpoint_id=one.endpoint_id.hex(), reason=one.reason, times=one.times, left_s=round(one.left_s, 1)
            )
            for one in cut_off
        ),
    )
