"""The home's key files: plain, or sealed to this machine's TPM so that a copied disk is useless elsewhere (attack A21).

    sealmesh-PURPOSE-key-1 HEX                    the seed itself
    sealmesh-PURPOSE-key-2 tpm2 PUBLIC SEALED     the public key, and what only the chip that sealed it gives back

The first word keeps one kind of key from being taken for another; it is sealed with the seed.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
from pathlib import Path
from typing import Final, Protocol, TypeVar

from sealmesh.errors import AttesterError, ConfigError
from sealmesh.identity.keys import EndpointKey, IssuerKey, Random
from sealmesh.limits import KIB
from sealmesh.node.files import damaged, read_private, write_private

_log = logging.getLogger("sealmesh.node")

KEY_FILE_MAX: Final = 1 * KIB  # a sealed key has about 600 characters
_CHIP: Final = "tpm2"

Key = TypeVar("Key", EndpointKey, IssuerKey)


class Sealer(Protocol):
    """Keeps small secrets so that only this machine gives them back: `sealmesh.attesters.tpm.chip.TpmChip`. Blocks."""

    def seal(self, secret: bytes) -> bytes:
        """Return a form of the secret that may lie on a disk.

        Raises:
            AttesterError: The chip does not do it.
        """

    def unseal(self, sealed: bytes) -> bytes:
        """Return the secret.

        Raises:
            AttesterError: Another chip sealed it, this one was cleared since, or it is gone.
        """


class KeyFiles:
    """The key files of one home.

    Args:
        folder: The home.
        sealer: This machine's chip, or None to keep keys in plain files.
        unused: Why a chip that is here is none to keep keys in, for people; empty where there is nothing to say.
    """

    def __init__(self, folder: Path, sealer: Sealer | None, *, unused: str = "") -> None:
        self._folder = folder
        self._sealer = sealer
        self._unused = unused

    def path(self, purpose: str) -> Path:
        """Where the key for a purpose lies."""
        return self._folder / f"{purpose}.key"

    def is_sealed(self, purpose: str) -> bool:
        """Whether the file holds a key that a chip keeps.

        Raises:
            ConfigError: Others can read the file.
        """
        content = read_private(self.path(purpose), most=KEY_FILE_MAX)
        return content is not None and content.startswith(_word(purpose, 2).encode())

    def load(self, kind: type[Key], purpose: str) -> Key | None:
        """Return the key, or None where there is none.

        Raises:
            ConfigError: The file is damaged, others can read it, or no chip here opens it; the message says what to do.
        """
        path = self.path(purpose)
        content = read_private(path, most=KEY_FILE_MAX)
        if content is None:
            return None
        words = content.decode("ascii", "replace").split()
        with contextlib.suppress(ValueError):
            match words:
                case [word, seed] if word == _word(purpose, 1):
                    return _key_of(kind, bytes.fromhex(seed))
                case [word, chip, public, sealed] if word == _word(purpose, 2) and chip == _CHIP:
                    return self._unseal(kind, purpose, bytes.fromhex(public), bytes.fromhex(sealed))
        raise damaged(path, _loss(purpose))

    def make(self, kind: type[Key], purpose: str, random: Random) -> Key:
        """Make a key and write its file, sealed where there is a chip.

        Raises:
            ConfigError: It cannot be written.
        """
        key = kind.generate(random)
        self.put(key, purpose)
        return key

    def put(self, key: Key, purpose: str) -> None:
        """Write a key's file, sealed where there is a chip.

        Raises:
            ConfigError: It cannot be written.
        """
        content = self._sealed(key, purpose)
        if content is None:
            content = f"{_word(purpose, 1)} {key.seed.reveal().hex()}\n".encode()
        write_private(self.path(purpose), content)

    def seal(self, kind: type[Key], purpose: str) -> None:
        """Seal a key that lies in a plain file. Without a chip, or without such a file, nothing happens.

        Raises:
            ConfigError: The file is damaged or cannot be written.
        """
        if self._sealer is None or self.is_sealed(purpose) or (key := self.load(kind, purpose)) is None:
            return
        content = self._sealed(key, purpose)
        if content is not None:
            write_private(self.path(purpose), content)
            _log.warning(
                "%s is now sealed to this machine's TPM: a copy of it opens nowhere else, nor here once the TPM is "
                "cleared (copies that were made before still do)",
                self.path(purpose),
            )

    def _sealed(self, key: Key, purpose: str) -> bytes | None:
        """The content of a sealed file; None where there is no chip, or it does not give back what it took."""
        if self._sealer is None:
            return None
        secret = _labelled(purpose, key.seed.reveal())
        try:
            sealed = self._sealer.seal(secret)
            # Before the plain file goes: a key that no longer opens is a node that nobody knows any more.
            check_gives_back(self._sealer.unseal(sealed), secret)
            content = f"{_word(purpose, 2)} {_CHIP} {key.public.hex()} {sealed.hex()}\n".encode()
            check_fits(content)
        except AttesterError as error:
            _log.warning("%s is kept unsealed: %s", self.path(purpose), error)
            return None
        return content

    def _unseal(self, kind: type[Key], purpose: str, public: bytes, sealed: bytes) -> Key:
        path = self.path(purpose)
        if self._sealer is None:
            raise _cannot_open(path, purpose, f"and {self._unused or 'none is in use here: see --tpm'}")
        try:
            secret = self._sealer.unseal(sealed)
        except AttesterError as error:
            if error.momentary:  # nobody should give up an identity because a chip was busy
                raise ConfigError(f"{path} is sealed to a TPM that cannot open it now: {error}. Start again") from error
            raise _cannot_open(path, purpose, f"which does not open it: {error}") from error
        label, seed = secret[: -len(public)], secret[-len(public) :]
        if label != _labelled(purpose, b""):
            raise damaged(path, _loss(purpose))
        key = _key_of(kind, seed)
        if key.public != public:
            raise damaged(path, _loss(purpose))
        return key


def check_gives_back(given: bytes, secret: bytes) -> None:
    """Refuse a chip that does not give back what it just sealed.

    Raises:
        AttesterError: It gave something else.
    """
    if not hmac.compare_digest(given, secret):
        raise AttesterError("the TPM gives back something else than it sealed")


def check_fits(content: bytes) -> None:
    """Refuse to write a key file that would not be read again: the node would be one that nobody knows.

    Raises:
        AttesterError: The chip's form of the key is longer than any.
    """
    if len(content) > KEY_FILE_MAX:
        raise AttesterError("what the TPM made of it is longer than any sealed key")


def _key_of(kind: type[Key], seed: bytes) -> Key:
    try:
        return kind.from_seed(seed)
    except ConfigError as error:
        raise ValueError from error


def _word(purpose: str, version: int) -> str:
    return f"sealmesh-{purpose}-key-{version}"


def _labelled(purpose: str, seed: bytes) -> bytes:
    return _word(purpose, 2).encode() + b"\x00" + seed


def _loss(purpose: str) -> str:
    return f"then this node gets a new {purpose} key, and others no longer know it"


def _cannot_open(path: Path, purpose: str, why: str) -> ConfigError:
    return ConfigError(
        f"{path} is sealed to a TPM, {why}. Start the node on the machine that sealed it; if its TPM is gone or was "
        f"cleared, nothing opens the file any more: move it away, {_loss(purpose)}"
    )
