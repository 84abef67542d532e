"""What the command line calls: from settings to a running node, in an order in which each part finds what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from sealmesh.api.http import try_port
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.find import FoundTpm, find_tpm, open_tpm
from sealmesh.attesters.tpm.transport import DEVICE
from sealmesh.backend.base import Backend
from sealmesh.config import Settings, TpmUse
from sealmesh.console.app import LOOPBACK
from sealmesh.errors import AttesterError, ConfigError, NotAdmittedError, TransportError
from sealmesh.hardening.measure import Measurement, measure
from sealmesh.hardening.posture import Posture
from sealmesh.host.find import FoundAttester, Machine, find_attester
from sealmesh.identity.keys import EndpointKey
from sealmesh.node.clock import now
from sealmesh.node.home import ENDORSEMENTS, Home, MeshState
from sealmesh.node.join import enter_mesh
from sealmesh.node.node import Emit, Node
from sealmesh.node.progress import progress_to
from sealmesh.node.recording import RECORD_VARIABLE, recorder_to
from sealmesh.sealed.suites import Suite
from sealmesh.transport.base import Endpoint, EndpointAddress
from sealmesh.transport.record import RecordingEndpoint

#: A fifth of Python's own: a verdict holds the event loop up no longer than its longest single call.
SWITCH_INTERVAL_S: Final = 0.001


async def run(
    settings: Settings, emit: Emit, *, posture: Posture | None = None, suites: tuple[Suite, ...] = tuple(Suite)
) -> int:
    """Run a node until it is cancelled or told to stop; return the exit code.

    Args:
        settings: What the operator decided.
        emit: Told of each event; `ready` once the node can be used.
        posture: What is in force around this process; nothing is said of it where none is given.
        suites: Which suites a host has keys for; only benchmarks choose.

    Raises:
        ConfigError: Something that the operator can mend: a port, a ticket, a file.
        SealmeshError: The node could not start or go on.
    """
    # Verdicts are worked out in threads, and who waits for the interpreter's lock waits this long: the event loop too.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tpm = await find_chip(settings, emit)
    home = Home(settings.home, sealer=tpm.chip, unused=tpm.note)
    with home.lock():
        home.clear_temporary()
        home.remove_run()  # of a run that was killed: while this one starts, commands must not follow it
        async with contextlib.AsyncExitStack() as stack:
            await _run_node(settings, home, tpm, emit, stack, posture or Posture(), suites)
    return 0


async def find_chip(settings: Settings, emit: Emit, *, device: Path = DEVICE) -> FoundTpm:
    """The TPM that this node uses, for its evidence and for its keys at rest; one that it cannot use is said.

    Args:
        settings: What the operator decided.
        emit: Told of a chip that is here and not used, on clients too: their keys then lie in plain files.
        device: Where to look.

    Raises:
        ConfigError: The operator named one, and none answers there.
    """
    match settings.tpm:
        case TpmUse.NONE:
            return FoundTpm()
        case TpmUse.AUTO:
            found = await asyncio.to_thread(find_tpm, device)
            if found.note:
                emit({"event": "tpm_unused", "level": "warning", "message": found.note})
            return found
        case path:
            try:
                return await asyncio.to_thread(open_tpm, path)
            except AttesterError as error:
                raise ConfigError(f"--tpm: {error}") from error


async def _run_node(
    settings: Settings,
    home: Home,
    tpm: FoundTpm,
    emit: Emit,
    stack: contextlib.AsyncExitStack,
    posture: Posture,
    suites: tuple[Suite, ...],
) -> None:
    policy = load_policy(settings)
    if policy.minimum >= Tier.PINNED:
        emit({"event": "policy", "minimum": policy.minimum.label, "message": policy_words(policy)})
    key, mesh, is_first_join = await asyncio.to_thread(_enter, settings, home)  # a chip may be asked for the keys
    attester = await _find_attester(settings, home, key, tpm, emit) if settings.serves else None
    try_port(settings.listen, settings.port)
    if not settings.headless:
        try_port(LOOPBACK, settings.console_port)
    # What is on the disk as this process starts, hashed while the model loads.
    measuring = asyncio.create_task(_measure(emit)) if settings.serves else None
    backend = await _start_backend(settings, emit, stack)
    measured = await measuring if measuring is not None else None
    endpoint = await _bind(settings, home, key, stack)
    node = Node(
        settings=settings,
        home=home,
        emit=emit,
        policy=policy,
        key=key,
        mesh=mesh,
        endpoint=endpoint,
        backend=backend,
        posture=posture,
        suites=suites,
        measured=measured,
        attester=attester,
        tpm=tpm.path,
    )
    try:
        await node.run()
    except NotAdmittedError:
        if is_first_join:
            home.forget_mesh()  # it never took this node: the next ticket may be to another one
        raise


async def _measure(emit: Emit) -> Measurement | None:
    """The measurement of this installation; None, and a warning, where a file of it cannot be read."""
    try:
        return await asyncio.to_thread(measure, unclaimed=False)
    except ConfigError as error:
        emit({"event": "warning", "level": "warning", "message": str(error)})
        return None


def _enter(settings: Settings, home: Home) -> tuple[EndpointKey, MeshState, bool]:
    """The node's identity and mesh, and whether it is new to that mesh. Blocks."""
    home.seal_keys()
    key = home.endpoint_key()
    is_first_join = home.mesh() is None
    return key, enter_mesh(settings, home, key, now=now(), random=secrets.token_bytes), is_first_join


