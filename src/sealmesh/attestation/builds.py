"""Which builds are blessed: whom the asker trusts to say so, what they said, and how a host is judged by it.

A *list* names builds by their measurement, for one platform each (docs/spec/builds.md). Here is what a list means; how
one is read and verified is `sealmesh.attestation.blessed`, which loads a library that most nodes never need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.factors import Factor, FactorId, Source, Status
from sealmesh.attestation.statement import HostStatement
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.limits import BLESSED_KEYS_MAX

LIST_FACTOR = "blessed_list"
MEASUREMENT_FACTOR = "measurement"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlessedTrust:
    """Whose list an asker believes: so many of these keys, for a list of this name [BL-4].

    Attributes:
        name: Of the list; keys that sign several lists sign each for one name.
        keys: Ed25519 public keys, 32 bytes each.
        threshold: How many of them must have signed.

    Raises:
        ConfigError: There are no or too many keys, one twice, or a threshold that nothing or everything meets.
    """

    name: str
    keys: tuple[bytes, ...]
    threshold: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= BLESSED_KEYS_MAX or any(len(key) != _KEY_BYTES for key in self.keys):
            raise ConfigError(f"a list of builds has 1 to {BLESSED_KEYS_MAX} keys of 64 hex digits each")
        if len(set(self.keys)) != len(self.keys):
            raise ConfigError("a key of a list of builds is named twice: its holder would count as two")
        if not 1 <= self.threshold <= len(self.keys):
            raise ConfigError(f"the threshold of a list of builds is 1 to {len(self.keys)}, the number of its keys")

    @property
    def id(self) -> bytes:
        """What tells one trust from another, 32 bytes: versions of different trusts are not compared [BL-9]."""
        name = self.name.encode()
        parts = [len(name).to_bytes(2, "big") + name, bytes([self.threshold]), *sorted(self.keys)]
        return hashlib.sha256(b"sealmesh/1 blessed\x00" + b"".join(parts)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build that its signers vouch for.

    Attributes:
        label: What people call it, as `linux-x86_64-cp311/sealmesh-0.1.0`; characters of a path only.
        platform: What it is for.
        version: Of sealmesh.
        measurement: SHA-256 of its manifest, 32 bytes.
        length: Of its manifest, in bytes.
        cdhashes: Code directory hashes (hex) of its signed executables; on macOS only.
        launch_digests: SEV-SNP launch digests (hex) of complete images that hold it; on Linux only.
    """

    label: str
    platform: str
    version: str
    measurement: bytes
    length: int
    cdhashes: frozenset[str] = frozenset()
    launch_digests: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlessedList:
    """A list whose signatures held.

    Attributes:
        name: Of the list.
        version: Rises with each list.
        expires: Unix seconds.
        builds: Every build that is blessed, by its label.
        digest: SHA-256 of what was signed, 32 bytes.
    """

    name: str
    version: int
    expires: float
    builds: Mapping[str, Build] = field(default_factory=dict)
    digest: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "builds", MappingProxyType(dict(self.builds)))

    def check_expiry(self, now: float) -> None:
        """Refuse a list whose time is over: who withholds newer ones must not keep an old one in force [BL-7].

        Raises:
            VerificationError: Factor `blessed_list`.
        """
        if now >= self.expires:
            raise VerificationError(LIST_FACTOR, f"version {self.version} has expired", got=f"{self.expires:.0f}")

    def find_build(self, measurement: bytes, platform: str, now: float) -> Build:
        """Return the build that a host says it runs [BL-11].

        Args:
            measurement: Of its statement, 32 bytes or none.
            platform: Of its statement.
            now: Unix seconds.

        Raises:
            VerificationError: It is not blessed; factor `blessed_list` if no build is now, else `measurement`.
        """
        self.check_expiry(now)
        if not measurement:
            raise VerificationError(MEASUREMENT_FACTOR, "it names no build that could be blessed")
        found = [build for build in self.builds.values() if build.measurement == measurement]
        if not found:
            raise VerificationError(MEASUREMENT_FACTOR, f"its build is not on version {self.version} of the list")
        check_platform(found, platform)
        return next(build for build in found if build.platform == platform)


def check_platform(builds: list[Build], platform: str) -> None:
    """Refuse a build on a platform that it was not blessed for.

    Raises:
        VerificationError: Factor `measurement`.
    """
    if all(build.platform != platform for build in builds):
        wanted = ", ".join(sorted(build.platform for build in builds))
        raise VerificationError(
            MEASUREMENT_FACTOR, "its build is blessed for another platform", expected=wanted, got=platform
        )


def judge_build(statement: HostStatement, found: BlessedList | None, *, required: bool, now: float) -> Factor:
    """Say whether a list vouches for the build that a host says it runs [BL-11].

    What a host says of its own code is its own word; so a build that is not blessed lowers no tier unless blessed
    builds are demanded, and one that is raises none.

    Args:
        statement: The host's.
        found: The list in force; None where none is known that counts.
        required: Whether the asker demands a blessed build.
        now: Unix seconds.
    """
    status = Status.FAIL if required else Status.ABSENT
    if found is None:
        return measurement_factor(status, "unblessed: no signed list of builds is known that counts now")
    try:
        build = found.find_build(statement.measurement, statement.platform, now)
    except VerificationError as error:
        return measurement_factor(status, f"unblessed: {error.reason}")
    return measurement_factor(Status.PASS, f"blessed: the host says that it runs {build.label}")


def measurement_factor(status: Status, reason: str) -> Factor:
    """What came of judging a host's measurement: always the host's own word."""
    return Factor(factor=FactorId.MEASUREMENT, status=status, source=Source.SELF_ASSERTED, reason=reason)


def unblessed_reasons(judged: Factor) -> tuple[str, ...]:
    """Why a host whose build must be blessed is refused; empty where it is blessed."""
    return () if judged.status is Status.PASS else (judged.reason,)


def join_digests(vendors: Mapping[str, Mapping[str, object]], found: BlessedList) -> dict[str, Mapping[str, object]]:
    """The vendors' tables of a policy, with what a list says of code that hardware measures added to them [BL-12]."""
    joined: dict[str, Mapping[str, object]] = dict(vendors)
    for table, key, digests in (
        ("apple", "cdhashes", {digest for build in found.builds.values() for digest in build.cdhashes}),
        ("snp", "measurements", {digest for build in found.builds.values() for digest in build.launch_digests}),
    ):
        if digests:
            before = joined.get(table, {})
            known = before.get(key, ())
            assert isinstance(known, tuple)  # noqa: S101 - what the policy's reader gives
            joined[table] = {**before, key: tuple(sorted({*known, *digests}))}
    return joined


_TRUST_KEYS: Final = ("list", "keys", "threshold")


def trust_of(table: Mapping[str, object]) -> BlessedTrust | None:
    """The trust that a policy's `[measurement]` names, if it names one.

    Raises:
        ConfigError: It names a part of one, or one that nothing or everything meets.
    """
    given = [key for key in _TRUST_KEYS if key in table]
    if not given:
        return None
    if len(given) < len(_TRUST_KEYS):
        raise ConfigError("policy: [measurement] names a signed list by list, keys and threshold, all three")
    name, keys, threshold = (table[key] for key in _TRUST_KEYS)
    assert isinstance(name, str)  # noqa: S101 - what the readers of these keys give
    assert isinstance(keys, tuple)  # noqa: S101
    assert isinstance(threshold, int)  # noqa: S101
    try:
        return BlessedTrust(name=name, keys=keys, threshold=threshold)
    except ConfigError as error:
        raise ConfigError(f"policy: [measurement] {error}") from None
