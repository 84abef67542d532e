"""The table of raw kinds: what `sealmesh verify --kind` knows, and whose chip each kind speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.vendors.raw import RawKind

_KINDS: Final[tuple[RawKind, ...]] = ()

#: By the word after `--kind`.
RAW_KINDS: Final[Mapping[str, RawKind]] = MappingProxyType({kind.name: kind for kind in _KINDS})
