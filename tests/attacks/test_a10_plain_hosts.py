"""A10: no failure, timeout, code or hearsay makes a request go in the clear, nor does a peer that drops its key."""

from __future__ import annotations

import json

import pytest

from kit.exchanges import SECRET, HostNode, ScriptedBackend, World, chat, read_all, silent
from sealmesh.attestation.plain import NEVER_PLAIN, PlainRule, permit_plain
from sealmesh.client.dial import Timeouts
from sealmesh.errors import RoutingError, RoutingFault, SealmeshError, VerificationError
from sealmesh.routing.directory import HostOffer
from sealmesh.sealed.exchange import SealedError
from sealmesh.sealed.refusal import Refusal, encode_refusal
from sealmesh.transport.base import Stream
from sealmesh.wire.framing import StreamKind

ONE = bytes([1]) * 32


def refusing(code: Refusal):
    async def handler(host: HostNode, stream: Stream) -> None:
        await stream.write(encode_refusal(code))
        await stream.finish()

    return handler


async def says_try_plain(host: HostNode, stream: Stream) -> None:
    exchange = host.exchange()
    await host.receive(stream, exchange)
    await stream.write(
        exchange.send_error(SealedError(status=426, code="upgrade_required", message="send it unsealed on kind 0x04"))
    )
    await stream.finish()


async def answers_in_the_clear(host: HostNode, stream: Stream) -> None:
    await stream.write(bytes([StreamKind.PLAIN, 1]))
    await stream.finish()


async def hangs_up(host: HostNode, stream: Stream) -> None:
    """The stream is reset on the way out."""


FAILURES = {
    **{code.name.lower(): refusing(code) for code in Refusal},
    "silent": silent,
    "reset": hangs_up,
    "error": says_try_plain,
    "clear": answers_in_the_clear,
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a10_a_sealed_host_that_fails_never_leads_to_plaintext(failure: str) -> None:
    """Plain hosts are allowed, one is at hand for the same model, and it would take the request [PL-1] [PL-5]."""
    async with World.running(timeouts=Timeouts(silence=0.05)) as world:
        sealed = world.add("sealed", handler=FAILURES[failure])
        plain = world.add("plain", backend := ScriptedBackend(b"{}"), plain=True)
        for _ in range(3):  # also while it is cooling down
            with pytest.raises(SealmeshError):
                await world.dialer.ask(chat())
        assert world.opened == [sealed.id] * len(world.opened)
        assert (world.opened_plain, backend.asked, plain.streams) == ([], [], [])


async def test_a10_a_host_with_a_key_keeps_its_model_sealed_whatever_state_it_is_in() -> None:
    """Unverified, refused, dropped: hosts without a verdict are a reason to wait, never to send in the clear [PL-5]."""
    async with World.running() as world:
        sealed = world.add("sealed")
        plain = world.add("plain", plain=True)
        world.keys.lost.add(sealed.id)
        for refusals in ((), ("its tier is none",)):
            world.refusals[sealed.id] = refusals
            with pytest.raises(RoutingError) as refused:
                await world.dialer.ask(chat())
            assert "others have a key" in refused.value.refused[plain.id.hex()]
        assert world.opened_plain == []
        world.directory.remove(sealed.id)  # it said goodbye
        answer = await world.dialer.ask(chat())
        assert (answer.proof.sealed, answer.proof.host) == ("no", plain.id.hex())
        await read_all(answer)


async def test_a10_by_default_nothing_goes_unsealed() -> None:
    """[PL-2]"""
    async with World.running(plain_rule=NEVER_PLAIN) as world:
        plain = world.add("plain", plain=True)
        with pytest.raises(RoutingError) as refused:
            await world.dialer.ask(chat())
        assert refused.value.fault is RoutingFault.NO_ATTESTED_HOST
        assert "--allow-plain-hosts" in refused.value.refused[plain.id.hex()]
        assert world.opened_plain == []


@pytest.mark.parametrize(
    ("rule", "takes_plain", "words"),
    [
        (PlainRule(allowed=True, demanded="hardware-rooted", had_key=lambda _: False), True, "demands hardware-rooted"),
        (PlainRule(allowed=False, demanded="", had_key=lambda _: False), True, "--allow-plain-hosts"),
        (PlainRule(allowed=True, demanded="", had_key=lambda _: True), True, "had a key before"),
        (PlainRule(allowed=True, demanded="", had_key=lambda _: False), False, "takes no plain"),
    ],
    ids=["policy", "not-allowed", "had-key", "not-taken"],
)
def test_a10_every_condition_is_needed(rule: PlainRule, takes_plain: bool, words: str) -> None:
    """[PL-2] [PL-3] [PL-4]"""
    with pytest.raises(VerificationError, match=words):
        permit_plain(ONE, rule, takes_plain=takes_plain)
    willing = PlainRule(allowed=True, demanded="", had_key=lambda _: False)
    assert permit_plain(ONE, willing, takes_plain=True).endpoint_id == ONE


async def test_a10_a_host_that_drops_its_key_is_never_sent_anything_again() -> None:
    """[PL-4]"""
    async with World.running() as world:
        host = world.add("host", plain=True)
        world.keyed.add(host.id)
        with pytest.raises(RoutingError) as refused:
            await world.dialer.ask(chat())
        assert "had a key before" in refused.value.refused[host.id.hex()]
        assert world.opened_plain == []


@pytest.mark.parametrize("change", ["key", "gone", "seen", "other"])
async def test_a10_what_changes_while_connecting_counts(change: str) -> None:
    """The permission is asked for again when the stream is open: not a byte of the request has gone out [PL-6]."""
    async with World.running() as world:
        host = world.add("host", backend := ScriptedBackend(b"{}"), plain=True)
        opened = world.open_plain

        async def open_plain(endpoint_id: bytes) -> Stream:
            stream = await opened(endpoint_id)
            match change:
                case "key":
                    world.directory.put(HostOffer(endpoint_id=host.id, models={"echo": 1}, takes_plain=True))
                case "gone":
                    world.directory.remove(host.id)
                case "seen":
                    world.keyed.add(host.id)
                case "other":  # somebody with a key has the model by now [PL-5]
                    world.directory.put(HostOffer(endpoint_id=ONE, models={"echo": 1}))
            return stream

        world.dialer._plain._open_stream = open_plain
        with pytest.raises(SealmeshError):
            await world.dialer.ask(chat())
        await world.settle()
        assert backend.asked == []
        assert [stream.gone for stream in host.streams] == [True] * len(host.streams)


async def test_a10_the_only_bytes_of_a_plain_request_are_on_a_plain_stream_and_say_so(caplog) -> None:
    """[PL-7]"""
    async with World.running() as world:
        host = world.add("plain", plain=True)
        answer = await world.dialer.ask(chat())
        proof = dict(answer.proof.headers())
        assert (proof["x-sealmesh-sealed"], proof["x-sealmesh-tier"], proof["x-sealmesh-evidence"]) == (
            "no",
            "none",
            "",
        )
        assert SECRET in json.dumps(json.loads(await read_all(answer)))
        assert (world.opened, world.opened_plain) == ([], [host.id])
        assert [(route.sealed, route.requests) for route in world.counters.status().routes] == [("no", 1)]
        assert any("unsealed" in record.message for record in caplog.records)
        assert SECRET not in caplog.text


async def test_a10_a_host_with_a_key_serves_no_plain_stream() -> None:
    async with World.running() as world:
        host = world.add("sealed", backend := ScriptedBackend(b"{}"))
        stream = await world.open_plain(host.id)
        with pytest.raises(SealmeshError):
            await stream.read(1)
        assert backend.asked == []
