"""The way to a character device, tried on a terminal in raw mode: it is written to, waited for and read as a TPM is."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealmesh.attesters.tpm.client import Tpm
from sealmesh.attesters.tpm.transport import DeviceTransport, connector
from sealmesh.errors import AttesterError

PROPERTIES = bytes.fromhex("8001 0000001b 00000000 00 00000006 00000001 00000105 49465800")


@pytest.fixture
def terminal() -> Iterator[tuple[int, Path]]:
    """The far end of a device, and its path."""
    far, near = os.openpty()
    tty.setraw(near)
    try:
        yield far, Path(os.ttyname(near))
    finally:
        os.close(near)
        os.close(far)


def test_a_command_goes_out_and_its_answer_comes_back(terminal: tuple[int, Path]) -> None:
    far, path = terminal
    received: list[bytes] = []

    def answer() -> None:
        received.append(os.read(far, 4096))
        os.write(far, PROPERTIES)

    chip = threading.Thread(target=answer)
    chip.start()
    transport = connector(path)()
    assert isinstance(transport, DeviceTransport)
    assert Tpm(transport).properties(0x105, 1) == {0x105: 0x49465800}
    chip.join()
    transport.close()
    transport.close()
    assert received[0].hex() == "8001" + "00000016" + "0000017a" + "00000006" + "00000105" + "00000001"


def test_a_device_that_is_silent_is_an_error_and_its_late_answer_is_nobodys(terminal: tuple[int, Path]) -> None:
    far, path = terminal
    transport = DeviceTransport(path)
    with pytest.raises(AttesterError, match="in time"):
        transport.exchange(b"command", timeout_s=0.01)
    os.write(far, PROPERTIES)
    with pytest.raises(AttesterError, match="closed"):
        transport.exchange(b"command", timeout_s=1)
