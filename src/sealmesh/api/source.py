"""Where the API and the console read the node's status."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from sealmesh.status import HostAttestation, NodeStatus


class AttestationSource(Protocol):
    """What hosts have shown a running node: `node.view.MeshView`."""

    def attestation(self, model: str) -> tuple[HostAttestation, ...]:
        """Return the evidence and the verdict of every other node that advertises a model."""


class StatusSource(Protocol):
    """A running node's status."""

    def snapshot(self) -> NodeStatus:
        """Return the status now."""

    def subscribe(self) -> AsyncGenerator[NodeStatus, None]:
        """Yield the status whenever it changed. Closing the iterator ends the subscription."""
