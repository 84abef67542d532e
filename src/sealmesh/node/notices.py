"""What the issuer said, kept over restarts: revocations and successors."""

from __future__ import annotations

import contextlib
import logging

from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity.admission import AdmissionPolicy
from sealmesh.node.clock import now
from sealmesh.node.home import Home, MeshState

_log = logging.getLogger("sealmesh.node")


class NoticeKeeper:
    """Keeps what a policy holds in the home. What cannot be kept now is in force all the same, and kept later.

    Args:
        home: Where to.
        members: The policy.
    """

    def __init__(self, home: Home, members: AdmissionPolicy) -> None:
        self._home = home
        self._members = members
        self._due = False

    def keep(self) -> None:
        """The issuer said something new. Never raises: a full disk must not stop the revoked from being cut."""
        try:
            self._home.save_successors(self._members.successors_data)
            if self._members.revocations_data:
                self._home.save_revocations(self._members.revocations_data)
        except ConfigError as error:
            if not self._due:
                _log.error("the list of revocations is in force, but cannot be kept for the next start: %s", error)
            self._due = True
        else:
            self._due = False

    def advance(self) -> None:
        """Try again what could not be kept. Call it each second."""
        if self._due:
            self.keep()


def load_members(home: Home, mesh: MeshState) -> AdmissionPolicy:
    """Who is in the mesh, with what the issuer said in earlier runs. What no longer holds is not taken."""
    members = AdmissionPolicy(mesh.issuer_key)
    for successor in home.successors():
        with contextlib.suppress(VerificationError):
            members.offer_successor_untrusted(successor)
    revocations = home.revocations()
    if revocations:
        try:
            members.offer_revocations_untrusted(revocations, now())
        except VerificationError as error:
            raise ConfigError(
                f"{home.path / 'revocations'} is damaged ({error.reason}); move it away: other members send it again"
            ) from error
    return members
