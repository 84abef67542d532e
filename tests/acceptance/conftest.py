"""Real processes: a host and a client, started by their `ready` events, each test module with its own mesh."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from kit.marker import search
from kit.sdk import close_clients
from sealmesh.cli.processes import NodeProcess

if TYPE_CHECKING:
    from tests.acceptance.client_mesh import ClientMesh

    from sealmesh.backend.models import ModelFile


@pytest.fixture(autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    close_clients()


@dataclass
class Node:
    """A running node and what its `ready` event said."""

    process: NodeProcess
    home: Path
    api_url: str
    console_url: str
    endpoint_id: str
    ticket: str

    def status(self) -> dict:
        """`/api/status` now."""
        return httpx.get(f"{self.console_url}/api/status", timeout=10).raise_for_status().json()

    def rss_peak_kib(self) -> int:
        """The highest resident memory so far, in KiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
        raise AssertionError("no VmHWM")

    def forget_peak(self) -> None:
        """Start measuring the highest resident memory anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class Mesh:
    """Starts nodes of one mesh in one folder and ends them all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stack = contextlib.ExitStack()
        self._count = 0
        self.recordings: dict[str, Path] = {}
        self._nodes: list[Node] = []

    def _launch(
        self,
        command: str,
        arguments: list[str],
        environment: dict[str, str],
        home: Path | None = None,
        *,
        kind: Callable[..., NodeProcess] = NodeProcess,
    ) -> Callable[[], Node]:
        """Start a node; what is returned waits until it can be used."""
        home = home or self.next_home(command)
        self._count += 1
        environment = {"SEALMESH_TPM": "none", **environment}  # no test writes to the machine's own chip
        process = self._stack.enter_context(kind(command, home=home, arguments=arguments, environment=environment))

        def ready() -> Node:
            said = process.wait_for("ready")
            node = Node(
                process=process,
                home=home,
                api_url=said["api_url"],
                console_url=said["console_url"],
                endpoint_id=said["endpoint_id"],
                ticket=said.get("ticket", ""),
            )
            self._nodes.append(node)
            return node

        return ready

    def next_home(self, command: str) -> Path:
        """The home of the node that is started next."""
        return self.root / f"{command}-{self._count + 1}"

    def ticket_file(self, ticket: str) -> Path:
        """A file that holds a ticket."""
        path = self.root / f"ticket-{self._count}"
        path.touch(mode=0o600, exist_ok=True)
        path.write_text(ticket)
        return path

    def host(self, *arguments: str, ticket: str = "", interpreter: Path | None = None) -> Node:
        """Start a host, in another environment if one is given; the first one makes the mesh."""
        return self.launch_host(*arguments, ticket=ticket, kind=partial(NodeProcess, interpreter=interpreter))()

    def launch_host(
        self, *arguments: str, ticket: str = "", kind: Callable[..., NodeProcess] = NodeProcess
    ) -> Callable[[], Node]:
        """Start a host beside others, of another program if one is given; what is returned waits for it."""
        joining = ["--join-file", str(self.ticket_file(ticket))] if ticket else []
        return self._launch("serve", [*arguments, *joining], {}, kind=kind)

    def client(self, ticket: str, *arguments: str, record: bool = False) -> Node:
        """Start a client of the mesh, recording its streams if asked."""
        environment = {}
        if record:
            folder = self.root / f"recording-{self._count}"
            environment["SEALMESH_RECORD_STREAMS"] = str(folder)
        node = self._launch("client", ["--join-file", str(self.ticket_file(ticket)), *arguments], environment)()
        if record:
            self.recordings[node.endpoint_id] = folder
        return node

    def restart(self, node: Node, command: str, *arguments: str) -> Node:
        """Start a node again on the home of one that was killed."""
        return self._launch(command, list(arguments), {}, node.home)()

    def recorded(self, node: Node) -> bytes:
        """Every byte of every stream of a recording client, as a relay would see it."""
        return b"".join(path.read_bytes() for path in sorted(self.recordings[node.endpoint_id].iterdir()))

    def recorded_exchanges(self, node: Node) -> bytes:
        """Every byte of the sealed exchanges that a recording client opened, both ways."""
        sent = [
            path for path in self.recordings[node.endpoint_id].glob("*-sent.bin") if path.read_bytes()[:1] == b"\xe1"
        ]
        both = [*sent, *(path.with_name(path.name.replace("-sent", "-received")) for path in sent)]
        return b"".join(path.read_bytes() for path in both if path.exists())

    def sealed_streams(self, node: Node) -> int:
        """How many sealed exchanges a recording client has opened."""
        return sum(path.read_bytes()[:1] == b"\xe1" for path in self.recordings[node.endpoint_id].glob("*-sent.bin"))

    def close(self) -> None:
        """End every node; what it shows and has said holds no text of a prompt (A18)."""
        for node in self._nodes:
            search_pages(node)
        self._stack.close()
        for node in self._nodes:
            search(f"an event of {node.home.name}", json.dumps(node.process.said(), ensure_ascii=False))


def search_pages(node: Node) -> None:
    """Search what a node shows to people and programs, if it still runs."""
    pages = [f"{node.api_url}/v1/models"]
    if node.console_url:
        pages += [f"{node.console_url}/", f"{node.console_url}/api/status", f"{node.console_url}/metrics"]
    for page in pages:
        with contextlib.suppress(httpx.TransportError):
            search(f"the page {page}", httpx.get(page, timeout=10).content)


@contextlib.contextmanager
def mesh_in_temporary_folder() -> Iterator[Mesh]:
    """A mesh whose homes are removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="sealmesh-test-"))
    mesh = Mesh(root)
    try:
        yield mesh
    finally:
        mesh.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """An empty mesh for one test."""
    with mesh_in_temporary_folder() as made:
        yield made


@pytest.fixture(scope="module")
def shared_mesh() -> Iterator[Mesh]:
    """An empty mesh for the tests of one module."""
    with mesh_in_temporary_folder() as made:
        yield made


@pytest.fixture(scope="session")
def client_mesh(model_file: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientMesh]:
    """The mesh that all tests of clients share; they are in one group, so there is one of it."""
    from tests.acceptance.client_mesh import start_client_mesh

    with start_client_mesh(model_file, tmp_path_factory.mktemp("clients")) as made:
        yield made


def wait_for_status(node: Node, holds: Callable[[dict], bool], words: str, *, timeout_s: float = 20.0) -> dict:
    """Follow the node's event stream until its status holds; return it."""
    deadline = time.monotonic() + timeout_s
    with httpx.stream("GET", f"{node.console_url}/api/events", timeout=timeout_s) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and holds(status := json.loads(line[6:])):
                return status
            assert time.monotonic() < deadline, f"{words} within {timeout_s} s"
    raise AssertionError("the event stream ended")


def wait_until_usable(node: Node, model: str, *, timeout_s: float = 20.0) -> None:
    """Follow the node's event stream until it lists `model` as usable."""

    def usable(status: dict) -> bool:
        return any(entry["name"] == model and entry["usable"] for entry in status["models"])

    wait_for_status(node, usable, f"{model} did not become usable", timeout_s=timeout_s)


assert os.name == "posix"
