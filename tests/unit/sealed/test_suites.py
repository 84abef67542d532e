"""Suites: what opens, what does not, and that nothing but our errors comes out."""

import dataclasses

import pytest

from kit.sealed import ENDPOINT_ID, EPOCH_DIGEST, Randomness
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.sealed.suites import (
    SUITE_ENCAPSULATION_LENGTH,
    SUITE_PUBLIC_LENGTH,
    HostKey,
    Suite,
    best_suite,
    derive_keys,
    key_id,
    make_context,
    make_prefix,
    seal_secret,
)

suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)


def _context(key: HostKey) -> bytes:
    return make_context(make_prefix(key.suite, key.public), ENDPOINT_ID, EPOCH_DIGEST)


@suites
def test_what_is_sealed_opens(suite: Suite) -> None:
    key = HostKey.generate(suite)
    assert len(key.public) == SUITE_PUBLIC_LENGTH[suite]
    assert key.key_id == key_id(suite, key.public)
    context = _context(key)
    secret, encapsulation = seal_secret(suite, key.public, context, Randomness())
    assert len(secret) == 32
    assert len(encapsulation) == SUITE_ENCAPSULATION_LENGTH[suite]
    assert key.open_untrusted(encapsulation, context) == secret


def test_lengths_are_those_of_the_protocol() -> None:
    assert SUITE_ENCAPSULATION_LENGTH == {Suite.X25519: 104, Suite.XWING: 1168}
    assert SUITE_PUBLIC_LENGTH == {Suite.X25519: 32, Suite.XWING: 1216}
    assert [suite.label for suite in Suite] == ["x25519", "xwing"]


@suites
def test_keys_differ(suite: Suite) -> None:
    assert HostKey.generate(suite).public != HostKey.generate(suite).public


@suites
def test_another_key_does_not_open(suite: Suite) -> None:
    key, other = HostKey.generate(suite), HostKey.generate(suite)
    _, encapsulation = seal_secret(suite, key.public, _context(key), Randomness())
    with pytest.raises(RemoteProtocolError) as caught:
        other.open_untrusted(encapsulation, _context(key))
    assert caught.value.code == 2


def test_the_hybrid_is_bound_to_its_context() -> None:
    key = HostKey.generate(Suite.XWING)
    context = _context(key)
    _, encapsulation = seal_secret(Suite.XWING, key.public, context, Randomness())
    with pytest.raises(RemoteProtocolError):
        key.open_untrusted(encapsulation, context[:-1] + bytes([context[-1] ^ 1]))


@suites
@pytest.mark.parametrize("length", [0, 1, 31, 103, 105, 1167, 1169])
def test_wrong_lengths_do_not_open(suite: Suite, length: int) -> None:
    key = HostKey.generate(suite)
    with pytest.raises(RemoteProtocolError) as caught:
        key.open_untrusted(bytes(length), _context(key))
    assert caught.value.code == 2


@suites
def test_a_wiped_key_opens_nothing(suite: Suite) -> None:
    key = HostKey.generate(suite)
    _, encapsulation = seal_secret(suite, key.public, _context(key), Randomness())
    key.wipe()
    key.wipe()
    assert key.wiped
    with pytest.raises(RemoteProtocolError) as caught:
        key.open_untrusted(encapsulation, _context(key))
    assert caught.value.code == 1


@pytest.mark.parametrize(
    ("suite", "public"),
    [
        (Suite.X25519, b""),
        (Suite.X25519, bytes(31)),
        (Suite.X25519, bytes(32)),
        (Suite.X25519, b"\x01" + bytes(31)),
        (Suite.X25519, bytes(33)),
        (Suite.XWING, b""),
        (Suite.XWING, bytes(1215)),
        (Suite.XWING, b"\xff" * 1216),
        (Suite.XWING, bytes(1216)),
    ],
)
def test_keys_that_the_library_refuses_refuse_the_host(suite: Suite, public: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        seal_secret(suite, public, bytes(10), Randomness())


def test_a_seed_gives_the_same_key_again() -> None:
    for suite, length in ((Suite.X25519, 32), (Suite.XWING, 96)):
        seed = Randomness()(length)
        assert HostKey.unsafe_from_seed(suite, seed).public == HostKey.unsafe_from_seed(suite, seed).public


def test_given_randomness_makes_suite_1_reproducible() -> None:
    assert HostKey.generate(Suite.X25519, Randomness()).public == HostKey.generate(Suite.X25519, Randomness()).public


def test_short_randomness_is_noticed() -> None:
    key = HostKey.generate(Suite.X25519)
    with pytest.raises(LocalProtocolError, match="too few"):
        seal_secret(Suite.X25519, key.public, _context(key), lambda length: bytes(min(length, 24)))


def test_keys_of_an_exchange_depend_on_every_input_and_differ() -> None:
    keys = derive_keys(bytes(32), b"context", b"encapsulation")
    values = [keys.request, keys.response, keys.exporter, keys.exchange_id]
    assert len(set(values)) == 4
    for other in (
        derive_keys(b"\x01" + bytes(31), b"context", b"encapsulation"),
        derive_keys(bytes(32), b"Context", b"encapsulation"),
        derive_keys(bytes(32), b"context", b"Encapsulation"),
    ):
        assert not {other.request, other.response, other.exporter, other.exchange_id}.intersection(values)


def test_secrets_stay_out_of_repr() -> None:
    keys = derive_keys(bytes(32), b"context", b"encapsulation")
    for secret in (keys.request, keys.response, keys.exporter):
        assert repr(secret) not in repr(keys)
        assert secret.hex() not in repr(keys)
    assert {f.name for f in dataclasses.fields(keys) if f.repr} == {"exchange_id"}
    key = HostKey.generate(Suite.X25519)
    assert key.key_id.hex() in repr(key)
    assert "held" in repr(key)


def test_context_parts_have_their_lengths() -> None:
    for parts in ((bytes(12), bytes(32), bytes(32)), (bytes(13), bytes(31), bytes(32)), (bytes(13), bytes(32), b"")):
        with pytest.raises(LocalProtocolError):
            make_context(*parts)


def test_best_suite() -> None:
    assert best_suite({1: b"", 2: b""}) is Suite.XWING
    assert best_suite({1: b""}) is Suite.X25519
    assert best_suite({1: b"", 9: b""}) is Suite.X25519
    with pytest.raises(VerificationError):
        best_suite({9: b""})
    with pytest.raises(VerificationError):
        best_suite({1: b""}, floor=Suite.XWING)
    assert best_suite({1: b"", 2: b""}, floor=Suite.X25519) is Suite.XWING
