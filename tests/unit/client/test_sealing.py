"""Secrets sealed ahead: one a host, for one exchange, and never for another key than the host's of now."""

from __future__ import annotations

import os

import pytest

from kit.exchanges import ScriptedBackend, World, chat, read_all
from kit.sealed import NOT_AFTER, NOW, make_epoch, make_host
from sealmesh.client.sealing import HELD, SecretsAhead
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.sealed.exchange import ClientExchange, RequestHead, SealedSecret
from sealmesh.sealed.suites import PREFIX_LENGTH, SUITE_ENCAPSULATION_LENGTH, Suite
from sealmesh.wire.operations import Operation

HEAD = RequestHead(operation=Operation.CHAT_COMPLETIONS)


def encapsulation(first: bytes, suite: Suite, *, kind_sent: bool = True) -> bytes:
    start = PREFIX_LENGTH - kind_sent
    return first[start : start + SUITE_ENCAPSULATION_LENGTH[suite]]


def ahead() -> SecretsAhead:
    return SecretsAhead(now=lambda: NOW, random=os.urandom)


@pytest.mark.parametrize("suite", Suite)
def test_a_secret_serves_one_exchange(suite: Suite) -> None:
    host = make_host(make_epoch(suite))
    secret = SealedSecret(host, suite=suite, now=NOW, random=os.urandom)
    assert secret.is_for(host, suite)
    held = encapsulation(
        ClientExchange(host, suite=suite, now=NOW, random=os.urandom, ahead=secret).send_head(HEAD),
        suite,
        kind_sent=False,
    )
    assert not secret.is_for(host, suite)
    with pytest.raises(LocalProtocolError):
        secret.take()
    again = ClientExchange(host, suite=suite, now=NOW, random=os.urandom, ahead=secret)
    assert encapsulation(again.send_head(HEAD), suite, kind_sent=False) != held


@pytest.mark.parametrize("suite", Suite)
def test_what_was_sealed_for_another_key_is_not_used(suite: Suite) -> None:
    """Another epoch, another host, another suite: each has its own secret, whatever was held."""
    epoch = make_epoch(*Suite)
    host = make_host(epoch, keys={suite: epoch.public[suite]})
    secret = SealedSecret(host, suite=suite, now=NOW, random=os.urandom)
    other_epoch = make_host(make_epoch(suite, digest=bytes(32)))
    other_host = make_host(make_epoch(suite), endpoint_id=bytes(32))
    for other in (other_epoch, other_host):
        assert not secret.is_for(other, suite)
        exchange = ClientExchange(other, suite=suite, now=NOW, random=os.urandom, ahead=secret)
        assert exchange.exchange_id
        assert secret.is_for(host, suite)  # not used up
    assert not secret.is_for(host, next(one for one in Suite if one is not suite))


def test_nothing_is_sealed_ahead_for_a_host_whose_time_has_ended() -> None:
    host = make_host(make_epoch(Suite.X25519))
    with pytest.raises(VerificationError):
        SealedSecret(host, suite=Suite.X25519, now=NOT_AFTER, random=os.urandom)
    secret = SealedSecret(host, suite=Suite.X25519, now=NOW, random=os.urandom)
    with pytest.raises(VerificationError):
        ClientExchange(host, suite=Suite.X25519, now=NOT_AFTER, random=os.urandom, ahead=secret)


def test_a_sealed_secret_shows_nothing() -> None:
    secret = SealedSecret(make_host(make_epoch(Suite.XWING)), suite=Suite.XWING, now=NOW, random=os.urandom)
    assert repr(secret) == "<SealedSecret xwing held>"
    secret.take()
    assert repr(secret) == "<SealedSecret xwing taken>"


@pytest.mark.parametrize("suite", Suite)
def test_the_held_secret_is_used_once_and_a_burst_seals_afresh(suite: Suite) -> None:
    host = make_host(make_epoch(suite))
    secrets = ahead()
    secrets.prepare(host, suite)
    held = secrets._held[host.endpoint_id]
    secrets.prepare(host, suite)
    assert secrets._held[host.endpoint_id] is held  # no work is done twice
    firsts = [secrets.begin(host, suite).send_head(HEAD) for _ in range(3)]
    assert len({encapsulation(first, suite) for first in firsts}) == 3
    assert not held.is_for(host, suite)
    assert secrets._held == {}


def test_hosts_beyond_those_asked_last_are_forgotten() -> None:
    secrets = ahead()
    epoch = make_epoch(Suite.X25519)
    for number in range(HELD + 3):
        secrets.prepare(make_host(epoch, endpoint_id=number.to_bytes(32, "big")), Suite.X25519)
    assert [int.from_bytes(name, "big") for name in secrets._held] == list(range(3, HELD + 3))


def test_preparing_for_a_host_whose_time_has_ended_is_left_to_the_next_request() -> None:
    late = SecretsAhead(now=lambda: NOT_AFTER, random=os.urandom)
    late.prepare(make_host(make_epoch(Suite.X25519)), Suite.X25519)
    assert late._held == {}


async def test_a_secret_of_an_ended_epoch_is_never_sent() -> None:
    """The host rotates between two requests of one asker: the second is sealed to the new key."""
    async with World.running() as world:
        host = world.add(backend=ScriptedBackend(b"{}"))
        await read_all(await world.dialer.ask(chat()))
        host.ring.expire(world.now + 10_000)
        host.verified = host.new_epoch()
        await read_all(await world.dialer.ask(chat()))
        assert world.counters.status().done == 2
        assert world.keys.asked == []  # the host refused nothing
