"""Activation as a verifier does it with a real host side: once, remembered, ahead of its end; and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from kit.chips import REQUIRING, STRANGER, ChipAttester
from kit.proven import World
from kit.tpm import ModelTpm, p256
from kit.virtual_time import VirtualTime, settle
from sealmesh.attestation.factors import FactorId, Status, Tier
from sealmesh.attestation.pins import Pin
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.client.remembered import NoPins
from sealmesh.errors import BusyError, RemoteProtocolError
from sealmesh.identity.keys import EndpointKey

_Result = TypeVar("_Result")
KEY = EndpointKey.from_seed(b"endpoint".ljust(32))


def chip_world(*, policy: Policy = REQUIRING, memories: dict | None = None, **chip: object) -> World:
    time = VirtualTime()
    attester = ChipAttester(KEY, time, **chip)  # type: ignore[arg-type]
    return World(time=time, policy=policy, attester=attester, memories=memories or {})


def chip_of(world: World) -> ChipAttester:
    assert isinstance(world.attester, ChipAttester)
    return world.attester


def activations(world: World) -> int:
    return sum(what == "activation" for _, what in chip_of(world).worked)


async def test_a_genuine_chip_is_activated_and_taken() -> None:
    world = chip_world()
    async with world.running():
        verified = world.verified()
        assert verified is not None
        assert verified.tier is Tier.HARDWARE_ROOTED
        assert {one.factor: one.status for one in verified.factors}[FactorId.ACTIVATION] is Status.PASS
        assert world.sealed()
        assert activations(world) == 1


async def test_it_is_activated_again_before_the_last_time_is_forgotten() -> None:
    world = chip_world(memories={"activations": ActivationMemory(lifetime=7200)})
    async with world.running():
        for _ in range(70):
            await world.advance(100)
            verified = world.verified()
            assert verified is not None
            assert verified.tier is Tier.HARDWARE_ROOTED
        assert activations(world) == 2


async def test_what_an_earlier_process_saw_counts() -> None:
    memory = ActivationMemory()
    world = chip_world(memories={"activations": memory})
    async with world.running():
        assert activations(world) == 1
    again = chip_world(memories={"activations": ActivationMemory(known={(e, n): u for e, n, u in memory.entries()})})
    async with again.running():
        assert again.verified() is not None
        assert activations(again) == 0


async def test_a_root_that_the_policy_does_not_name() -> None:
    world = chip_world(policy=STRANGER)
    async with world.running():
        assert world.verified() is None
        assert any("vendor_chain" in one for one in world.verifier.refusals(KEY.public))
        assert activations(world) == 0
    lenient = chip_world(policy=Policy())
    async with lenient.running():
        verified = lenient.verified()
        assert verified is not None
        assert verified.tier is Tier.SELF_ASSERTED
        assert lenient.sealed()


async def test_without_the_flag_the_tier_is_known_all_the_same() -> None:
    world = chip_world(policy=Policy(vendors=REQUIRING.vendors))
    async with world.running():
        verified = world.verified()
        assert verified is not None
        assert verified.tier is Tier.HARDWARE_ROOTED


async def test_a_chip_that_refuses_is_not_hardware_and_is_not_asked_again_for_an_hour() -> None:
    def refuse(_: bytes, __: bytes) -> bytes:
        raise RemoteProtocolError("integrity")

    world = chip_world(activates=refuse)
    async with world.running():
        assert world.verified() is None
        reasons = world.verifier.refusals(KEY.public)
        assert "activation: its chip did not show that the key lives in it: the activation has failed" in reasons
        assert not world.verifier.waiting(KEY.public)
        (chain, activation) = sorted(world.verifier.failed_factors(KEY.public), key=lambda one: -one.number)
        assert (activation.id, activation.status, chain.id) == ("activation", Status.FAIL, "vendor_chain")
        await world.advance(3000)
        assert activations(world) == 1
        # Nor was the host asked in vain: it would have said that it is busy, and waiting would seem to help.
        assert any("the activation has failed" in one for one in world.verifier.refusals(KEY.public))
        assert not world.verifier.waiting(KEY.public)
        chip_of(world).activates = None
        await world.advance(1200)
        assert world.verified() is not None


async def test_a_wrong_secret_ends_the_verdict_with_its_own_reason() -> None:
    world = chip_world(activates=lambda *_: bytes(32), policy=Policy(vendors=REQUIRING.vendors))
    async with world.running():
        assert world.verified() is None
        assert world.verifier.refusals(KEY.public) == (
            "it was refused: the host's chip did not hand out the secret that was made for it",
        )
        (factor,) = world.verifier.failed_factors(KEY.public)
        assert factor.factor is FactorId.ACTIVATION
        assert not world.verifier.waiting(KEY.public)


async def test_a_credential_passed_on_to_another_chip() -> None:
    """A06: who shows somebody's endorsement certificate and has that chip at hand, but answers with another key."""
    genuine = ModelTpm("chip", ek=p256("chip ek"))

    def relay(id_object: bytes, encrypted_secret: bytes) -> bytes:
        try:
            return genuine.activate(id_object, encrypted_secret)
        except ValueError as error:
            raise RemoteProtocolError("the other chip refuses") from error

    world = chip_world(activates=relay)
    chip_of(world).tpm.ak = p256("a key of no chip")
    async with world.running():
        assert world.verified() is None
        assert any(one.startswith("activation: ") for one in world.verifier.refusals(KEY.public))
    # Nothing but the key was wrong.
    honest = chip_world(activates=relay)
    async with honest.running():
        assert honest.verified() is not None