async def _find_attester(settings: Settings, home: Home, key: EndpointKey, tpm: FoundTpm, emit: Emit) -> FoundAttester:
    """What proves this host; said at every start, so that nobody takes a software key for a chip."""
    machine = Machine(tpm=tpm, given=EndorsementFolder(home.path / ENDORSEMENTS), memory=home.path)
    try:
        found = await find_attester(settings.attester, key=key, machine=machine)
    except AttesterError as error:
        raise ConfigError(f"--attester {settings.attester.value}: {error}") from error
    for note in found.notes:
        emit({"event": "attester_unused", "level": "warning", "message": note})
    emit({"event": "attester", "attester": found.words, "message": f"this host proves itself with {found.words}"})
    return found


def load_policy(settings: Settings) -> Policy:
    """The asker's policy: its file, and no less than the flag demands.

    Raises:
        ConfigError: The file cannot be read or understood; nothing is ever assumed in its place.
    """
    policy = Policy()
    if settings.policy is not None:
        try:
            content = settings.policy.read_bytes()
        except OSError as error:
            raise ConfigError(f"the policy {settings.policy} cannot be read ({error.strerror})") from error
        policy = parse_policy_untrusted(content)
    if settings.require_attested_hosts is not None:
        policy = policy.at_least(Tier.from_label(settings.require_attested_hosts))
    if settings.require_blessed:
        policy = policy.require_blessed()
    return policy


def policy_words(policy: Policy) -> str:
    """What a demand on hosts stops, and what it does not; said at each start that makes one."""
    said = f"hosts must prove what they are: {policy.minimum.label} or better, before anything is sealed to them"
    if policy.minimum < Tier.CONFIDENTIAL:
        return (
            f"{said}. This does not stop their owners, who can read prompts; "
            "--require-attested-hosts=confidential does more"
        )
    return f"{said}. `sealmesh hosts` says of each whether its owner can read prompts; whoever opens a machine can"


async def _start_backend(settings: Settings, emit: Emit, stack: contextlib.AsyncExitStack) -> Backend | None:
    if not settings.serves:
        return None
    from sealmesh.backend.select import open_backend  # a client never loads an engine

    reference = settings.backend or settings.models[0]
    backend = open_backend(
        reference,
        progress=progress_to(emit),
        context=settings.context_size,
        parallel=settings.parallel,
        api_key=settings.backend_key.reveal() if settings.backend_key else None,
        cache_salt=settings.backend_cache_salt,
        backend_api=settings.backend_api.value,
        threads=settings.threads,
        embeddings=settings.embeddings,
        models=settings.backend_models,
    )
    stack.push_async_callback(backend.close)
    emit({"event": "backend_starting", "message": f"starting {reference}"})
    await backend.start()
    return backend


async def _bind(settings: Settings, home: Home, key: EndpointKey, stack: contextlib.AsyncExitStack) -> Endpoint:
    """Listen where the operator said, else where this node listened last, else anywhere."""
    from sealmesh.transport.iroh import IrohEndpoint  # a native library: loaded when a node is wanted

    async def bind(address: str) -> Endpoint:
        return await IrohEndpoint.bind(seed=key.seed.reveal(), bind=address, relay_url=settings.relay_url)

    if settings.bind is not None:
        try:
            endpoint = await bind(settings.bind)
        except TransportError as error:
            raise ConfigError(f"{error}; is the port in use? choose another with --bind") from error
    else:
        try:
            endpoint = await bind(f"0.0.0.0:{home.last_port()}")
        except TransportError:
            endpoint = await bind("0.0.0.0:0")  # somebody else has it now
        if (port := _port_of(endpoint.address())) is not None:
            home.save_port(port)
    stack.push_async_callback(endpoint.close)
    folder = os.environ.get(RECORD_VARIABLE)
    return RecordingEndpoint(endpoint, recorder_to(Path(folder))) if folder else endpoint


def _port_of(address: EndpointAddress) -> int | None:
    """The port of the IPv4 socket; the IPv6 one is the library's own choice."""
    ports = [text.rpartition(":")[2] for text in address.addresses if not text.startswith("[")]
    return int(ports[0]) if ports else None
