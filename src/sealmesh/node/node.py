"""One node, up: its parts joined, what happens between them, and its proper end.

Nothing new is accepted at the end, what runs is ended, peers are told. What a part needs of the outside world (time,
randomness, the network) is handed to it here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealmesh.api.server import ApiServer
from sealmesh.attestation.plain import NEVER_PLAIN, PlainRule
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement
from sealmesh.backend.base import Backend
from sealmesh.client.counters import Counters
from sealmesh.client.dial import Dialer, Timeouts
from sealmesh.client.judging import JudgeThreads
from sealmesh.client.verify import HostVerifier
from sealmesh.config import Secret, Settings
from sealmesh.console.app import ConsoleServer
from sealmesh.errors import ConfigError, SealmeshError, TransportError, VerificationError
from sealmesh.gossip.core import GossipCore
from sealmesh.gossip.overlay import Neighbours
from sealmesh.hardening.measure import Measurement
from sealmesh.hardening.posture import Posture
from sealmesh.host.attest import SoftwareAttester
from sealmesh.host.find import FoundAttester
from sealmesh.host.prove import Attester
from sealmesh.identity.grants import Role
from sealmesh.identity.keys import EndpointKey
from sealmesh.limits import SHUTDOWN_GRACE_S
from sealmesh.mesh.driver import GossipDriver
from sealmesh.mesh.link import Link
from sealmesh.mesh.links import Links
from sealmesh.node.attested import own_hardware_key
from sealmesh.node.clock import elapsed, now
from sealmesh.node.evidence import EvidenceSaver
from sealmesh.node.failure import first_failure
from sealmesh.node.home import Home, MeshState, RunState
from sealmesh.node.host import HostSide, posture_of
from sealmesh.node.join import new_ticket
from sealmesh.node.joining import Joiner
from sealmesh.node.known import KnownPeers
from sealmesh.node.local import LocalAsker, NodeAsker
from sealmesh.node.members import MemberKeeper, mesh_status
from sealmesh.node.neighbours import NeighbourKeeper
from sealmesh.node.notices import NoticeKeeper, load_members
from sealmesh.node.pins import PinKeeper
from sealmesh.node.plain import PlainSide
from sealmesh.node.publish import Identity, Publisher
from sealmesh.node.pulse import PulseEndpoint
from sealmesh.node.snapshot import StatusBoard
from sealmesh.node.tls import tls_context
from sealmesh.node.view import MeshView, snapshot
from sealmesh.routing.directory import Directory
from sealmesh.sealed.suites import Suite
from sealmesh.status import NodeStatus
from sealmesh.transport.base import Endpoint, Stream
from sealmesh.wire.framing import StreamKind

if TYPE_CHECKING:
    from sealmesh.node.builds import BuildsKeeper

_log = logging.getLogger("sealmesh.node")

Emit = Callable[[dict[str, object]], None]

#: A client that just joined is told `ready` when it can be used, or after this long with what is missing.
_JOIN_PATIENCE_S: Final = 10.0


class Node:
    """A node of one mesh: made of its parts here, and run by `run` until it is cancelled or told to stop."""

    def __init__(
        self,
        *,
        settings: Settings,
        home: Home,
        emit: Emit,
        policy: Policy,
        key: EndpointKey,
        mesh: MeshState,
        endpoint: Endpoint,
        backend: Backend | None,
        posture: Posture,
        suites: tuple[Suite, ...],
        measured: Measurement | None = None,
        attester: FoundAttester | None = None,
        tpm: Path | None = None,
    ) -> None:
        self._settings = settings
        self._own_key = ""
        self._attester_words = attester.words if attester is not None else ""
        self._tpm = tpm
        self._keys_at_rest = "tpm" if home.keys_are_sealed() else "file"
        self._home = home
        self._emit = emit
        self._builds = None if policy.blessed_trust is None else _keep_builds(home, policy)
        self._policy = policy = policy if self._builds is None else self._builds.policy
        self._posture = posture_of(posture, backend)
        self._key = key
        self._mesh = mesh
        self._endpoint = PulseEndpoint(endpoint)
        self._started_at = elapsed()
        self._stop = asyncio.Event()
        self._members = load_members(home, mesh)
        self._notices = NoticeKeeper(home, self._members)
        credentials = mesh.credentials.encode()
        try:
            own = self._members.admit_untrusted(credentials, key.public, now())
        except VerificationError as error:
            raise ConfigError(
                f"this node is not in the mesh any more ({error.reason}); join with a new ticket"
            ) from error
        self._roles = own.roles if settings.serves else Role.CLIENT

        self._pins = home.pins()
        self._judges = JudgeThreads()
        seen_suites = home.seen_suites()
        self._verifier = HostVerifier(
            endpoint_id=key.public,
            policy=policy,
            connect=self._link_to,
            now=now,
            elapsed=elapsed,
            random=secrets.token_bytes,
            sleep=asyncio.sleep,
            keys_floor=self._keys_floor,
            suites=seen_suites,
            pins=self._pins,
            activations=home.activations(),
            on_change=self._verdict_changed,
            run_judgement=self._judges.run,
        )
        keyed = home.key_memory()  # kept whether plain hosts are allowed or not: they may be in a later run [PL-4]
        self._evidence = EvidenceSaver(settings.save_evidence, self._verifier)
        self._directory = Directory(
            verified=self._verifier.verified,
            refusals=self._verifier.refusals,
            waiting=self._verifier.waiting,
            failed_factors=self._verifier.failed_factors,
            plain_rule=NEVER_PLAIN
            if not settings.allow_plain_hosts
            else PlainRule(
                allowed=True,
                demanded=policy.demand or ("" if settings.require_attested_hosts is None else "attested hosts"),
                had_key=lambda one: keyed.had_key(one) or seen_suites.may_have_had_key(one),
            ),
        )
        self._counters = Counters()
        self._core = GossipCore(
            key.public,
            random=secrets.token_bytes,
            policy=self._members,
            blessed=None if self._builds is None else self._builds.lists,
        )
        self._host = None
        if backend is not None:
            proves = attester.attester if attester is not None else SoftwareAttester(key)
            self._host = self._make_host(backend, suites, measured, proves)
        self._links = self._make_links(credentials)
        self._gossip = GossipDriver(
            self._core,
            self._links,
            now=now,
            on_changed=self._record_changed,
            on_policy_changed=self._notices.keep,
            on_overtaken=lambda sequence: self._publisher.overtaken(sequence),
            on_blessed_changed=self._builds_changed,
        )
        self._publisher = Publisher(
            identity=Identity(key=key, credentials=credentials, roles=self._roles, name=settings.name),
            sequences=home.sequences(),
            address=endpoint.address,
            models=self._host.models if self._host else (),
            posture=self._posture if self._host else {},
            capabilities=self._host.capabilities if self._host else (),
            announce=lambda data: self._gossip.publish(data, credentials),
            now=now,
        )
        self._view = MeshView(
            own_id=key.public,
            directory=self._directory,
            verifier=self._verifier,
            entry=self._core.table.get,
            entries=self._core.table.entries,
            link=self._links.get,
            now=now,
            note_key=keyed.note,
            build_state=self._build_state,
        )
        local = None
        if backend is not None:
            local = LocalAsker(
                endpoint_id=key.public, backend=backend, random=secrets.token_bytes, counters=self._counters
            )
        dialer = Dialer(
            directory=self._directory,
            keys=self._verifier,
            open_stream=self._open_sealed,
            open_plain=self._open_plain,
            rtt_ms=self._view.rtt_ms,
            now=now,
            random=secrets.token_bytes,
            counters=self._counters,
            timeouts=Timeouts(head=settings.response_head_timeout_s, body=settings.response_body_timeout_s),
        )
        self._asker = NodeAsker(local=local, mesh=dialer)
        self._board = StatusBoard(self._snapshot)
        self._known = KnownPeers(
            home.path,
            own_id=key.public,
            inviters=mesh.bootstrap,
            members=self._members,
            entries=self._core.table.entries,
            connected=self._is_linked,
        )
        self._joiner = Joiner(
            connect=self._links.connect,
            connected=lambda: self._links.count > 0,
            members=self._known.to_try,
            emit=emit,
        )
        self._neighbours = NeighbourKeeper(
            links=self._links, neighbours=Neighbours(secrets.token_bytes), members=self._known.present
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    def _make_host(
        self, backend: Backend, suites: tuple[Suite, ...], measured: Measurement | None, attester: Attester
    ) -> HostSide | PlainSide:
        if self._settings.plain:
            return PlainSide(backend=backend, now=now, elapsed=elapsed, random=secrets.token_bytes)
        return HostSide(
            key=self._key,
            attester=attester,
            backend=backend,
            suites=suites,
            posture=self._posture,
            measured=measured,
            take_proof=lambda proof: self._publisher.take_proof(proof),
            take_epochs=lambda content: self._publisher.take_epochs(content),
            keys_part=lambda endpoint_id: self._publisher.keys_part(endpoint_id),
            now=now,
            elapsed=elapsed,
            random=secrets.token_bytes,
        )

    def _make_links(self, credentials: bytes) -> Links:
        return Links(
            self._endpoint,
            credentials=credentials,
            admit=self._members.admit_untrusted,
            handlers={} if self._host is None else self._host.handlers(),
            now=now,
            on_link=self._on_link,
            on_link_lost=self._on_link_lost,
        )

    async def _link_to(self, endpoint_id: bytes) -> Link:
        """The link to a member, made where there is none.

        Raises:
            TransportError: It cannot be reached.
        """
        link = self._links.get(endpoint_id)
        if link is not None:
            return link
        address = self._view.address_of(endpoint_id)
        if address is None:
            raise TransportError("nobody says where this member can be reached")
        return await self._links.connect(address)

    def _is_linked(self, endpoint_id: bytes) -> bool:
        return self._links.get(endpoint_id) is not None

    async def _open_sealed(self, endpoint_id: bytes) -> Stream:
        link = await self._link_to(endpoint_id)
        return await link.open_stream(StreamKind.SEALED, wait=True)

    async def _open_plain(self, endpoint_id: bytes) -> Stream:
        link = await self._link_to(endpoint_id)
        return await link.open_stream(StreamKind.PLAIN, wait=True)

    # --- what happens ---------------------------------------------------------------------------------------------

    def _on_link(self, link: Link) -> None:
        self._view.record_changed(link.peer_id)
        self._board.note_change()

    def _on_link_lost(self, link: Link, reason: str) -> None:
        _log.info("the link to %s is gone: %s", link.peer_id.hex()[:12], reason)
        self._board.note_change()

    def _verdict_changed(self, endpoint_id: bytes) -> None:
        self._evidence.note_change(endpoint_id)
        self._board.note_change()

    def _builds_changed(self) -> None:
        if self._builds is not None:
            self._builds.changed(self._verifier.set_policy)
            self._board.note_change()

    def _build_state(self, statement: HostStatement) -> str:
        policy = self._policy if self._builds is None else self._builds.policy
        return policy.judge_measurement(statement, now()).reason if policy.names_builds else ""

    def _keys_floor(self, endpoint_id: bytes) -> int:
        """The least sequence of a host's keys part that counts, as its summary says."""
        entry = self._core.table.get(endpoint_id)
        return 0 if entry is None else entry.summary.keys_sequence

    def _record_changed(self, endpoint_id: bytes) -> None:
        self._view.record_changed(endpoint_id)
        self._board.note_change()

    def _snapshot(self) -> NodeStatus:
        return snapshot(
            own_id=self._key.public,
            mesh=mesh_status(self._members, self._mesh.name),
            roles=self._roles.names,
            view=self._view,
            asker=self._asker,
            asked=self._counters,
            served=self._host.counters if self._host else None,
            policy_minimum=self._policy.minimum.label,
            posture=self._host.posture if self._host else self._posture,
            uptime_s=elapsed() - self._started_at,
            attester=self._attester_words,
            hardware_key=self._hardware_key(),
            keys_at_rest=self._keys_at_rest,
            blessed=None if self._builds is None else self._builds.status(),
            cut_off=self._links.cut_off(),
        )

    def _hardware_key(self) -> str:
        standing = self._host.prover.standing if isinstance(self._host, HostSide) else None
        if standing is not None and not self._own_key:  # a chip's key stays while its process runs
            self._own_key = own_hardware_key(standing.envelope)
        return self._own_key

    # --- one run ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Be a node until cancelled or told to stop, then end properly.

        Raises:
            ConfigError: A port is taken.
            NotAdmittedError: The mesh refuses this node.
        """
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self._endpoint.run(), name="sealmesh-pulse"),
                    group.create_task(self._links.run(), name="sealmesh-links"),
                    group.create_task(self._gossip.run(), name="sealmesh-gossip"),
                    group.create_task(self._verifier.run(), name="sealmesh-verdicts"),
                    group.create_task(self._evidence.run(), name="sealmesh-evidence"),
                ]
                if self._host is not None:
                    await self._host.begin()
                    background.append(group.create_task(self._host.run(), name="sealmesh-host"))
                self._publisher.renew_summary()
                background.append(group.create_task(self._renew_records(), name="sealmesh-records"))
                background.append(group.create_task(self._joiner.run(), name="sealmesh-join"))
                background.append(group.create_task(self._neighbours.run(), name="sealmesh-neighbours"))
                try:
                    await self._serve_apps()
                finally:
                    for task in background:
                        task.cancel()
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None
        finally:
            self._judges.close()

    async def _serve_apps(self) -> None:
        settings = self._settings
        token = Secret(secrets.token_urlsafe(32))
        # Who can read this node's home may use its API too: `sealmesh chat` shows the token where apps show a key.
        keys = [key.reveal() for key in (*settings.api_keys, token)] if settings.api_keys else []
        api = ApiServer(
            self._asker,
            bind=settings.listen,
            port=settings.port,
            attestations=self._view,
            api_keys=keys,
            tls=tls_context(settings),
            insecure_http=settings.insecure_http,
        )
        console = None
        if not settings.headless:
            console = ConsoleServer(
                self._board,
                port=settings.console_port,
                token=token.reveal(),
                stop=self._stop.set,
                pins=PinKeeper(self._pins, shown=self._verifier.fingerprint, reconsider=self._verifier.reconsider),
                members=MemberKeeper(
                    self._home,
                    self._members,
                    own_id=self._key.public,
                    mesh_name=self._mesh.name,
                    entries=self._core.table.entries,
                    connected=self._is_linked,
                    tell=self._gossip.policy_changed,
                    now=now,
                ),
            )
        try:
            api_url = await api.start()
            console_url = await console.start() if console is not None else None
            await self._wait_until_usable()
            await self._say_ready(api_url, console_url, token)
            await self._stop.wait()
        finally:
            # Also when a signal cancels this task: what runs is ended properly, within the grace.
            self._home.remove_run()
            await self._end(api, console)

    async def _end(self, api: ApiServer, console: ConsoleServer | None) -> None:
        self._known.keep()
        self._emit({"event": "stopping", "message": "stopping: nothing new is taken, running answers are ended"})
        with contextlib.suppress(SealmeshError):
            # Peers learn at once that this node leaves, so that nobody sends it anything more.
            self._publisher.renew_summary(leaving=True)
            await self._gossip.flush(1.0)
        ends = [api.shutdown(SHUTDOWN_GRACE_S)]
        if self._host is not None:
            ends.append(self._host.service.drain(SHUTDOWN_GRACE_S))
        await asyncio.gather(*ends)
        if console is not None:
            await console.shutdown(1.0)
        await self._links.close()

    async def _say_ready(self, api_url: str, console_url: str | None, token: Secret) -> None:
        address = self._endpoint.address()
        self._home.write_run(
            RunState(
                pid=os.getpid(),
                api_url=api_url,
                console_url=console_url,
                token=token,
                endpoint_id=self._key.public,
                addresses=address.addresses,
                relay_url=address.relay_url,
                started_at=now(),
                tpm=str(self._tpm.absolute()) if self._tpm else None,
            )
        )
        event: dict[str, object] = {
            "event": "ready",
            "api_url": api_url,
            "console_url": console_url,
            "endpoint_id": self._key.public.hex(),
        }
        issuer = await asyncio.to_thread(self._home.issuer_key)  # a chip may be asked for it
        if issuer is not None:
            event["ticket"] = new_ticket(
                issuer, address, mesh_name=self._mesh.name, now=now(), random=secrets.token_bytes
            )
        self._emit(event)

    async def _wait_until_usable(self) -> None:
        """Wait until the mesh was joined and the hosts in it were judged, but not for ever."""
        if not self._mesh.bootstrap:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_JOIN_PATIENCE_S):
                async with contextlib.aclosing(self._board.subscribe()) as changes:
                    async for status in changes:
                        judged = [peer for peer in status.peers if peer.models]
                        if judged and all(peer.tier != "none" or peer.refused or peer.plain for peer in judged):
                            return
        self._joiner.say_waiting()

    async def _renew_records(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._publisher.advance()
            self._notices.advance()
            self._known.advance(now())
            if self._builds is not None:
                self._builds.advance(self._verifier.set_policy, self._gossip.blessed_changed)


def _keep_builds(home: Home, policy: Policy) -> BuildsKeeper:
    from sealmesh.node.builds import BuildsKeeper  # its library is loaded where somebody's list is believed

    return BuildsKeeper(home, policy, now=now)
