"""An emulated TPM 2.0, with an endorsement certificate of a CA made for one test, and processes that stop by event.

The CA lives in the test's own folder; no root of an emulator ever ships.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sealmesh.attesters.tpm.chip import TpmChip
from sealmesh.attesters.tpm.client import LOADED_SESSIONS, SAVED_SESSIONS, TRANSIENT, Tpm
from sealmesh.attesters.tpm.transport import Connect, Transport, connector

_GET_CAPABILITY = bytes([0, 0, 0, 1])  # of swtpm's control channel


@dataclass
class Authority:
    """A CA of swtpm's in a folder; it makes its keys with the first certificate."""

    folder: Path

    @property
    def roots(self) -> bytes:
        """What an asker would trust, PEM: the CA's root."""
        return (self.folder / "swtpm-localca-rootca-cert.pem").read_bytes()

    @property
    def issuers(self) -> bytes:
        """What stands between the root and chips, PEM."""
        return (self.folder / "issuercert.pem").read_bytes()

    def configure(self) -> Path:
        """Write the emulator's configuration; returns its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ca, options, setup = (self.folder / name for name in ("ca.conf", "ca.options", "setup.conf"))
        ca.write_text(
            f"statedir = {self.folder}\nsigningkey = {self.folder}/signkey.pem\n"
            f"issuercert = {self.folder}/issuercert.pem\ncertserial = {self.folder}/certserial\n"
        )
        options.write_text("--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n")
        setup.write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {ca}\n"
            f"create_certs_tool_options = {options}\nactive_pcr_banks = sha256\n"
        )
        return setup


@dataclass
class SoftwareTpm:
    """One chip: a folder with its state, and the process that runs on it."""

    folder: Path
    authority: Authority
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        """The socket that commands go to."""
        return self.folder / "tpm"

    @property
    def chip(self) -> TpmChip:
        """A client of it."""
        return TpmChip(connector(self.path))

    def manufacture(self) -> None:
        """Make the chip's seeds, keys and certificate."""
        state = self.folder / "state"
        state.mkdir(parents=True, mode=0o700)
        made = subprocess.run(
            [
                "swtpm_setup",
                *("--tpm2", "--tpmstate", str(state), "--create-ek-cert", "--overwrite"),
                *("--config", str(self.authority.configure()), "--logfile", str(self.folder / "setup.log")),
            ],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr + (self.folder / "setup.log").read_bytes()

    def start(self) -> None:
        """Switch it on; returns when it answers on its control channel, so when it listens."""
        self.path.unlink(missing_ok=True)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder / 'state'}"),
                    *("--server", f"type=unixio,path={self.path}"),
                    *("--ctrl", f"type=unixio,clientfd={theirs.fileno()}"),
                    *("--flags", "not-need-init,startup-clear", "--log", f"file={self.folder / 'run.log'}"),
                ],
                pass_fds=(theirs.fileno(),),
            )
        self._control = ours
        ours.settimeout(20)
        ours.sendall(_GET_CAPABILITY)
        assert len(ours.recv(8)) == 8, (self.folder / "run.log").read_bytes()

    def stop(self) -> None:
        """Pull the plug; returns when it is gone."""
        if self._process is not None:
            assert self._control is not None
            self._process.kill()
            self._process.wait(20)
            self._control.close()
            self._process = None
            self.path.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Make it silent, as a chip that hangs. `stop` works all the same."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def loaded(self) -> tuple[int, ...]:
        """Every key and session that is in its slots, as the chip itself counts them (TPM2_GetCapability)."""
        with contextlib.closing(connector(self.path)()) as transport:
            tpm = Tpm(transport)
            found = [tpm.handles(first) for first in (TRANSIENT, LOADED_SESSIONS, SAVED_SESSIONS)]
        return tuple(handle for one in found for handle in one)


@contextlib.contextmanager
def made_tpms(count: int = 2) -> Iterator[list[SoftwareTpm]]:
    """Chips of one maker, switched off. In a folder with a short name: a socket's path has 107 bytes at most."""
    for tool in ("swtpm", "swtpm_setup", "swtpm_localca"):
        assert shutil.which(tool), (
            f"{tool} is missing: apt-get install swtpm swtpm-tools, or leave out with -m 'not swtpm'"
        )
    with tempfile.TemporaryDirectory(prefix="tpm") as name:
        authority = Authority(Path(name) / "ca")
        chips = [SoftwareTpm(folder=Path(name) / f"chip{number}", authority=authority) for number in range(count)]
        for chip in chips:
            chip.manufacture()
        yield chips


@contextlib.contextmanager
def running_tpms(made: list[SoftwareTpm]) -> Iterator[list[SoftwareTpm]]:
    """Copies of these chips, switched on; off again at the end."""
    with tempfile.TemporaryDirectory(prefix="tpm") as name:
        chips = [SoftwareTpm(folder=Path(name) / one.folder.name, authority=one.authority) for one in made]
        try:
            for one, chip in zip(made, chips, strict=True):
                shutil.copytree(one.folder, chip.folder)
                chip.start()
            yield chips
        finally:
            for chip in chips:
                chip.stop()


class WrappedTransport:
    """A connection with something of a test's own before each command: a delay, a failure, a count.

    Args:
        inner: The real connection.
        before: Given each command.
    """

    def __init__(self, inner: Transport, before: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._before = before

    def exchange(self, command: bytes, *, timeout_s: float) -> bytes:
        self._before(command)
        return self._inner.exchange(command, timeout_s=timeout_s)

    def close(self) -> None:
        self._inner.close()


def wrapped(connect: Connect, before: Callable[[bytes], None]) -> Connect:
    """Connections as `connect` makes them, with `before` called ahead of each command."""
    return lambda: WrappedTransport(connect(), before)