async def test_a_busy_chip_is_asked_again_and_waiting_helps() -> None:
    tries = 0

    def busy(id_object: bytes, encrypted_secret: bytes) -> bytes:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise BusyError("busy")
        return chip_of(world).tpm.activate(id_object, encrypted_secret)

    world = chip_world(activates=busy)
    async with world.running():
        assert world.verified() is None
        assert world.verifier.waiting(KEY.public)
        assert any("has not answered yet" in one for one in world.verifier.refusals(KEY.public))
        await world.advance(30)
        verified = world.verified()
        assert verified is not None
        assert verified.tier is Tier.HARDWARE_ROOTED


async def test_a_chip_that_has_gone_ends_the_verdict_by_the_rules() -> None:
    world = chip_world()
    async with world.running():
        chip_of(world).gone = True
        await world.advance(590)
        assert world.verified() is not None
        await world.advance(20)
        assert world.verified() is None
        reasons = world.verifier.refusals(KEY.public)
        assert "it can make no evidence now" in reasons
        assert any(one.startswith("freshness: ") for one in reasons)
        assert not world.verifier.waiting(KEY.public)
        chip_of(world).gone = False
        await world.advance(60)
        assert world.verified() is not None


async def test_a_host_that_falls_silent_is_waited_for() -> None:
    world = chip_world()
    async with world.running():
        world.reachable = False
        await world.advance(620)
        assert world.verified() is None
        assert world.verifier.waiting(KEY.public)


async def test_a_later_standing_statement_extends_a_verdict_by_the_chips_own_clock() -> None:
    world = chip_world()
    async with world.running():
        first = world.verifier.verdict(KEY.public)
        assert first is not None
        asked = world.asked
        while (held := world.verifier.verdict(KEY.public)) == first:
            await world.advance(5)
        assert held is not None
        assert held.verified_at == first.verified_at  # no nonce of its own was answered
        assert first.confirmed_at + 290 < held.confirmed_at < first.confirmed_at + 310
        assert held.expires == held.confirmed_at + 600
        assert world.asked - asked <= 3  # fetches of keys
        worked = [what for at, what in chip_of(world).worked if at > 3]
        assert worked == ["quote"]  # the standing statement's own renewal
        assert world.sealed()


@pytest.mark.parametrize("change", ["reset", "clock"])
async def test_a_chip_that_was_reset_or_shows_an_earlier_clock_extends_nothing(change: str) -> None:
    world = chip_world()
    async with world.running():
        first = world.verifier.verdict(KEY.public)
        if change == "reset":
            chip_of(world).tpm.resets += 1
        else:
            chip_of(world).base = 299.5
        await world.advance(410)
        assert world.verifier.verdict(KEY.public) == first
        await world.advance(20)
        renewed = world.verifier.verdict(KEY.public)
        assert renewed is not None
        assert renewed != first  # by an answer to a new nonce
        assert renewed.verified_at == renewed.confirmed_at


