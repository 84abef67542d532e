"""Lists of blessed builds: their form, their signatures, and the newest one."""

from __future__ import annotations

from fuzz.harness import Harness, Target, holds

from kit.builds import build, draft, signed, trust
from sealmesh.attestation.blessed import BlessedKeeper, read_list_untrusted
from sealmesh.attestation.blessing import encode_draft, read_draft_untrusted
from sealmesh.errors import VerificationError

_NOW = 1_800_000_000.0
_MAC = build("app", platform="darwin-arm64-cp312", cdhashes=["ab" * 20])
_GUEST = build("image", launch_digests=["cd" * 48])
_SEEDS = [signed(now=_NOW), signed(_MAC, _GUEST, now=_NOW, version=2), draft(now=_NOW), signed(now=_NOW, by=["ada"])]
_NEWEST = signed(_MAC, now=_NOW, version=3)


def _offer(data: bytes) -> None:
    keeper = BlessedKeeper(trust())
    keeper.restore_untrusted(_SEEDS[1])
    before = keeper.held
    if keeper.offer_untrusted(data, _NOW):
        holds(keeper.held > before or keeper.held == before)
        holds(keeper.in_force(_NOW) is not None)


def _restore(data: bytes) -> None:
    BlessedKeeper(trust()).restore_untrusted(data)


def _draft(data: bytes) -> None:
    found, _ = read_draft_untrusted(data)
    holds(read_draft_untrusted(encode_draft(found))[0].builds == found.builds)


HARNESS = Harness(
    list=Target(take=lambda data: read_list_untrusted(data, trust(), _NOW), refuses=(VerificationError,), seeds=_SEEDS),
    offer=Target(take=_offer, refuses=(VerificationError,), seeds=[*_SEEDS, _NEWEST]),
    restore=Target(take=_restore, refuses=(VerificationError,), seeds=_SEEDS),
    draft=Target(take=_draft, refuses=(VerificationError,), seeds=_SEEDS),
)
