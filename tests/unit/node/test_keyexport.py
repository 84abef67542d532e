"""An exported issuer key opens under its passphrase and nothing else."""

from __future__ import annotations

import pytest

from kit.people import Randomness
from sealmesh.config import Secret
from sealmesh.errors import ConfigError
from sealmesh.identity.keys import IssuerKey
from sealmesh.node.keyexport import EXPORT_MAX, PASSPHRASE_MIN, IssuerExport

PASSPHRASE = Secret("four words are enough")
KEY = IssuerKey.generate(Randomness("issuer"))
EXPORTED = IssuerExport.make(KEY, PASSPHRASE, Randomness("export"))


def test_it_opens_again_and_shows_nothing_of_the_key() -> None:
    content = EXPORTED.encode()
    assert len(content) < EXPORT_MAX
    assert IssuerExport.decode_untrusted(content).open(PASSPHRASE).seed == KEY.seed
    assert KEY.seed.reveal().hex().encode() not in content
    assert EXPORTED.sealed.hex() not in repr(EXPORTED)
    assert str(EXPORTED.sealed) not in repr(EXPORTED)


def test_another_passphrase_does_not_open_it() -> None:
    with pytest.raises(ConfigError, match="does not open this file"):
        EXPORTED.open(Secret("four words are enougH"))


@pytest.mark.parametrize("word", [1, 2, 3])
def test_a_changed_file_does_not_open(word: int) -> None:
    words = EXPORTED.encode().decode().split()
    words[word] = ("0" if words[word][0] != "0" else "1") + words[word][1:]
    with pytest.raises(ConfigError, match="does not open this file"):
        IssuerExport.decode_untrusted(" ".join(words).encode()).open(PASSPHRASE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"sealmesh-issuer-key-1 " + b"ab" * 32,
        EXPORTED.encode().replace(b"export-1", b"export-2"),
        EXPORTED.encode()[:-3],
        EXPORTED.encode() + b" 00",
        EXPORTED.encode() + b" " * EXPORT_MAX,
        EXPORTED.encode().replace(b"sealmesh-issuer-export-1 ", b"sealmesh-issuer-export-1 zz"),
    ],
)
def test_what_is_no_export(content: bytes) -> None:
    with pytest.raises(ConfigError, match="no exported issuer key"):
        IssuerExport.decode_untrusted(content)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(ConfigError, match="several words"):
        IssuerExport.make(KEY, Secret("x" * (PASSPHRASE_MIN - 1)), Randomness("export"))
