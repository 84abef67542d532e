"""Key files: plain, sealed, and what is said where a chip does not do what it should."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sealmesh.errors import AttesterError, ConfigError
from sealmesh.identity.keys import EndpointKey
from sealmesh.node.home import Home
from sealmesh.node.keyfiles import KeyFiles


class Box:
    """A chip that hides what it is given behind a mask of its own, and can fail or forget."""

    def __init__(self, mask: int = 0x55) -> None:
        self.mask = mask
        self.fails = False
        self.forgets = False
        self.swells = False

    def seal(self, secret: bytes) -> bytes:
        if self.fails:
            raise AttesterError("the hierarchy has a password")
        return bytes(byte ^ self.mask for byte in secret) + (bytes(500) if self.swells else b"")

    def unseal(self, sealed: bytes) -> bytes:
        if self.fails:
            raise AttesterError("there is no TPM")
        return bytes(byte ^ self.mask for byte in sealed[1 if self.forgets else 0 : -500 if self.swells else None])


def files(folder: Path, sealer: Box | None) -> KeyFiles:
    return KeyFiles(folder, sealer)


def test_a_sealed_key_is_read_again(tmp_path: Path) -> None:
    made = files(tmp_path, Box()).make(EndpointKey, "endpoint", lambda length: b"s" * length)
    assert files(tmp_path, Box()).is_sealed("endpoint")
    found = files(tmp_path, Box()).load(EndpointKey, "endpoint")
    assert found is not None
    assert found.public == made.public


def test_without_a_chip_keys_stay_in_plain_files(tmp_path: Path) -> None:
    plain = files(tmp_path, None)
    made = plain.make(EndpointKey, "endpoint", lambda length: b"s" * length)
    plain.seal(EndpointKey, "endpoint")
    assert (tmp_path / "endpoint.key").read_text() == f"sealmesh-endpoint-key-1 {made.seed.reveal().hex()}\n"
    assert not plain.is_sealed("endpoint")


@pytest.mark.parametrize("fault", ["fails", "forgets", "swells"])
def test_a_chip_that_does_not_keep_what_it_takes_leaves_the_file_plain(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box()
    setattr(box, fault, True)
    with caplog.at_level(logging.WARNING):
        made = files(tmp_path, box).make(EndpointKey, "endpoint", lambda length: b"s" * length)
        files(tmp_path, box).seal(EndpointKey, "endpoint")
    assert "is kept unsealed" in caplog.text
    found = files(tmp_path, None).load(EndpointKey, "endpoint")
    assert found is not None
    assert found.public == made.public


@pytest.mark.parametrize(
    ("sealer", "words"),
    [
        (None, r"none is in use here: see --tpm"),
        (Box(0x56), "damaged"),
    ],
)
def test_a_sealed_key_without_its_chip_says_what_to_do(tmp_path: Path, sealer: Box | None, words: str) -> None:
    files(tmp_path, Box()).make(EndpointKey, "endpoint", lambda length: b"s" * length)
    with pytest.raises(ConfigError, match=words):
        files(tmp_path, sealer).load(EndpointKey, "endpoint")


def test_a_chip_that_this_user_may_not_use_is_said_where_its_key_does_not_open(tmp_path: Path) -> None:
    Home(tmp_path / "home", sealer=Box()).endpoint_key()
    note = "a TPM is here and is not used: add this user to the group tss"
    with pytest.raises(ConfigError, match=r"sealed to a TPM, and a TPM is here and is not used: add .* tss"):
        Home(tmp_path / "home", unused=note).endpoint_key()


def test_a_chip_that_is_gone_is_named_with_what_is_lost(tmp_path: Path) -> None:
    box = Box()
    files(tmp_path, box).make(EndpointKey, "endpoint", lambda length: b"s" * length)
    box.fails = True
    with pytest.raises(ConfigError, match=r"there is no TPM.*move it away.*new endpoint key"):
        files(tmp_path, box).load(EndpointKey, "endpoint")


def test_a_chip_that_is_busy_is_no_reason_to_give_up_the_key(tmp_path: Path) -> None:
    class Busy(Box):
        def unseal(self, sealed: bytes) -> bytes:
            raise AttesterError("its memory is full of other programs' keys", code=0x902, momentary=True)

    files(tmp_path, Box()).make(EndpointKey, "endpoint", lambda length: b"s" * length)
    with pytest.raises(ConfigError, match=r"cannot open it now: its memory.*Start again$") as caught:
        files(tmp_path, Busy()).load(EndpointKey, "endpoint")
    assert "move it away" not in str(caught.value)


@pytest.mark.parametrize("place", range(4))
def test_a_damaged_line_is_refused(tmp_path: Path, place: int) -> None:
    box = Box()
    files(tmp_path, box).make(EndpointKey, "endpoint", lambda length: b"s" * length)
    path = tmp_path / "endpoint.key"
    words = path.read_text().split()
    words[place] = words[place][:-2] + "00"
    path.write_text(" ".join(words))
    with pytest.raises(ConfigError, match="damaged"):
        files(tmp_path, box).load(EndpointKey, "endpoint")


def test_a_home_says_whether_its_identity_is_sealed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", sealer=Box())
    assert not home.keys_are_sealed()
    home.endpoint_key()
    assert home.keys_are_sealed()
