"""The list of blessed builds on a node: kept over restarts, taken from its operator, applied to verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sealmesh.attestation.blessed import BlessedKeeper, verify_list_untrusted
from sealmesh.attestation.builds import BlessedList
from sealmesh.attestation.policy import Policy
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.limits import BLESSED_LIST_MAX
from sealmesh.node.files import damaged, read_json, read_private, write_json, write_private
from sealmesh.node.home import Home
from sealmesh.status import BlessedStatus

_log = logging.getLogger("sealmesh.node")

#: The newest list that this node has taken, so that no restart brings an older one back.
KEPT: Final = "blessed.json"
#: Where `sealmesh bless publish` puts a list for the node that runs, or for its next start.
OFFERED: Final = "blessed.new"
_LOSS: Final = "then an older list could be taken for the newest; members send the newest again"


class BuildsKeeper:
    """Joins the home, the spreading of lists and the asker's policy.

    Args:
        home: Where the list is kept.
        policy: As it was read; it names whose list counts.
        now: Unix seconds.

    Raises:
        ConfigError: What is kept is damaged, or the policy names nobody's list.
    """

    def __init__(self, home: Home, policy: Policy, *, now: Callable[[], float]) -> None:
        if policy.blessed_trust is None:
            raise ConfigError("the policy names no list of builds")
        self.lists = BlessedKeeper(policy.blessed_trust)
        self._folder = home.path
        self._base = policy
        self._now = now
        self._due = False
        self._restore()
        self._applied = self.lists.in_force(now())

    @property
    def policy(self) -> Policy:
        """The policy with the list that is in force, if one is."""
        return self._base.with_blessed(self._applied)

    def advance(self, take_policy: Callable[[Policy], None], spread: Callable[[], None]) -> None:
        """Look what the operator gave, what has ended and what could not be kept. Call it each second.

        Args:
            take_policy: Told the policy when another list is in force, or none any more.
            spread: Told when the operator gave a newer list.
        """
        if self._take_offered():
            spread()
        self.apply(take_policy)
        if self._due:
            self._keep()

    def changed(self, take_policy: Callable[[Policy], None]) -> None:
        """A newer list came: judge hosts by it, then keep it. A full disk must not stop a revocation."""
        self.apply(take_policy)
        self._keep()

    def apply(self, take_policy: Callable[[Policy], None]) -> None:
        """Put the list that counts now in force, or take the one away that has ended."""
        found = self.lists.in_force(self._now())
        if found is not self._applied:
            self._applied = found
            if found is None:
                _log.warning("the list of blessed builds has expired: every host is unblessed until a newer one comes")
            else:
                _log.info("version %d of the list of blessed builds is in force", found.version)
            take_policy(self.policy)

    def status(self) -> BlessedStatus:
        """What people see of it."""
        found = self.lists.newest
        return BlessedStatus(
            name=self.lists.trust.name,
            version=0 if found is None else found.version,
            expires=0.0 if found is None else found.expires,
            builds=0 if found is None else len(found.builds),
            in_force=self._applied is not None,
            required=self._base.demands_blessed,
        )

    def _restore(self) -> None:
        path = self._folder / KEPT
        document = read_json(path, loss=_LOSS)
        if document is None:
            return
        if document.get("trust") != self.lists.trust.id.hex():
            _log.info("the policy names other keys or another list than before: versions count anew")
            return
        try:
            self.lists.restore_untrusted(str(document.get("list", "")).encode())
        except (VerificationError, UnicodeEncodeError):
            raise damaged(path, _LOSS) from None

    def _keep(self) -> None:
        document = {"trust": self.lists.trust.id.hex(), "list": self.lists.data.decode()}
        try:
            write_json(self._folder / KEPT, document)
        except ConfigError as error:
            if not self._due:
                _log.error("the list of builds is in force, but cannot be kept for the next start: %s", error)
            self._due = True
        else:
            self._due = False

    def _take_offered(self) -> bool:
        """Take the list that the operator put into the home; whatever it was, it is not looked at twice."""
        path = self._folder / OFFERED
        try:
            data = read_private(path, most=BLESSED_LIST_MAX)
            if data is None:
                return False
            path.unlink(missing_ok=True)
            return self.lists.offer_untrusted(data, self._now())
        except OSError as error:
            _log.warning("%s cannot be removed (%s)", path, error.strerror)
        except (ConfigError, VerificationError) as error:
            _log.warning("the list that was published here is refused: %s", error)
        return False


def offer_list(home: Path, policy: Policy, data: bytes, now: float) -> BlessedList:
    """Put a list where the node of a home finds it, if that node would take it.

    Raises:
        ConfigError: The policy names nobody's list, or the file cannot be written.
        VerificationError: The list does not hold, or is older than the one that the node has.
    """
    keeper = BuildsKeeper(Home(home), policy, now=lambda: now)
    keeper.lists.offer_untrusted(data, now)
    write_private(home / OFFERED, data)
    return verify_list_untrusted(data, keeper.lists.trust)
