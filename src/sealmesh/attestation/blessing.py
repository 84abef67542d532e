"""Makes lists of blessed builds: from what was measured to a text that its signers sign one after the other.

Pure: time and keys are arguments. What a node makes of a list is in `sealmesh.attestation.blessed`.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from sealmesh.attestation.blessed import (
    LABEL,
    NAME_FIELD,
    check_kinds,
    content_untrusted,
    key_of,
    parse_list_untrusted,
    signed_bytes_untrusted,
)
from sealmesh.attestation.builds import BlessedList, Build
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.limits import BLESSED_LIFETIME_S, BLESSED_LIST_MAX


def read_draft_untrusted(data: bytes) -> tuple[BlessedList, int]:
    """Read a list without asking who signed it: for its makers, never for a node.

    Returns:
        The list, and how many signatures are on it.

    Raises:
        VerificationError: It is none; factor `blessed_list`.
    """
    metadata = parse_list_untrusted(data)
    return content_untrusted(metadata.signed, signed_bytes_untrusted(metadata)), len(metadata.signatures)


def next_draft(
    previous: tuple[BlessedList, int] | None, *, name: str, now: float, days: float = BLESSED_LIFETIME_S / 86_400
) -> BlessedList:
    """Begin a list, or go on with one: a list that somebody has signed is followed by a higher version.

    Args:
        previous: What `read_draft_untrusted` gave; None for the first list.
        name: Of the list; "" keeps the previous one's.
        now: Unix seconds.
        days: How long it lasts from now.

    Raises:
        ConfigError: The first list has no name, another one gets another name, or it would last too long.
    """
    if not 0 < days * 86_400 <= BLESSED_LIFETIME_S:
        raise ConfigError(f"a list lasts at most {BLESSED_LIFETIME_S // 86_400} days")
    expires = float(int(now + days * 86_400))
    if previous is None:
        if not name:
            raise ConfigError("a first list needs a name: say --name, and put the same one into the policies")
        return BlessedList(name=name, version=1, expires=expires)
    found, signatures = previous
    if name and name != found.name:
        raise ConfigError(f"this list's name is {found.name!r}; another name is another list: begin a new file")
    return replace(found, version=found.version + bool(signatures), expires=expires)


def add_build(draft: BlessedList, build: Build) -> BlessedList:
    """Bless one more build; one of the same label is replaced.

    Raises:
        ConfigError: It is not named as builds are, or has digests that its platform has not.
    """
    if not LABEL.fullmatch(build.label):
        raise ConfigError(f"{build.label!r} names no build: PLATFORM/NAME of letters, digits, `.`, `_`, `+`, `-`")
    try:
        check_kinds(build)
    except VerificationError as error:
        raise ConfigError(f"such a build cannot be blessed: {error.reason}") from error
    return replace(draft, builds={**draft.builds, build.label: build})


def remove_builds(draft: BlessedList, labels: Iterable[str]) -> BlessedList:
    """Take builds off: nodes stop sending prompts to hosts that run them as soon as the list reaches them.

    Raises:
        ConfigError: One is not on the list.
    """
    builds = dict(draft.builds)
    for label in labels:
        if builds.pop(label, None) is None:
            raise ConfigError(f"{label} is not on the list; `sealmesh bless show` prints what is")
    return replace(draft, builds=builds)


def encode_draft(draft: BlessedList) -> bytes:
    """Return a list's text, without signatures.

    Raises:
        ConfigError: It is longer than nodes take.
    """
    expires = datetime.datetime.fromtimestamp(draft.expires, datetime.UTC)
    signed = Targets(version=draft.version, expires=expires, unrecognized_fields={NAME_FIELD: draft.name})
    for label, build in draft.builds.items():
        custom: dict[str, object] = {"version": build.version}
        if build.cdhashes:
            custom["cdhashes"] = sorted(build.cdhashes)
        if build.launch_digests:
            custom["launch_digests"] = sorted(build.launch_digests)
        hashes = {"sha256": build.measurement.hex()}
        signed.targets[label] = TargetFile(build.length, hashes, label, {"custom": custom})
    return _encode(Metadata(signed))


def sign_list(data: bytes, seed: bytes) -> bytes:
    """Return a list with one holder's signature added, or replaced.

    Args:
        data: A draft, or a list that others have signed.
        seed: Of the holder's Ed25519 key, 32 bytes.

    Raises:
        VerificationError: It is no list; nothing that a node would not read is ever signed.
        ConfigError: It is longer than nodes take.
    """
    read_draft_untrusted(data)
    metadata = parse_list_untrusted(data)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    metadata.sign(CryptoSigner(key, key_of(key.public_key().public_bytes_raw())), append=True)
    return _encode(metadata)


def list_digest(draft: BlessedList) -> str:
    """What signers compare before they sign: the digest of exactly what is signed."""
    return hashlib.sha256(signed_bytes_untrusted(parse_list_untrusted(encode_draft(draft)))).hexdigest()


def _encode(metadata: Metadata[Targets]) -> bytes:
    data = metadata.to_bytes(JSONSerializer(compact=True))
    if len(data) > BLESSED_LIST_MAX:
        raise ConfigError(f"the list is longer than {BLESSED_LIST_MAX} bytes: take old builds off")
    return data
