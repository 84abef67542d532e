import base64
import hashlib

import pytest

from kit.people import DAY, NOW, People, Randomness
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.identity._codec import admission_pb2
from sealmesh.identity.admission import ALL_ROLES, Role, Ticket, make_ticket, mesh_id
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey
from sealmesh.transport.base import EndpointAddress

ENDPOINT = EndpointKey.generate(Randomness("endpoint"))


def _payload(text: str) -> bytes:
    body = text.removeprefix("sealmesh1").upper()
    return base64.b32decode(body + "=" * (-len(body) % 8))[:-4]


def _text(payload: bytes) -> str:
    """A ticket around any payload, its checksum right: what a tamperer makes."""
    checksum = hashlib.sha256(b"sealmesh/1 ticket\x00" + payload).digest()[:4]
    return "sealmesh1" + base64.b32encode(payload + checksum).decode().rstrip("=").lower()


def _factor(text: str) -> str:
    with pytest.raises(VerificationError) as caught:
        Ticket.decode_untrusted(text)
    assert text[9:40] not in str(caught.value) or len(text) < 12
    return caught.value.factor


def test_a_ticket_comes_back():
    ticket = People().ticket()
    text = ticket.encode()
    again = Ticket.decode_untrusted(f"  {text}\n")
    assert again.encode() == text
    assert again.mesh_id == mesh_id(People().issuer.public)
    assert again.inviter == ticket.inviter
    assert again.granted.mesh_name == "home"
    assert again.granted.roles is ALL_ROLES
    assert (again.granted.not_before, again.granted.not_after) == (int(NOW), int(NOW) + 30 * DAY)
    assert text.isascii()
    assert text.islower()
    assert "=" not in text


def test_a_ticket_does_not_show_its_secret():
    ticket = People().ticket()
    secret = ticket.bearer.seed.reveal()
    assert secret.hex() not in repr(ticket)
    assert repr(secret) not in repr(ticket)


def test_the_largest_ticket_fits():
    inviter = EndpointAddress(
        endpoint_id=bytes(32),
        addresses=tuple(f"[2001:db8:1111:2222:3333:4444:5555:66{i:02}]:65535" for i in range(8)),
        relay_url="https://" + "r" * 248,
    )
    ticket = make_ticket(
        IssuerKey.generate(Randomness()),
        random=Randomness("t"),
        roles=Role.CLIENT,
        now=NOW,
        lifetime_s=DAY,
        inviter=inviter,
        mesh_name="n" * 128,
    )
    assert Ticket.decode_untrusted(ticket.encode()).inviter == inviter
    assert len(ticket.join(ENDPOINT.public).encode()) <= 1024


def test_every_single_mistyped_character_is_a_typing_error():
    text = People().ticket().encode()
    for position in range(9, len(text), 7):
        other = "b" if text[position] != "b" else "c"
        assert _factor(text[:position] + other + text[position + 1 :]) == "ticket_mistyped"


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        (lambda t: "", "ticket"),
        (lambda t: "hello", "ticket"),
        (lambda t: "sealmesh2" + t[9:], "ticket"),
        (lambda t: t.upper(), "ticket"),
        (lambda t: "sealmesh1", "ticket_mistyped"),
        (lambda t: t[:-1], "ticket_mistyped"),
        (lambda t: t[:-8], "ticket_mistyped"),
        (lambda t: t + "a", "ticket_mistyped"),
        (lambda t: t[:9] + t[10] + t[9] + t[11:], "ticket_mistyped"),
        (lambda t: t[:20] + "1" + t[21:], "ticket_mistyped"),
        (lambda t: t[:20] + "é" + t[21:], "ticket_mistyped"),
        (lambda t: t[:9] + t[9].upper() + t[10:], "ticket_mistyped"),
        (lambda t: t[:20] + " " + t[20:], "ticket_mistyped"),
        (lambda t: t + "a" * 4096, "ticket_too_long"),
        (lambda t: _text(b""), "ticket"),
        (lambda t: _text(b"\xff"), "ticket"),
        (lambda t: _text(_payload(t)[:-5]), "ticket"),
    ],
)
def test_not_a_ticket(change, factor):
    text = People().ticket().encode()
    changed = change(text)
    assert changed != text
    assert _factor(changed) == factor


def _tampered(**changes: object) -> str:
    message = admission_pb2.Ticket.FromString(_payload(People().ticket().encode()))
    for name, value in changes.items():
        if name == "grant":
            message.grant.CopyFrom(value)
        elif name == "addresses":
            del message.addresses[:]
            message.addresses.extend(value)
        else:
            setattr(message, name, value)
    return _text(message.SerializeToString())


def _foreign_grant() -> admission_pb2.SignedPart:
    grant = People("other").ticket().grant
    return admission_pb2.SignedPart(part=grant.part, signature=grant.signature)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"issuer_key": IssuerKey.generate(Randomness("x")).public}, "grant_signature"),
        ({"issuer_key": b"short"}, "ticket"),
        ({"bearer_seed": BearerKey.generate(Randomness("x")).seed.reveal()}, "ticket_bearer"),
        ({"bearer_seed": bytes(31)}, "ticket"),
        ({"endpoint_id": bytes(33)}, "ticket"),
        ({"addresses": ["example.org:1"]}, "ticket"),
        ({"addresses": ["192.0.2.1:1"] * 9}, "ticket"),
        ({"relay_url": "gopher://x"}, "ticket"),
        ({"grant": _foreign_grant()}, "grant_signature"),
        ({"grant": admission_pb2.SignedPart(part=b"", signature=bytes(64))}, "grant_version"),
        ({"grant": admission_pb2.SignedPart(part=b"\xff", signature=bytes(64))}, "credentials_malformed"),
    ],
)
def test_a_ticket_that_somebody_changed_is_told_from_a_mistyped_one(changes, factor):
    assert _factor(_tampered(**changes)) == factor


def test_a_grant_for_another_mesh_than_its_issuers_is_no_ticket():
    people = People()
    grant = admission_pb2.Grant.FromString(people.ticket().grant.part)
    grant.mesh_id = bytes(32)
    from sealmesh.identity.signed import Label

    signed = people.issuer.sign_part(Label.GRANT, grant.SerializeToString())
    part = admission_pb2.SignedPart(part=signed.part, signature=signed.signature)
    assert _factor(_tampered(issuer_key=people.issuer.public, grant=part)) == "wrong_mesh"


def test_joining_takes_no_role_that_was_not_granted():
    ticket = People().ticket(Role.CLIENT | Role.RELAY)
    with pytest.raises(ConfigError, match="client, relay"):
        ticket.join(ENDPOINT.public, Role.HOST)
    with pytest.raises(ConfigError):
        ticket.join(ENDPOINT.public, Role(0))


@pytest.mark.parametrize(
    "changes", [{"roles": Role(0)}, {"lifetime_s": 0}, {"lifetime_s": -5}, {"mesh_name": "é" * 65}, {"now": 2.0**60}]
)
def test_a_ticket_that_nobody_could_read_is_not_made(changes):
    given = {"roles": Role.CLIENT, "now": NOW, "lifetime_s": DAY, "mesh_name": ""} | changes
    with pytest.raises(ConfigError):
        make_ticket(
            IssuerKey.generate(Randomness()),
            random=Randomness("t"),
            inviter=EndpointAddress(endpoint_id=bytes(32)),
            **given,
        )