async def test_another_hardware_key_in_the_same_process_is_refused_and_named() -> None:
    world = chip_world()
    async with world.running():
        first = world.verifier.verdict(KEY.public)
        assert first is not None
        assert first.fingerprint is not None
        other = ChipAttester(KEY, world.time, "another chip")
        chip_of(world).tpm = other.tpm
        chip_of(world).log = other.log
        await world.advance(500)
        assert world.verified() is None
        (reason,) = world.verifier.refusals(KEY.public)
        assert f"its hardware key has changed: it was {first.fingerprint.hex()}, it is " in reason
        (factor,) = world.verifier.failed_factors(KEY.public)
        assert factor.id == "attestation_key"


class Pins(NoPins):
    """A pin that the test sets."""

    pin: Pin | None = None

    def find_pin(self, endpoint_id: bytes) -> Pin | None:
        return self.pin


async def test_what_was_asked_before_a_pin_was_changed_counts_no_more() -> None:
    """The answer was judged by the pins of before and is handed over after the change."""
    pins, handed_over = Pins(), asyncio.Event()
    handed_over.set()

    async def run(judge: Callable[[], _Result]) -> _Result:
        result = judge()
        await handed_over.wait()
        return result

    world = chip_world(memories={"run_judgement": run, "pins": pins})
    async with world.running():
        assert world.verified() is not None
        handed_over.clear()
        world.verifier.reconsider(KEY.public, "test")
        await world.advance(3)
        pins.pin = Pin(fingerprint=b"\xab" * 32, by_hand=True)
        world.verifier.reconsider(KEY.public, "its pin was changed; it must answer again")
        handed_over.set()
        await settle()
        assert world.verified() is None
        assert any(one.startswith("pin: ") for one in world.verifier.refusals(KEY.public))


async def test_a_pin_holds_over_refresh_rotation_and_a_new_process_and_not_over_another_chip() -> None:
    pins = Pins()
    world = chip_world(memories={"pins": pins})
    async with world.running():
        fingerprint = world.verifier.fingerprint(KEY.public)
        assert fingerprint is not None
        pins.pin = Pin(fingerprint=fingerprint, by_hand=True)
        world.verifier.reconsider(KEY.public, "its pin was changed; it must answer again")
        answered, epochs = set(), set()

        async def look(seconds: int) -> None:
            for _ in range(seconds // 20):
                await world.advance(20)
                verified, verdict = world.verified(), world.verifier.verdict(KEY.public)
                assert verified is not None
                assert verdict is not None
                assert {one.factor: one.status for one in verified.factors}[FactorId.PIN] is Status.PASS
                answered.add((verdict.verified_at, verdict.confirmed_at))
                epochs.add(verified.epoch_digest)

        await look(1200)
        assert len(answered) >= 3
        assert len(epochs) >= 4
        await world.restart_host()
        await world.refresh()
        await look(400)
        assert world.verifier.fingerprint(KEY.public) == fingerprint
        world.host.attester = ChipAttester(KEY, world.time, which="another")
        await world.restart_host(b"third process")
        await world.refresh()
        assert world.verified() is None
        assert any(f"{fingerprint.hex()} is pinned, it showed" in one for one in world.verifier.refusals(KEY.public))


async def test_an_hour_of_extensions_ends_with_a_nonce_and_no_gap() -> None:
    """What the chip's own clock says is believed for an hour, since its owner can set it [ST-24]."""
    world = chip_world()
    async with world.running():
        nonces = set()
        for _ in range(400):
            await world.advance(20)
            verdict = world.verifier.verdict(KEY.public)
            assert world.verified() is not None
            assert verdict is not None
            assert world.time.now() - verdict.verified_at < 3600
            nonces.add(verdict.verified_at)
        assert len(nonces) == 3
