"""Reads lists of blessed builds: TUF targets metadata, signed by a threshold of keys (docs/spec/builds.md, section 2).

Only the format and its signatures are the library's; no repository, no download. What is read never gets older: a
`BlessedKeeper` remembers the highest version that it ever took.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets

from sealmesh.attestation.builds import LIST_FACTOR, BlessedList, BlessedTrust, Build
from sealmesh.errors import VerificationError
from sealmesh.limits import (
    BLESSED_BUILDS_MAX,
    BLESSED_DIGESTS_MAX,
    BLESSED_LIFETIME_S,
    BLESSED_LIST_MAX,
    BLESSED_VERSION_MAX,
    CLOCK_SKEW_S,
)

#: The field of the signed part that says which list it is.
NAME_FIELD: Final = "x-sealmesh-list"
LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
VERSION_TEXT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,31}")
_HEX: Final = re.compile(r"[0-9a-f]+")
_CDHASH_DIGITS: Final = 40
_LAUNCH_DIGITS: Final = 96
_HELD_VERSION: Final = 8


def key_of(public: bytes) -> SSlibKey:
    """A public key as the library has it; its id follows from the key alone."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))


def read_list_untrusted(data: bytes, trust: BlessedTrust, now: float) -> BlessedList:
    """Read a list that somebody passed on, and hold it to the asker's trust and to the time.

    Args:
        data: As received.
        trust: The asker's.
        now: Unix seconds.

    Raises:
        VerificationError: It does not hold; factor `blessed_list`.
    """
    found = verify_list_untrusted(data, trust)
    # 5. It counts now, and ends within the longest time that a list may last [BL-7].
    found.check_expiry(now)
    check_lifetime(found, now)
    return found


def verify_list_untrusted(data: bytes, trust: BlessedTrust) -> BlessedList:
    """Read a list and verify who signed it, whatever the time.

    Raises:
        VerificationError: It does not hold; factor `blessed_list`.
    """
    # 1. Length and form [BL-5].
    metadata = parse_list_untrusted(data)
    signed_bytes = signed_bytes_untrusted(metadata)
    # 2. Enough of the trusted keys signed exactly this [BL-6].
    check_threshold_untrusted(metadata, signed_bytes, trust)
    # 3. It is the list that was asked for: the same people may sign others [BL-4].
    check_name(metadata.signed, trust)
    # 4. What it lists [BL-5] [BL-8].
    return content_untrusted(metadata.signed, signed_bytes)


def parse_list_untrusted(data: bytes) -> Metadata[Targets]:
    """Parse a list; nothing of it is verified.

    Raises:
        VerificationError: Too long, or no targets metadata of the kind that lists are [BL-5].
    """
    if len(data) > BLESSED_LIST_MAX:
        raise VerificationError(LIST_FACTOR, "too long", expected=f"at most {BLESSED_LIST_MAX} bytes")
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except (RepositoryError, RecursionError) as error:
        raise VerificationError(LIST_FACTOR, "not a list: it is no TUF metadata") from error
    if not isinstance(metadata.signed, Targets):
        raise VerificationError(LIST_FACTOR, "not a list: it is another kind of TUF metadata")
    version = metadata.signed.version
    if type(version) is not int or not 1 <= version <= BLESSED_VERSION_MAX:
        raise VerificationError(LIST_FACTOR, "not a list: its version is no number")
    if metadata.signed.delegations is not None:
        raise VerificationError(LIST_FACTOR, "not a list: it delegates to others")
    return metadata


def signed_bytes_untrusted(metadata: Metadata[Targets]) -> bytes:
    """What signatures of a list are over: its signed part in canonical JSON.

    Raises:
        VerificationError: It has none: it holds a fraction, or nests too deeply.
    """
    try:
        return metadata.signed_bytes
    except (RepositoryError, RecursionError) as error:
        raise VerificationError(LIST_FACTOR, "not a list: it has no canonical form") from error


def check_threshold_untrusted(metadata: Metadata[Targets], signed_bytes: bytes, trust: BlessedTrust) -> None:
    """Refuse a list that too few of the trusted keys signed: one short, others' keys, or another list's [BL-6].

    Raises:
        VerificationError: Factor `blessed_list`.
    """
    signers = 0
    for public in trust.keys:
        key = key_of(public)
        signature = metadata.signatures.get(key.keyid)
        if signature is None:
            continue
        try:
            key.verify_signature(signature, signed_bytes)
        except UnverifiedSignatureError:
            continue
        signers += 1
    if signers < trust.threshold:
        raise VerificationError(
            LIST_FACTOR,
            f"signed by {signers} of the {trust.threshold} keys that are needed",
            expected=str(trust.threshold),
            got=str(signers),
        )


def check_name(signed: Targets, trust: BlessedTrust) -> None:
    """Refuse a list that its signers made for something else: another mesh, or another product [BL-4].

    Raises:
        VerificationError: Factor `blessed_list`.
    """
    if signed.unrecognized_fields.get(NAME_FIELD) != trust.name:
        raise VerificationError(LIST_FACTOR, "signed as another list", expected=trust.name)


def check_lifetime(found: BlessedList, now: float) -> None:
    """Refuse a list that would count for longer than lists do: a stolen key must not bless for years [BL-7].

    Raises:
        VerificationError: Factor `blessed_list`.
    """
    if found.expires > now + BLESSED_LIFETIME_S + CLOCK_SKEW_S:
        days = BLESSED_LIFETIME_S // 86_400
        raise VerificationError(LIST_FACTOR, f"it would last for more than {days} days, or this clock is wrong")


# --- what it lists ------------------------------------------------------------------------------------------------


