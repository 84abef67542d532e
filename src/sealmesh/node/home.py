"""The folder that holds a node's keys and state. `docs/reference/files.md` lists every file in it.

endpoint.key  issuer.key  mesh.json  network.json  revocations  successors.json  sequences.json  suites.json  pins.json
activations.json  peers.json
config.toml  policy.toml          written by the operator
run/lock  run/node.json  run/tmp/  only while a node runs
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sealmesh.config import Secret
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity.grants import Credentials
from sealmesh.identity.keys import EndpointKey, IssuerKey, Random
from sealmesh.limits import MIB
from sealmesh.node.files import (
    FILE_MODE,
    FOLDER_MODE,
    damaged,
    make_private_folder,
    read_json,
    read_private,
    write_json,
    write_private,
)
from sealmesh.node.keyfiles import KeyFiles, Sealer
from sealmesh.node.stores import ActivationStore, KeyMemory, PinStore, SeenSuites, SequenceStore
from sealmesh.transport.base import EndpointAddress

SIGNED_LIST_MAX: Final = 4 * MIB  # revocations: 10,000 peers, both serial and endpoint id
ENDORSEMENTS: Final = "endorsements"  # a folder that the operator may make: what this host staples beside its evidence
LOCK_TRIES: Final = 5  # `status` holds the lock for an instant when it looks whether a node runs
LOCK_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """Which mesh this node is in, and what lets it in.

    Attributes:
        issuer_key: The mesh's public key, 32 bytes.
        credentials: Grant and membership of this endpoint.
        name: The mesh's display name; text of the issuer, escape before showing.
        bootstrap: Members to call first after a restart.
    """

    issuer_key: bytes
    credentials: Credentials = field(repr=False)
    name: str = ""
    bootstrap: tuple[EndpointAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How commands find the running node (`run/node.json`).

    Attributes:
        pid: The node's process.
        api_url, console_url: Bases without a path; `console_url` is None on a headless node.
        token: Lets a local command change things.
        endpoint_id: 32 bytes.
        addresses: `ip:port` of the QUIC socket, for tickets.
        relay_url: The transport-level relay that the node uses, for tickets.
        started_at: Unix seconds.
        tpm: Path of the TPM that keeps the home's keys; None where they lie in plain files.
    """

    pid: int
    api_url: str
    console_url: str | None
    token: Secret
    endpoint_id: bytes
    addresses: tuple[str, ...] = ()
    relay_url: str | None = None
    started_at: float = 0.0
    tpm: str | None = None


