"""The key ring: windows, wiping, and one key in one place."""

import dataclasses

import pytest

from kit.sealed import EPOCH_DIGEST, make_epoch
from sealmesh.errors import LocalProtocolError
from sealmesh.limits import CLOCK_SKEW_S, EPOCH_GRACE_S
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.suites import HostKey, Suite


def _ring(*epochs: EpochKeys) -> KeyRing:
    ring = KeyRing()
    for epoch in epochs:
        ring.add(epoch)
    return ring


def _finds(ring: KeyRing, epoch: EpochKeys, now: float) -> bool:
    return all(ring.find(key.key_id, key.suite, now) is not None for key in epoch.keys)


def test_window_of_a_key() -> None:
    epoch = make_epoch(*Suite, not_before=1000, not_after=1300)
    for now, opens in (
        (1000 - CLOCK_SKEW_S - 0.001, False),
        (1000 - CLOCK_SKEW_S, True),
        (1000, True),
        (1299.9, True),
        (1300 + EPOCH_GRACE_S - 0.001, True),
    ):
        assert _finds(_ring(epoch), epoch, now) is opens, now
    assert not any(key.wiped for key in epoch.keys)
    ring = _ring(epoch)
    assert not _finds(ring, epoch, 1300 + EPOCH_GRACE_S)
    assert all(key.wiped for key in epoch.keys)
    assert ring.epochs == ()
    # A clock that goes back brings nothing back.
    assert not _finds(ring, epoch, 1100)


def test_current_next_and_previous_are_held_at_once() -> None:
    previous, current, following = (make_epoch(not_before=t, not_after=t + 300) for t in (700, 1000, 1300))
    ring = _ring(current, following, previous)
    assert ring.epochs == (previous, current, following)
    assert [_finds(ring, epoch, 1010) for epoch in (previous, current, following)] == [True, True, False]
    assert [_finds(ring, epoch, 1250) for epoch in (previous, current, following)] == [False, True, True]
    assert [key.wiped for epoch in (previous, current, following) for key in epoch.keys] == [True, False, False]


def test_expire_wipes_without_being_asked_for_a_key() -> None:
    epoch = make_epoch(*Suite, not_before=1000, not_after=1300)
    ring = _ring(epoch)
    (held,) = {ring.find(epoch.keys[0].key_id, epoch.keys[0].suite, 1000)}
    assert held is not None
    held.tags.insert(b"t" * 16)
    assert ring.expire(1359) == 0
    assert ring.expire(1360) == 1
    assert all(key.wiped for key in epoch.keys)
    assert len(held.tags) == 0


def test_wipe_destroys_all() -> None:
    epochs = [make_epoch(not_before=t, not_after=t + 300) for t in (700, 1000)]
    ring = _ring(*epochs)
    ring.wipe()
    assert all(key.wiped for epoch in epochs for key in epoch.keys)
    assert ring.epochs == ()


def test_a_hint_is_of_one_suite() -> None:
    epoch = make_epoch(*Suite)
    ring = _ring(epoch)
    one, two = epoch.keys
    assert ring.find(one.key_id, two.suite, 1000) is None
    assert ring.find(bytes(8), one.suite, 1000) is None
    held = ring.find(two.key_id, two.suite, 1000)
    assert held is not None
    assert held.key is two
    assert held.epoch_digest == EPOCH_DIGEST


def test_tags_belong_to_a_key() -> None:
    epoch = make_epoch(*Suite)
    ring = _ring(epoch)
    one, again, two = (ring.find(key.key_id, key.suite, 1000) for key in (epoch.keys[0], epoch.keys[0], epoch.keys[1]))
    assert one is not None
    assert again is not None
    assert two is not None
    assert one.tags is again.tags
    assert one.tags is not two.tags


def test_what_cannot_be_added() -> None:
    epoch = make_epoch(*Suite)
    ring = _ring(epoch)
    fresh = make_epoch()
    wiped = make_epoch()
    wiped.wipe()
    twice = (HostKey.generate(Suite.X25519), HostKey.generate(Suite.X25519))
    for bad in (
        epoch,
        dataclasses.replace(fresh, keys=(epoch.keys[0],)),
        dataclasses.replace(fresh, keys=()),
        dataclasses.replace(fresh, keys=twice),
        dataclasses.replace(fresh, epoch_digest=b"short"),
        dataclasses.replace(fresh, not_before=5.0, not_after=5.0),
        wiped,
    ):
        with pytest.raises(LocalProtocolError):
            ring.add(bad)
    assert ring.epochs == (epoch,)
    assert "1 epochs" in repr(ring)
    assert set(epoch.public) == set(Suite)
