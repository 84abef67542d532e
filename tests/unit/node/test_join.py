"""Which mesh a node is in, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.people import DAY, NOW, People, Randomness
from sealmesh.config import Secret
from sealmesh.config.settings import Mode, Settings
from sealmesh.errors import ConfigError
from sealmesh.identity.admission import ALL_ROLES, AdmissionPolicy, Role
from sealmesh.identity.grants import mesh_id
from sealmesh.identity.keys import EndpointKey, IssuerKey
from sealmesh.identity.ticket import Ticket
from sealmesh.node.home import Home
from sealmesh.node.join import TICKET_LIFETIME_S, enter_mesh, new_ticket
from sealmesh.transport.base import EndpointAddress

PEOPLE = People()
RANDOM = Randomness("join")
INVITER = EndpointAddress(endpoint_id=bytes(range(32)), addresses=("192.0.2.7:4433",))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def settings(home: Home, mode: Mode = Mode.CLIENT, ticket: Ticket | str | None = None) -> Settings:
    text = ticket.encode() if isinstance(ticket, Ticket) else ticket
    models = ("smollm2-135m",) if mode is Mode.SERVE else ()
    return Settings(mode=mode, home=home.path, models=models, ticket=None if text is None else Secret(text))


def enter(home: Home, mode: Mode = Mode.CLIENT, ticket: Ticket | str | None = None, *, now: float = NOW):
    return enter_mesh(settings(home, mode, ticket), home, home.endpoint_key(), now=now, random=RANDOM)


def test_a_ticket_brings_into_its_mesh_and_the_home_remembers(home: Home) -> None:
    state = enter(home, ticket=PEOPLE.ticket(Role.CLIENT))
    assert state.issuer_key == PEOPLE.issuer.public
    assert state.name == "home"
    assert state.bootstrap == (INVITER,)
    admitted = PEOPLE.policy().admit_untrusted(state.credentials.encode(), home.endpoint_key().public, NOW)
    assert admitted.roles == Role.CLIENT
    assert enter(home) == state


def test_a_host_takes_the_host_s_role_and_a_client_only_its_own(home: Home, tmp_path: Path) -> None:
    for mode, wanted in ((Mode.SERVE, Role.CLIENT | Role.HOST), (Mode.CLIENT, Role.CLIENT)):
        one = Home(tmp_path / mode.value)
        one.prepare()
        state = enter(one, mode, PEOPLE.ticket())
        admitted = PEOPLE.policy().admit_untrusted(state.credentials.encode(), one.endpoint_key().public, NOW)
        assert admitted.roles & ALL_ROLES & ~Role.RELAY == wanted


def test_a_host_without_a_mesh_makes_one_and_keeps_it(home: Home) -> None:
    state = enter(home, Mode.SERVE)
    issuer = home.issuer_key()
    assert issuer is not None
    assert state.issuer_key == issuer.public
    assert state.bootstrap == ()
    policy = AdmissionPolicy(issuer.public)
    admitted = policy.admit_untrusted(state.credentials.encode(), home.endpoint_key().public, NOW)
    assert Role.HOST in admitted.roles
    assert enter(home, Mode.SERVE) == state
    assert enter(home, Mode.CLIENT) == state


def test_a_client_without_a_mesh_is_told_what_to_do(home: Home) -> None:
    with pytest.raises(ConfigError, match="--join-file"):
        enter(home)
    assert home.mesh() is None


@pytest.mark.parametrize("ticket", ["", "sealmesh1", "hello", "sealmesh1aaaaaaaaaaaaaaaa"])
def test_what_is_no_ticket_is_said_without_showing_it(home: Home, ticket: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as refused:
        enter(home, ticket=ticket)
    assert len(ticket) < 10 or ticket not in str(refused.value)
    assert home.mesh() is None


def test_a_home_is_of_one_mesh(home: Home) -> None:
    state = enter(home, ticket=PEOPLE.ticket())
    with pytest.raises(ConfigError, match="another mesh"):
        enter(home, ticket=People("others").ticket())
    assert home.mesh() == state
    again = enter(home, ticket=PEOPLE.ticket())  # a newer ticket of the same mesh
    assert again.issuer_key == state.issuer_key
    assert again.credentials != state.credentials


def test_a_ticket_that_has_ended_or_not_begun_is_said_at_once(home: Home) -> None:
    ticket = PEOPLE.ticket(lifetime_s=DAY)
    with pytest.raises(ConfigError, match="has ended"):
        enter(home, ticket=ticket, now=NOW + DAY)
    with pytest.raises(ConfigError, match="clock"):
        enter(home, ticket=ticket, now=NOW - DAY)
    assert home.mesh() is None
    enter(home, ticket=ticket, now=NOW - 30)  # within what clocks may differ


def test_a_membership_that_has_ended_is_said_at_the_next_start(home: Home) -> None:
    enter(home, ticket=PEOPLE.ticket(lifetime_s=DAY))
    with pytest.raises(ConfigError, match="new ticket"):
        enter(home, now=NOW + DAY)


def test_a_client_s_membership_serves_nothing(home: Home) -> None:
    with pytest.raises(ConfigError, match="grants client"):
        enter(home, Mode.SERVE, PEOPLE.ticket(Role.CLIENT))
    enter(home, ticket=PEOPLE.ticket(Role.CLIENT))
    with pytest.raises(ConfigError, match="as client only"):
        enter(home, Mode.SERVE)


def test_a_ticket_of_one_s_own_calls_nobody(home: Home) -> None:
    own = home.endpoint_key()
    issuer = IssuerKey.generate(RANDOM)
    text = new_ticket(issuer, EndpointAddress(endpoint_id=own.public), mesh_name="mine", now=NOW, random=RANDOM)
    assert enter(home, ticket=text).bootstrap == ()


def test_new_tickets_admit_from_a_little_earlier_for_their_time(home: Home) -> None:
    issuer = IssuerKey.generate(RANDOM)
    ticket = Ticket.decode_untrusted(new_ticket(issuer, INVITER, mesh_name="mine", now=NOW, random=RANDOM))
    assert ticket.mesh_id == mesh_id(issuer.public)
    assert ticket.granted.not_before <= NOW - 60
    assert ticket.granted.not_after == NOW + TICKET_LIFETIME_S
    assert ticket.inviter == INVITER
    key = EndpointKey.generate(RANDOM)
    admitted = AdmissionPolicy(issuer.public).admit_untrusted(ticket.join(key.public).encode(), key.public, NOW)
    assert admitted.roles == ALL_ROLES


def test_an_identity_that_was_lost_is_not_replaced_in_silence(home: Home) -> None:
    """A lost endpoint.key is made anew; the membership of the old one is of no use to it, and the start says so."""
    enter(home, ticket=PEOPLE.ticket())
    (home.path / "endpoint.key").unlink()
    with pytest.raises(ConfigError, match=r"not the key that joined this mesh.*put it back.*--join-file"):
        enter(home)
    state = enter(home, ticket=PEOPLE.ticket())
    assert enter(home) == state


def test_a_mesh_maker_whose_identity_was_lost_is_told_how_to_go_on(home: Home) -> None:
    made = enter(home, Mode.SERVE)
    (home.path / "endpoint.key").unlink()
    with pytest.raises(ConfigError, match=r"holds the mesh's issuer.key, so move .*mesh.json away"):
        enter(home, Mode.SERVE)
    (home.path / "mesh.json").unlink()
    assert enter(home, Mode.SERVE).issuer_key == made.issuer_key
