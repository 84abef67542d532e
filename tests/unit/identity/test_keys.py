import pickle

import nacl.signing
import pytest

from kit.people import Randomness
from sealmesh.errors import ConfigError, LocalProtocolError, VerificationError
from sealmesh.identity.keys import BearerKey, EndpointKey, IssuerKey, Seed, StatementKey
from sealmesh.identity.signed import Label, SignatureMemo, Signed, verify_signed_untrusted

KINDS = (EndpointKey, IssuerKey, BearerKey, StatementKey)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_comes_back_from_its_seed(kind):
    key = kind.generate(Randomness())
    again = kind.from_seed(key.seed.reveal())
    assert again.public == key.public
    assert again.seed == key.seed


def test_keys_are_plain_ed25519():
    # RFC 8032, 7.1, TEST 1: the public key of that seed.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert EndpointKey.from_seed(seed).public == bytes.fromhex(
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )


def test_a_signature_covers_label_zero_part():
    key = EndpointKey.generate(Randomness())
    signature = key.sign(Label.SUMMARY, b"part")
    nacl.signing.VerifyKey(key.public).verify(b"sealmesh/1 summary\x00part", signature)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_signs_for_its_own_labels_only(kind):
    key = kind.generate(Randomness())
    for label in Label:
        if label in kind.labels:
            verify_signed_untrusted(key.public, label, key.sign_part(label, b"part"))
        else:
            with pytest.raises(LocalProtocolError):
                key.sign(label, b"part")


def test_every_label_has_a_signer():
    assert frozenset().union(*(kind.labels for kind in KINDS)) == frozenset(Label)


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_never_shows(kind):
    key = kind.generate(Randomness())
    secret = key.seed.reveal()
    for shown in (repr(key), str(key), f"{key}", repr(key.seed), str(key.seed), f"{key.seed}"):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    for thing in (key, key.seed):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_a_seed_is_not_hashable_and_compares_by_value():
    seed = Seed(bytes(32))
    assert seed == Seed(bytes(32))
    assert seed != Seed(b"\x01" * 32)
    assert seed != bytes(32)
    with pytest.raises(TypeError):
        hash(seed)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length):
    with pytest.raises(ConfigError):
        EndpointKey.from_seed(bytes(length))


def test_a_signed_part_comes_back():
    signed = EndpointKey.generate(Randomness()).sign_part(Label.KEYS, b"part")
    assert Signed.decode_untrusted(signed.encode(), maximum=100) == signed


@pytest.mark.parametrize(
    ("change", "maximum"),
    [
        (lambda data: data + b"\x18\x01", 1000),  # an unknown field
        (lambda data: data[-66:] + data[:-66], 1000),  # fields in another order
        (lambda data: data + data, 1000),  # fields twice
        (lambda data: data[:-1], 1000),  # cut
        (lambda _: b"", 1000),
        (lambda data: data, 71),  # too long
    ],
)
def test_another_encoding_of_the_same_is_refused(change, maximum):
    data = EndpointKey.generate(Randomness()).sign_part(Label.KEYS, b"part").encode()
    assert len(data) == 72
    with pytest.raises(VerificationError) as caught:
        Signed.decode_untrusted(change(data), maximum=maximum, factor="it")
    assert caught.value.factor == "it"


def _refuses(public, label, signed):
    with pytest.raises(VerificationError) as caught:
        verify_signed_untrusted(public, label, signed)
    assert caught.value.factor == f"{label.words}_signature"


def test_what_was_not_signed_does_not_hold():
    key, other = EndpointKey.generate(Randomness("a")), EndpointKey.generate(Randomness("b"))
    signed = key.sign_part(Label.SUMMARY, b"part")
    verify_signed_untrusted(key.public, Label.SUMMARY, signed)
    _refuses(other.public, Label.SUMMARY, signed)
    _refuses(key.public, Label.KEYS, signed)
    _refuses(key.public, Label.SUMMARY, Signed(part=b"parT", signature=signed.signature))
    flipped = bytes([signed.signature[0] ^ 1]) + signed.signature[1:]
    _refuses(key.public, Label.SUMMARY, Signed(part=b"part", signature=flipped))
    _refuses(key.public, Label.SUMMARY, Signed(part=b"part", signature=signed.signature[:-1]))
    _refuses(key.public[:-1], Label.SUMMARY, signed)


def test_a_signature_has_one_form():
    """s + L is the same scalar: a lax verifier takes it, and then a stranger can make other bytes of a record."""
    key = EndpointKey.generate(Randomness())
    signed = key.sign_part(Label.SUMMARY, b"part")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signed.signature[32:], "little") + order
    other = signed.signature[:32] + scalar.to_bytes(32, "little")
    _refuses(key.public, Label.SUMMARY, Signed(part=b"part", signature=other))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_small_order_signs_nothing(public):
    """With such a key one signature would hold for every part."""
    _refuses(public, Label.SUMMARY, Signed(part=b"part", signature=b"\x01" + bytes(63)))


def test_a_memo_passes_exactly_the_bytes_that_held_and_no_others():
    key, other = EndpointKey.generate(Randomness()), EndpointKey.generate(Randomness("other"))
    memo, signed = SignatureMemo(), key.sign_part(Label.SUMMARY, b"part")
    for _ in range(2):
        verify_signed_untrusted(key.public, Label.SUMMARY, signed, memo=memo)
    assert len(memo) == 1
    changed = bytes([signed.signature[0] ^ 1]) + signed.signature[1:]
    for public, label, part, signature in (
        (other.public, Label.SUMMARY, b"part", signed.signature),
        (key.public, Label.KEYS, b"part", signed.signature),
        (key.public, Label.SUMMARY, b"parts", signed.signature),
        (key.public, Label.SUMMARY, b"part", changed),
    ):
        with pytest.raises(VerificationError):
            verify_signed_untrusted(public, label, Signed(part=part, signature=signature), memo=memo)
    assert len(memo) == 1  # what did not hold is not kept


def test_a_memo_is_asked_before_anything_is_computed_and_the_oldest_make_room():
    memo = SignatureMemo(capacity=2)
    made_up = Signed(part=b"part", signature=bytes(64))
    name = SignatureMemo.name(bytes(32), Label.SUMMARY, made_up)
    memo.keep(name)
    verify_signed_untrusted(bytes(32), Label.SUMMARY, made_up, memo=memo)  # it could not hold if it were computed
    memo.keep(b"second")
    memo.keep(b"third")
    assert len(memo) == 2
    with pytest.raises(VerificationError):
        verify_signed_untrusted(bytes(32), Label.SUMMARY, made_up, memo=memo)
