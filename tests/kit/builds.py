"""Holders of keys, builds and the lists that they sign: made with the real code, the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealmesh.attestation.blessing import encode_draft, sign_list
from sealmesh.attestation.builds import BlessedList, BlessedTrust, Build

DAY = 86_400.0
PLATFORM = "linux-x86_64-cp311"
NAME = "example"


def seed(holder: str) -> bytes:
    """A holder's secret key."""
    return hashlib.sha256(f"the key of {holder}".encode()).digest()


def public(holder: str) -> bytes:
    """A holder's public key."""
    return Ed25519PrivateKey.from_private_bytes(seed(holder)).public_key().public_bytes_raw()


def trust(*holders: str, threshold: int = 2, name: str = NAME) -> BlessedTrust:
    """Two of Ada, Ben and Cleo, unless said otherwise."""
    return BlessedTrust(
        name=name, keys=tuple(public(one) for one in holders or ("ada", "ben", "cleo")), threshold=threshold
    )


def build(name: str = "sealmesh-0.1.0", *, platform: str = PLATFORM, **more: Iterable[str]) -> Build:
    """A build; its measurement follows from its name and platform."""
    return Build(
        label=f"{platform}/{name}",
        platform=platform,
        version="0.1.0",
        measurement=measurement(name, platform),
        length=100,
        **{key: frozenset(values) for key, values in more.items()},  # type: ignore[arg-type]
    )


def measurement(name: str = "sealmesh-0.1.0", platform: str = PLATFORM) -> bytes:
    """What a host with that build states."""
    return hashlib.sha256(f"{platform}/{name}".encode()).digest()


def draft(*builds: Build, now: float, version: int = 1, name: str = NAME, days: float = 30) -> bytes:
    """A list that nobody has signed."""
    listed = {one.label: one for one in builds or (build(),)}
    return encode_draft(BlessedList(name=name, version=version, expires=now + days * DAY, builds=listed))


def signed(
    *builds: Build,
    now: float,
    version: int = 1,
    by: Sequence[str] = ("ada", "ben"),
    name: str = NAME,
    days: float = 30,
) -> bytes:
    """A list with the signatures of these holders."""
    return sign(draft(*builds, now=now, version=version, name=name, days=days), *by)


def sign(data: bytes, *holders: str) -> bytes:
    """A list with these holders' signatures added."""
    for one in holders:
        data = sign_list(data, seed(one))
    return data
