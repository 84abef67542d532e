"""`sealmesh mesh export-key` and `import-key`: the issuer key on its way to a safe or to a second home."""

from __future__ import annotations

import getpass
import json
import secrets
import sys
from pathlib import Path

from sealmesh.cli.invite import home_of_running_node
from sealmesh.cli.terminal import say
from sealmesh.config import Secret
from sealmesh.config.load import find_home
from sealmesh.errors import ConfigError
from sealmesh.node.files import read_private, write_private
from sealmesh.node.home import Home
from sealmesh.node.keyexport import EXPORT_MAX, IssuerExport, require_passphrase
from sealmesh.node.keyfiles import KeyFiles

_PASSPHRASE_FILE_MAX = 4096


def export_key(file: Path, home: Path | None, *, passphrase_file: Path | None, as_json: bool) -> int:
    """Write the issuer key to a new file, under a passphrase.

    Raises:
        ConfigError: This home holds no issuer key or cannot open it, or the file cannot be written.
    """
    place = home_of_running_node(find_home(home))
    if place.keys_are_sealed():
        place.require_run_state()  # the node knows the chip that keeps the key
    issuer = place.issuer_key()
    if issuer is None:
        raise ConfigError("this home holds no issuer key: export it on the node that made the mesh")
    if file.exists() or file.is_symlink():
        raise ConfigError(f"{file} is there already: choose another name, or move it away")
    exported = IssuerExport.make(issuer, _passphrase(passphrase_file, new=True), secrets.token_bytes)
    write_private(file, exported.encode())
    print(json.dumps({"file": str(file), "issuer_key": issuer.public.hex()}) if as_json else f"wrote {file}")
    say("Whoever has this file and the passphrase can invite and revoke. Nobody can help who loses either.")
    return 0


def import_key(file: Path, home: Path | None, *, passphrase_file: Path | None, as_json: bool) -> int:
    """Put an exported issuer key into a home that is in its mesh.

    Raises:
        ConfigError: A node runs on the home, it is in another mesh or holds a key, or the file cannot be opened.
    """
    place = Home(find_home(home))
    with place.lock():  # a node that runs would go on without it
        mesh = place.mesh()
        if mesh is None:
            raise ConfigError(f"{place.path} is in no mesh: join it first, with a ticket, then import its key")
        keys = KeyFiles(place.path, None)
        if place.holds_issuer_key():
            raise ConfigError(f"{place.path} holds an issuer key already")
        content = read_private(file, most=EXPORT_MAX)
        if content is None:
            raise ConfigError(f"{file} is not there")
        exported = IssuerExport.decode_untrusted(content)
        if exported.public != mesh.issuer_key:
            raise ConfigError("this is the issuer key of another mesh")
        keys.put(exported.open(_passphrase(passphrase_file, new=False)), "issuer")
    print(json.dumps({"issuer_key": exported.public.hex()}) if as_json else "this home can invite and revoke now")
    if place.keys_are_sealed():
        say("The next start of the node seals the key to this machine's TPM, as its own.")
    return 0


def _passphrase(file: Path | None, *, new: bool) -> Secret:
    """From a private file's first line, else asked for on a terminal.

    Raises:
        ConfigError: There is no terminal, or two tries at a new one differ.
    """
    if file is not None:
        content = read_private(file, most=_PASSPHRASE_FILE_MAX)
        if content is None:
            raise ConfigError(f"{file} is not there")
        try:
            return Secret(content.decode().splitlines()[0])
        except (UnicodeDecodeError, IndexError) as error:
            raise ConfigError(f"{file} holds no passphrase in its first line") from error
    if not sys.stdin.isatty():
        raise ConfigError("no terminal to ask for a passphrase: give it with --passphrase-file FILE")
    given = Secret(getpass.getpass("Passphrase: "))
    if new:
        require_passphrase(given)
        if getpass.getpass("The same again: ") != given.reveal():
            raise ConfigError("the two are not the same")
    return given
