"""A copy of the issuer key under a passphrase: for a safe, or for a second home that may invite and revoke.

    sealmesh-issuer-export-1 PUBLIC SALT SEALED        one line, hex

The passphrase goes through scrypt, and AES-256-GCM seals the seed under what comes out, bound to the first two words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sealmesh.config import Secret
from sealmesh.errors import ConfigError
from sealmesh.identity.keys import IssuerKey, Random

EXPORT_MAX: Final = 1024  # characters; one has 264
PASSPHRASE_MIN: Final = 12  # characters: whoever gets the file may try for as long as it likes
_WORD: Final = "sealmesh-issuer-export-1"
_SALT: Final = 16
_SEALED: Final = 32 + 16
_PUBLIC: Final = 32
#: 128 MiB and about half a second a try.
_COST: Final = 1 << 17
#: The key under it is used once, with a salt of its own.
_NONCE: Final = bytes(12)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerExport:
    """What such a file holds.

    Attributes:
        public: Of the issuer, 32 bytes: tells which mesh it is of.
        salt: 16 bytes.
        sealed: The seed and its tag, 48 bytes.
    """

    public: bytes
    salt: bytes
    sealed: bytes = field(repr=False)

    @classmethod
    def make(cls, key: IssuerKey, passphrase: Secret, random: Random) -> Self:
        """Seal a key under a passphrase. Takes half a second.

        Raises:
            ConfigError: The passphrase is too short.
        """
        require_passphrase(passphrase)
        salt = random(_SALT)
        sealed = AESGCM(_derive(passphrase, salt)).encrypt(_NONCE, key.seed.reveal(), _bound(key.public))
        return cls(public=key.public, salt=salt, sealed=sealed)

    def encode(self) -> bytes:
        """The file's content."""
        return f"{_WORD} {self.public.hex()} {self.salt.hex()} {self.sealed.hex()}\n".encode()

    @classmethod
    def decode_untrusted(cls, content: bytes) -> Self:
        """Read a file's content.

        Raises:
            ConfigError: It is no export of an issuer key.
        """
        try:
            if len(content) > EXPORT_MAX:
                raise ValueError
            word, public, salt, sealed = content.decode("ascii").split()
            found = cls(public=bytes.fromhex(public), salt=bytes.fromhex(salt), sealed=bytes.fromhex(sealed))
        except ValueError as error:
            raise ConfigError("this is no exported issuer key, or a damaged one") from error
        if (word, len(found.public), len(found.salt), len(found.sealed)) != (_WORD, _PUBLIC, _SALT, _SEALED):
            raise ConfigError("this is no exported issuer key, or a damaged one")
        return found

    def open(self, passphrase: Secret) -> IssuerKey:
        """The key. Takes half a second.

        Raises:
            ConfigError: The passphrase is another, or the file was changed.
        """
        try:
            seed = AESGCM(_derive(passphrase, self.salt)).decrypt(_NONCE, self.sealed, _bound(self.public))
        except InvalidTag as error:
            raise ConfigError("the passphrase does not open this file, or the file was changed") from error
        key = IssuerKey.from_seed(seed)
        if key.public != self.public:
            raise ConfigError("this is no exported issuer key, or a damaged one")
        return key


def require_passphrase(passphrase: Secret) -> None:
    """Refuse a passphrase that is tried out in no time.

    Raises:
        ConfigError: It is too short.
    """
    if len(passphrase.reveal()) < PASSPHRASE_MIN:
        raise ConfigError(f"a passphrase has {PASSPHRASE_MIN} characters at least: take several words")


def _derive(passphrase: Secret, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase.reveal().encode())


def _bound(public: bytes) -> bytes:
    return _WORD.encode() + b" " + public