class HomeLock:
    """Held by the one node that runs on a home, until `release`, the end of the context, or the process's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another node start on this home. A second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Home:
    """The files of one node.

    Nothing is made or read before it is asked for, so that commands can look at a home that is not theirs to make.

    Args:
        path: The folder.
        sealer: This machine's TPM, which keeps the keys; it blocks, so that keys are read off the event loop.
        unused: Why a TPM that is here does not keep them; empty where there is nothing to say.
    """

    def __init__(self, path: Path, *, sealer: Sealer | None = None, unused: str = "") -> None:
        self.path = path
        self._run = path / "run"
        self.temporary = self._run / "tmp"
        self._keys = KeyFiles(path, sealer, unused=unused)

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def prepare(self) -> None:
        """Make the folders, 0700.

        Raises:
            ConfigError: They cannot be made, or others can write to them.
        """
        make_private_folder(self.path)
        make_private_folder(self._run)

    # --- one node at a time ------------------------------------------------------------------------------------------

    def lock(self) -> HomeLock:
        """Take the home for this process.

        Raises:
            ConfigError: Another node runs on it (the message names its process), or the folder cannot be used.
        """
        self.prepare()
        path = self._run / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened ({error.strerror})") from error
        for attempt in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt + 1 < LOCK_TRIES:
                    time.sleep(LOCK_PAUSE_S)
        else:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f" (process {holder})" if holder.isdigit() else ""
            raise ConfigError(f"a node already runs on {self.path}{who}; stop it, or give this one another --home")
        with contextlib.suppress(OSError):  # a full disk: the number is only for the message above
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return HomeLock(descriptor)

    def is_locked(self) -> bool:
        """Whether a node runs on this home now."""
        try:
            descriptor = os.open(self._run / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    # --- keys --------------------------------------------------------------------------------------------------------

    def endpoint_key(self, random: Random = secrets.token_bytes) -> EndpointKey:
        """Load this node's identity, or make it. Call with the lock held.

        Raises:
            ConfigError: The file is damaged, others can read it, or it cannot be written.
        """
        key = self._keys.load(EndpointKey, "endpoint")
        if key is None:
            self.prepare()
            key = self._keys.make(EndpointKey, "endpoint", random)
        return key

    def issuer_key(self) -> IssuerKey | None:
        """The key of the mesh that this node made; None if it has joined somebody else's.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return self._keys.load(IssuerKey, "issuer")

    def holds_issuer_key(self) -> bool:
        """Whether the mesh's key is here, opened or not."""
        return self._keys.path("issuer").exists()

    def make_issuer_key(self, random: Random = secrets.token_bytes) -> IssuerKey:
        """Make the key of a new mesh. Call with the lock held.

        Raises:
            ConfigError: There is one already, or it cannot be written.
        """
        if self.issuer_key() is not None:
            raise ConfigError(f"{self.path} holds the issuer key of a mesh already; use another --home for a new mesh")
        self.prepare()
        return self._keys.make(IssuerKey, "issuer", random)

    def seal_keys(self) -> None:
        """Seal keys that lie in plain files to this machine's TPM, if there is one. Call with the lock held.

        Raises:
            ConfigError: A file is damaged or cannot be written.
        """
        self._keys.seal(EndpointKey, "endpoint")
        self._keys.seal(IssuerKey, "issuer")

    def keys_are_sealed(self) -> bool:
        """Whether this node's identity opens on this machine only.

        Raises:
            ConfigError: Others can read the file.
        """
        return self._keys.is_sealed("endpoint")

    # --- the mesh ----------------------------------------------------------------------------------------------------

    def mesh(self) -> MeshState | None:
        """The mesh that this node joined or made; None before that.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        path, loss = self.path / "mesh.json", "then this node must join again"
        document = read_json(path, loss=loss)
        if document is None:
            return None
        try:
            return MeshState(
                issuer_key=_bytes(document["issuer_key"], 32),
                credentials=Credentials.decode_untrusted(_bytes(document["credentials"])),
                name=_text(document["name"]),
                bootstrap=tuple(_address(entry) for entry in document["bootstrap"]),
            )
        except (KeyError, TypeError, ValueError, VerificationError):
            raise damaged(path, loss) from None

    def save_mesh(self, state: MeshState) -> None:
        """Remember the mesh; on the disk when this returns.

        Raises:
            ConfigError: It cannot be written.
        """
        document = {
            "issuer_key": state.issuer_key.hex(),
            "credentials": state.credentials.encode().hex(),
            "name": state.name,
            "bootstrap": [
                {"endpoint_id": peer.endpoint_id.hex(), "addresses": list(peer.addresses), "relay_url": peer.relay_url}
                for peer in state.bootstrap
            ],
        }
        write_json(self.path / "mesh.json", document)

    def forget_mesh(self) -> None:
        """Undo `save_mesh`; it is no error if there is none."""
        with contextlib.suppress(OSError):
            (self.path / "mesh.json").unlink()

    def revocations(self) -> bytes | None:
        """The newest list of revocations, as received and already verified once; None if there is none.

        Raises:
            ConfigError: Others can read or have replaced the file.
        """
        return read_private(self.path / "revocations", most=SIGNED_LIST_MAX)

    def save_revocations(self, encoded: bytes) -> None:
        """Keep a verified list of revocations, bytes as received.

        Raises:
            ConfigError: It cannot be written.
        """
        write_private(self.path / "revocations", encoded)

    def successors(self) -> tuple[bytes, ...]:
        """The statements that name each issuer's successor, as received, oldest first.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        path, loss = self.path / "successors.json", "other members send them again"
        document = read_json(path, loss=loss)
        try:
            return tuple(bytes.fromhex(text) for text in _texts(document["successors"])) if document else ()
        except (KeyError, TypeError, ValueError):
            raise damaged(path, loss) from None

    def save_successors(self, encoded: tuple[bytes, ...]) -> None:
        """Keep verified successor statements, bytes as received, oldest first.

        Raises:
            ConfigError: It cannot be written.
        """
        write_json(self.path / "successors.json", {"successors": [data.hex() for data in encoded]})

    def last_port(self) -> int:
        """The UDP port that this node had last, so that tickets stay good over a restart; 0 for none.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        path, loss = self.path / "network.json", "then tickets name an address that is not in use any more"
        document = read_json(path, loss=loss)
        if document is None:
            return 0
        try:
            port = _number(document["port"])
        except (KeyError, TypeError):
            raise damaged(path, loss) from None
        if not 0 <= port < 1 << 16:
            raise damaged(path, loss)
        return port

    def save_port(self, port: int) -> None:
        """Remember the UDP port.

        Raises:
            ConfigError: It cannot be written.
        """
        write_json(self.path / "network.json", {"port": port})

    # --- memory over restarts ----------------------------------------------------------------------------------------

    def sequences(self) -> SequenceStore:
        """The sequences of this node's own records.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return SequenceStore(self.path / "sequences.json")

    def seen_suites(self) -> SeenSuites:
        """The best suite seen from each endpoint.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return SeenSuites(self.path / "suites.json")

    def key_memory(self) -> KeyMemory:
        """Every endpoint whose own record named a key.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return KeyMemory(self.path / "keyed.json")

    def pins(self) -> PinStore:
        """The operator's pins.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return PinStore(self.path / "pins.json")

    def activations(self) -> ActivationStore:
        """Which hosts' chips this node saw activate which keys.

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        return ActivationStore(self.path / "activations.json")

    # --- the running node --------------------------------------------------------------------------------------------

    def write_run(self, state: RunState) -> None:
        """Say how this node is reached. Call with the lock held.

        Raises:
            ConfigError: It cannot be written.
        """
        document = {
            "pid": state.pid,
            "api_url": state.api_url,
            "console_url": state.console_url,
            "token": state.token.reveal(),
            "endpoint_id": state.endpoint_id.hex(),
            "addresses": list(state.addresses),
            "relay_url": state.relay_url,
            "started_at": state.started_at,
            "tpm": state.tpm,
        }
        write_json(self._run / "node.json", document)

    def clear_temporary(self) -> None:
        """Remove what a crash left among the temporary files. Call with the lock held."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.temporary.mkdir(mode=FOLDER_MODE)

    def remove_run(self) -> None:
        """Forget the running node; it is no error if there is none."""
        with contextlib.suppress(OSError):
            (self._run / "node.json").unlink()

    def run_state(self) -> RunState | None:
        """The node that runs on this home now; None if none does (a file left by a crash counts for nothing).

        Raises:
            ConfigError: The file is damaged or others can read it.
        """
        path, loss = self._run / "node.json", "the next start of the node writes it anew"
        if not self.is_locked():
            return None
        document = read_json(path, loss=loss)
        if document is None:
            return None
        try:
            return RunState(
                pid=_number(document["pid"]),
                api_url=_text(document["api_url"]),
                console_url=_text_or_none(document["console_url"]),
                token=Secret(_text(document["token"])),
                endpoint_id=_bytes(document["endpoint_id"], 32),
                addresses=_texts(document["addresses"]),
                relay_url=_text_or_none(document["relay_url"]),
                started_at=float(document["started_at"]),
                tpm=_text_or_none(document["tpm"]),
            )
        except (KeyError, TypeError, ValueError):
            raise damaged(path, loss) from None

    def require_run_state(self) -> RunState:
        """The node that runs on this home now.

        Raises:
            ConfigError: None does; the message says how to start one.
        """
        state = self.run_state()
        if state is None:
            raise ConfigError(
                f"no node runs on {self.path}; start one with: sealmesh serve (or sealmesh client), or name its --home"
            )
        return state


# --- reading our own JSON: a wrong type raises TypeError or ValueError, which the caller calls damage ---------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(entry) for entry in value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _bytes(value: object, length: int | None = None) -> bytes:
    data = bytes.fromhex(_text(value))
    if length is not None and len(data) != length:
        raise ValueError
    return data


def _address(value: Any) -> EndpointAddress:
    return EndpointAddress(
        endpoint_id=_bytes(value["endpoint_id"], 32),
        addresses=_texts(value["addresses"]),
        relay_url=_text_or_none(value["relay_url"]),
    )