def content_untrusted(signed: Targets, signed_bytes: bytes) -> BlessedList:
    """Read the builds of a list.

    Raises:
        VerificationError: One is malformed, or for a platform that cannot have it [BL-5] [BL-8].
    """
    name = signed.unrecognized_fields.get(NAME_FIELD)
    if len(signed.targets) > BLESSED_BUILDS_MAX:
        raise _malformed(f"it lists more than {BLESSED_BUILDS_MAX} builds")
    return BlessedList(
        name=name if isinstance(name, str) else "",
        version=signed.version,
        expires=signed.expires.timestamp(),
        builds={label: _build(label, target) for label, target in signed.targets.items()},
        digest=hashlib.sha256(signed_bytes).digest(),
    )


def _build(label: str, target: TargetFile) -> Build:
    digest = target.hashes.get("sha256")
    if not LABEL.fullmatch(label) or set(target.hashes) != {"sha256"} or not isinstance(digest, str):
        raise _malformed("a build is not named or measured as builds are")
    custom = target.custom if isinstance(target.custom, Mapping) else {}
    version = custom.get("version")
    if not isinstance(version, str) or not VERSION_TEXT.fullmatch(version):
        raise _malformed("a build has no version")
    build = Build(
        label=label,
        platform=label.partition("/")[0],
        version=version,
        measurement=bytes.fromhex(_hex(digest, 64)),
        length=target.length,
        cdhashes=_digests(custom.get("cdhashes", []), _CDHASH_DIGITS),
        launch_digests=_digests(custom.get("launch_digests", []), _LAUNCH_DIGITS),
    )
    check_kinds(build)
    return build


def check_kinds(build: Build) -> None:
    """Refuse a digest on a platform that has none of its kind: a mistake of whoever made the list [BL-8].

    Raises:
        VerificationError: Factor `blessed_list`.
    """
    system = build.platform.partition("-")[0]
    if build.cdhashes and system != "darwin":
        raise _malformed(f"it names code directory hashes for {build.platform}, which is no macOS")
    if build.launch_digests and system != "linux":
        raise _malformed(f"it names launch digests for {build.platform}, which is no Linux")


def _digests(value: object, digits: int) -> frozenset[str]:
    if not isinstance(value, list) or len(value) > BLESSED_DIGESTS_MAX:
        raise _malformed("a build's digests are no list, or too many")
    return frozenset(_hex(one, digits) for one in value)


def _hex(value: object, digits: int) -> str:
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        raise _malformed(f"a digest is not {digits} hex digits in small letters")
    return value


def _malformed(reason: str) -> VerificationError:
    return VerificationError(LIST_FACTOR, f"malformed: {reason}")


# --- the newest one -----------------------------------------------------------------------------------------------


class BlessedKeeper:
    """The newest list of one trust. It never goes back to an older one, expired or not [BL-9].

    Args:
        trust: Whose lists are taken.
    """

    def __init__(self, trust: BlessedTrust) -> None:
        self.trust = trust
        self._newest: BlessedList | None = None
        self._data = b""

    @property
    def newest(self) -> BlessedList | None:
        """The newest list ever taken; it may have expired."""
        return self._newest

    @property
    def data(self) -> bytes:
        """The same as it was received, to keep and to pass on; empty if there is none."""
        return self._data

    @property
    def held(self) -> bytes:
        """What this node has, for its peers: trust id ‖ u64 version, 40 bytes."""
        version = 0 if self._newest is None else self._newest.version
        return self.trust.id + version.to_bytes(_HELD_VERSION, "big")

    def in_force(self, now: float) -> BlessedList | None:
        """The list that counts now: the newest one, until it ends."""
        if self._newest is None or now >= self._newest.expires:
            return None
        return self._newest

    def lacks(self, held: bytes) -> bool:
        """Whether a peer that said it holds this would be helped by this node's list."""
        return (
            self._newest is not None
            and held[:-_HELD_VERSION] == self.trust.id
            and int.from_bytes(held[-_HELD_VERSION:], "big") < self._newest.version
        )

    def offer_untrusted(self, data: bytes, now: float) -> bool:
        """Take a list if it is newer than the one held.

        Args:
            data: As received.
            now: Unix seconds.

        Returns:
            Whether it was taken. The one that is held already is not taken again, and is nobody's fault.

        Raises:
            VerificationError: It does not hold, or is older; factor `blessed_list`.
        """
        if data == self._data:
            return False
        found = read_list_untrusted(data, self.trust, now)
        if not self._outranks(found):
            return False
        self._newest, self._data = found, bytes(data)
        return True

    def restore_untrusted(self, data: bytes) -> None:
        """Take up what was held before a restart. It may have expired; its version counts all the same [BL-9].

        Raises:
            VerificationError: It is not a list of this trust.
        """
        self._newest, self._data = verify_list_untrusted(data, self.trust), bytes(data)

    def _outranks(self, found: BlessedList) -> bool:
        """Say whether a list replaces the one held; of two with one version, the one with the lower digest [BL-9]."""
        if self._newest is None or found.version > self._newest.version:
            return True
        check_not_older(found, self._newest)
        return found.digest < self._newest.digest


def check_not_older(found: BlessedList, newest: BlessedList) -> None:
    """Refuse a list older than one seen before: a build that was taken off must not come back (a rollback) [BL-9].

    Raises:
        VerificationError: Factor `blessed_list`.
    """
    if found.version < newest.version:
        raise VerificationError(
            LIST_FACTOR,
            f"version {found.version} is older than version {newest.version}, which this node has seen",
            expected=f"at least {newest.version}",
            got=str(found.version),
        )
