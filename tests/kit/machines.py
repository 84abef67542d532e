"""Two machines on one: network namespaces with a cable between them where root allows, else two loopback addresses.

Each machine has a thread that lives in its network: what is run there connects from there, and reaches the machine's
own loopback. Nodes are started there too.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sealmesh.cli.processes import NodeProcess

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count()


class Machine:
    """One of the two.

    Attributes:
        address: Its address towards the other one.
        namespace: Its network namespace; "" where it shares the test's own.
    """

    def __init__(self, address: str, namespace: str, cable: str) -> None:
        self.address = address
        self.namespace = namespace
        self._cable = cable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=namespace or "machine", initializer=self._enter)

    def _enter(self) -> None:
        if self.namespace:
            with Path(f"/run/netns/{self.namespace}").open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")

    def run(self, work: Callable[[], _T]) -> _T:
        """Run something on this machine and return what it returns."""
        return self._thread.submit(work).result()

    def pull_cable(self) -> None:
        """Take the link down."""
        subprocess.run(["ip", "-n", self.namespace, "link", "set", self._cable, "down"], check=True)

    def plug_cable(self) -> None:
        """Put it up again."""
        subprocess.run(["ip", "-n", self.namespace, "link", "set", self._cable, "up"], check=True)

    def close(self) -> None:
        """End its thread."""
        self._thread.shutdown()


class MachineProcess(NodeProcess):
    """A node that runs on one of the two machines."""

    def __init__(
        self, machine: Machine, command: str, *, home: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._machine = machine
        super().__init__(command, home=home, arguments=arguments, environment=environment)

    def command_line(self, command: str) -> list[str]:
        """In the machine's network."""
        inside = ["ip", "netns", "exec", self._machine.namespace] if self._machine.namespace else []
        return [*inside, sys.executable, "-m", "sealmesh", command]

    def exit_code(self, *, timeout_s: float = 20.0) -> int:
        """Wait until it has ended by itself. (`stop` would ask again, and who asks twice is not patient.)"""
        return self._process.wait(timeout_s)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make them, and take them away."""
    number = next(_NUMBERS)
    names = [f"sealmesh-{side}-{os.getpid()}-{number}" for side in "ab"]
    cables = [f"sm{side}{number}x{os.getpid() % 10_000_000}" for side in "ab"]
    with contextlib.ExitStack() as stack:
        try:
            if shutil.which("ip") is None:
                raise FileNotFoundError("ip")
            for name in names:
                _ip("netns", "add", name)
                stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", cables[0], "netns", names[0], "type", "veth", "peer", cables[1], "netns", names[1])
            addresses = ["10.77.0.1", "10.77.0.2"]
            for name, cable, address in zip(names, cables, addresses, strict=True):
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
                _ip("-n", name, "link", "set", cable, "up")
        except (OSError, subprocess.CalledProcessError):
            stack.close()
            names, cables, addresses = ["", ""], ["", ""], ["127.0.0.1", "127.0.0.2"]
        machines = [Machine(*each) for each in zip(addresses, names, cables, strict=True)]
        try:
            yield machines[0], machines[1]
        finally:
            for machine in machines:
                machine.close()
