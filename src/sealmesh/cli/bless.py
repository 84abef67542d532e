"""What `sealmesh bless …` does: keys, lists, signatures, and handing a list to a node."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealmesh.attestation.blessed import read_list_untrusted
from sealmesh.attestation.blessing import (
    add_build,
    encode_draft,
    list_digest,
    next_draft,
    read_draft_untrusted,
    remove_builds,
    sign_list,
)
from sealmesh.attestation.builds import BlessedList, BlessedTrust, Build
from sealmesh.attestation.policy import POLICY_MAX, Policy, parse_policy_untrusted
from sealmesh.cli.terminal import Tone, escape_peer_text, say
from sealmesh.config.load import find_home
from sealmesh.errors import ConfigError
from sealmesh.limits import BLESSED_LIST_MAX, KIB
from sealmesh.node.builds import offer_list
from sealmesh.node.files import read_private, write_private

_MEASURED_MAX: Final = 4096 * KIB  # with its manifest, which is not needed here
_KEY_MAX: Final = 4 * KIB
_PASSPHRASE_MIN: Final = 8  # characters; the file is what is stolen, and then there is time to guess
_CDHASH_DIGITS: Final = 40
_LAUNCH_DIGITS: Final = 96


def make_key(path: Path, *, passphrase_file: Path | None, no_passphrase: bool) -> int:
    """Make a holder's key: the file is encrypted, or private, and what is printed is what policies name.

    Raises:
        ConfigError: The file exists, or there is no passphrase.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; a key is never overwritten")
    passphrase = None if no_passphrase else _passphrase(passphrase_file, new=True)
    encryption: serialization.KeySerializationEncryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase.encode())
    )
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_private(path, pem)
    print(key.public_key().public_bytes_raw().hex())
    say(f"That is the public key, for policies. {path} is the secret one: keep it off machines that serve.")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What is to be blessed, as words of the command line."""

    measured: Sequence[Path]
    label: str = ""
    cdhashes: Sequence[str] = ()
    launch_digests: Sequence[str] = ()


def add_builds(path: Path, addition: Addition, *, name: str, days: float) -> int:
    """Begin or go on with a list, and bless what was measured.

    Raises:
        ConfigError: A measurement cannot be read, or nobody can vouch for it.
    """
    if len(addition.measured) > 1 and (addition.label or addition.cdhashes or addition.launch_digests):
        raise ConfigError("--label, --cdhash and --launch-digest say something of one build: add it by itself")
    draft = next_draft(_read_list(path, missing=True), name=name, now=time.time(), days=days)
    for source in addition.measured:
        draft = add_build(draft, read_measured(_read(source, _MEASURED_MAX), source, addition))
    return _save(path, draft)


def remove(path: Path, labels: Sequence[str], *, days: float) -> int:
    """Take builds off a list.

    Raises:
        ConfigError: One is not on it.
    """
    draft = next_draft(_read_list(path), name="", now=time.time(), days=days)
    return _save(path, remove_builds(draft, labels))


def renew(path: Path, *, days: float) -> int:
    """Make the next version with the same builds, before the list ends.

    Raises:
        ConfigError: There is no list.
    """
    return _save(path, next_draft(_read_list(path), name="", now=time.time(), days=days))


def sign(path: Path, key_file: Path, *, passphrase_file: Path | None) -> int:
    """Add one holder's signature, after showing what is signed.

    Raises:
        ConfigError: The key cannot be read.
        VerificationError: It is no list.
    """
    data = _read(path, BLESSED_LIST_MAX)
    found, _ = read_draft_untrusted(data)
    say("\n".join(list_lines(found, Tone.of(sys.stderr), now=time.time())))
    key = _read_key(key_file, passphrase_file)
    signed = sign_list(data, key.private_bytes_raw())
    write_private(path, signed)
    _, signatures = read_draft_untrusted(signed)
    say(f"signed by {key.public_key().public_bytes_raw().hex()}; the list has {signatures} of its signatures")
    return 0


def show(path: Path, *, as_json: bool) -> int:
    """Print what a list says; nothing of it is verified.

    Raises:
        VerificationError: It is no list.
    """
    found, signatures = read_draft_untrusted(_read(path, BLESSED_LIST_MAX))
    if as_json:
        print(json.dumps({**describe(found), "signatures": signatures}))
        return 0
    print("\n".join(list_lines(found, Tone.of(sys.stdout), now=time.time())))
    print(f"{signatures} signatures, not verified here: that is `sealmesh bless verify`")
    return 0


def verify(path: Path, policy: Path | None, home: Path | None, *, as_json: bool) -> int:
    """Judge a list as a node with this policy would.

    Raises:
        ConfigError: The policy names nobody's list.
        VerificationError: The list does not hold; the exit code is 1.
    """
    found = read_list_untrusted(_read(path, BLESSED_LIST_MAX), _trust(_policy(policy, home)), time.time())
    if as_json:
        print(json.dumps({**describe(found), "verified": True}))
    else:
        print("\n".join(list_lines(found, Tone.of(sys.stdout), now=time.time())))
        print("verified: a node with this policy takes it, if it has seen no newer one")
    return 0


def publish(path: Path, policy: Path | None, home: Path | None) -> int:
    """Hand a list to the node of a home; it spreads from there.

    Raises:
        ConfigError: The policy names nobody's list, or the home cannot be written.
        VerificationError: The node would refuse it.
    """
    rules = _policy(policy, home)
    _trust(rules)
    found = offer_list(find_home(home), rules, _read(path, BLESSED_LIST_MAX), time.time())
    say(f"version {found.version} is with the node of {find_home(home)}: it is taken within a second, or at its start")
    return 0


# --- reading ------------------------------------------------------------------------------------------------------


def read_measured(data: bytes, source: Path, addition: Addition) -> Build:
    """A build out of what `sealmesh measure --json` printed on a machine that has it.

    Raises:
        ConfigError: It is not that, or no list can vouch for it.
    """
    try:
        measured: dict[str, Any] = json.loads(data)
        digest, platform, version = (str(measured[key]) for key in ("measurement", "platform", "version"))
        unblessed, length = list(measured["unblessed"]), int(measured["manifest_length"])
        measurement = bytes.fromhex(digest)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f"{source} is not what `sealmesh measure --json` prints") from None
    if unblessed:
        raise ConfigError(f"{source} cannot be blessed: {escape_peer_text(str(unblessed[0]), most=400)}")
    if len(measurement) != 32:
        raise ConfigError(f"{source} is not what `sealmesh measure --json` prints")
    return Build(
        label=f"{platform}/{addition.label or f'sealmesh-{version}-{digest[:12]}'}",
        platform=platform,
        version=version,
        measurement=measurement,
        length=length,
        cdhashes=_digests("--cdhash", addition.cdhashes, _CDHASH_DIGITS),
        launch_digests=_digests("--launch-digest", addition.launch_digests, _LAUNCH_DIGITS),
    )


def _digests(option: str, words: Sequence[str], digits: int) -> frozenset[str]:
    found = {word.lower() for word in words}
    if any(len(word) != digits or set(word) - set("0123456789abcdef") for word in found):
        raise ConfigError(f"{option} wants {digits} hex digits")
    return frozenset(found)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise ConfigError(f"{path} is larger than {most} bytes; is it the right file?")
    return content


def _read_list(path: Path, *, missing: bool = False) -> tuple[BlessedList, int] | None:
    if missing and not path.exists():
        return None
    return read_draft_untrusted(_read(path, BLESSED_LIST_MAX))


def _read_key(path: Path, passphrase_file: Path | None) -> Ed25519PrivateKey:
    pem = read_private(path, most=_KEY_MAX)
    if pem is None:
        raise ConfigError(f"there is no {path}; make a key with: sealmesh bless keygen {path}")
    passphrase = _passphrase(passphrase_file, new=False) if b"ENCRYPTED" in pem else None
    try:
        key = serialization.load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError):
        raise ConfigError(f"{path} cannot be opened: the passphrase is wrong, or it is no key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key; make one with: sealmesh bless keygen")
    return key


def _passphrase(file: Path | None, *, new: bool) -> str:
    if file is not None:
        found = (read_private(file, most=_KEY_MAX) or b"").decode("utf-8", "replace").strip("\r\n")
    elif sys.stdin.isatty():
        found = getpass.getpass("passphrase: ")
        if new and getpass.getpass("once more: ") != found:
            raise ConfigError("the two differ; run it again")
    else:
        raise ConfigError("there is no terminal to ask for the passphrase: name --passphrase-file, or --no-passphrase")
    if new and len(found) < _PASSPHRASE_MIN:
        raise ConfigError(f"the passphrase has fewer than {_PASSPHRASE_MIN} characters")
    return found


def _policy(path: Path | None, home: Path | None) -> Policy:
    found = path or find_home(home) / "policy.toml"
    return parse_policy_untrusted(_read(found, POLICY_MAX))


def _trust(policy: Policy) -> BlessedTrust:
    if policy.blessed_trust is None:
        raise ConfigError("the policy names no list: add list, keys and threshold under [measurement]")
    return policy.blessed_trust


# --- writing ------------------------------------------------------------------------------------------------------


def _save(path: Path, draft: BlessedList) -> int:
    write_private(path, encode_draft(draft))
    print("\n".join(list_lines(draft, Tone.of(sys.stdout), now=time.time())))
    say(f"{path} is not signed yet: each holder runs sealmesh bless sign {path} --key FILE")
    return 0


def describe(found: BlessedList) -> dict[str, object]:
    """A list as JSON-ready data."""
    return {
        "list": found.name,
        "version": found.version,
        "expires": _iso(found.expires),
        "digest": found.digest.hex() or list_digest(found),
        "builds": [
            {
                "label": build.label,
                "platform": build.platform,
                "version": build.version,
                "measurement": build.measurement.hex(),
                "cdhashes": sorted(build.cdhashes),
                "launch_digests": sorted(build.launch_digests),
            }
            for build in found.builds.values()
        ],
    }


def list_lines(found: BlessedList, tone: Tone, *, now: float) -> list[str]:
    """A list for people."""
    ended = " (it has ended)" if now >= found.expires else ""
    lines = [
        f"{escape_peer_text(found.name)}, version {found.version}, until {_iso(found.expires)}{ended}",
        f"what is signed: {found.digest.hex() or list_digest(found)}",
    ]
    for build in sorted(found.builds.values(), key=lambda build: build.label):
        lines.append(f"  {build.label}  {tone.style(build.measurement.hex(), 'dim')}")
        lines += [f"    code directory hash {digest}" for digest in sorted(build.cdhashes)]
        lines += [f"    launch digest {digest}" for digest in sorted(build.launch_digests)]
    return lines if found.builds else [*lines, "  no build: every host is unblessed by it"]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
