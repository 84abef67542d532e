"""Negative cases for each use of a primitive, after the manner of Wycheproof: ours refuses, as it documents.

X25519 (suite 1's box, suite 2's second half), ML-KEM-768 and X-Wing (suite 2), Ed25519 (everything that is signed) and
secretstream (both directions): points of low order and in other form, values out of range, cut, too long, empty.
"""

from __future__ import annotations

import itertools
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from kit.sealed import HEAD, NOW, Pair, Randomness, feed_client, feed_host
from sealmesh.errors import LocalProtocolError, RemoteProtocolError, VerificationError
from sealmesh.identity.signed import Label, Signed, signed_bytes, verify_signed_untrusted
from sealmesh.limits import FRAME_MAX
from sealmesh.sealed.frames import Direction
from sealmesh.sealed.stream import HEADER_LENGTH, FrameCutter, OpeningStream, SealingStream
from sealmesh.sealed.suites import (
    SUITE_ENCAPSULATION_LENGTH,
    SUITE_PUBLIC_LENGTH,
    HostKey,
    Suite,
    make_context,
    make_prefix,
    seal_secret,
)

P = 2**255 - 19
#: Every encoding of every point of low order on Curve25519 and its twist, also those that are not reduced, and each
#: with the top bit set, which X25519 ignores.
_LOW_ORDER_U = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
)
LOW_ORDER = [
    value.to_bytes(32, "little") for u in _LOW_ORDER_U for value in ((u, u | 1 << 255) if u < 1 << 255 else (u,))
]
ENCAPSULATION = SUITE_ENCAPSULATION_LENGTH
MLKEM_Q = 3329


def key_and_context(suite: Suite) -> tuple[HostKey, bytes]:
    key = HostKey.unsafe_from_seed(suite, Randomness(b"host key")(32 if suite is Suite.X25519 else 96))
    return key, make_context(make_prefix(suite, key.public), b"e" * 32, b"d" * 32)


def assert_not_opened(key: HostKey, encapsulation: bytes, context: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        key.open_untrusted(encapsulation, context)
    assert caught.value.code == 2


# --- X25519 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex()[:8] + point.hex()[-2:] for point in LOW_ORDER])
def test_x25519_low_order_keys_are_refused_on_both_sides(point: bytes) -> None:
    """EX-12, EX-19: the shared secret would be zero, whatever the other side's key is."""
    key, context = key_and_context(Suite.X25519)
    _, good = seal_secret(Suite.X25519, key.public, context, Randomness())
    assert_not_opened(key, point + good[32:], context)
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        seal_secret(Suite.X25519, point, context, Randomness())


@pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex()[:8] + point.hex()[-2:] for point in LOW_ORDER])
def test_hybrid_low_order_keys_are_refused_on_both_sides(point: bytes) -> None:
    key, context = key_and_context(Suite.XWING)
    _, good = seal_secret(Suite.XWING, key.public, context, Randomness())
    assert_not_opened(key, good[:1088] + point + good[1120:], context)
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        seal_secret(Suite.XWING, key.public[:1184] + point, context, Randomness())


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("change", ["empty", "one short", "one long", "half", "twice", "other suite's"])
def test_public_keys_of_a_wrong_length_are_refused(suite: Suite, change: str) -> None:
    key, context = key_and_context(suite)
    public = key.public
    other = key_and_context(Suite.XWING if suite is Suite.X25519 else Suite.X25519)[0].public
    wrong = {
        "empty": b"",
        "one short": public[:-1],
        "one long": public + b"\x00",
        "half": public[: len(public) // 2],
        "twice": public * 2,
        "other suite's": other,
    }[change]
    assert len(wrong) != SUITE_PUBLIC_LENGTH[suite]
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        seal_secret(suite, wrong, context, Randomness())


@pytest.mark.parametrize("suite", Suite)
def test_encapsulations_of_a_wrong_length_are_refused(suite: Suite) -> None:
    key, context = key_and_context(suite)
    _, good = seal_secret(suite, key.public, context, Randomness())
    assert len(good) == ENCAPSULATION[suite]
    step = 1 if suite is Suite.X25519 else 61
    for length in range(0, len(good), step):
        assert_not_opened(key, good[:length], context)
    for longer in (good + b"\x00", good + bytes(16), good * 2):
        assert_not_opened(key, longer, context)


@pytest.mark.parametrize("suite", Suite)
def test_every_changed_part_of_an_encapsulation_is_noticed(suite: Suite) -> None:
    """One bit in each byte. In suite 1 the top bit of the key is ignored by X25519: the transcript binds it instead."""
    key, context = key_and_context(suite)
    _, good = seal_secret(suite, key.public, context, Randomness())
    for position in range(0, len(good), 1 if suite is Suite.X25519 else 7):
        changed = bytearray(good)
        changed[position] ^= 1
        assert_not_opened(key, bytes(changed), context)


def test_box_with_a_nonce_or_a_key_swapped_for_anothers() -> None:
    key, context = key_and_context(Suite.X25519)
    _, one = seal_secret(Suite.X25519, key.public, context, Randomness(b"one"))
    _, two = seal_secret(Suite.X25519, key.public, context, Randomness(b"two"))
    pieces = [(one[:32], two[:32]), (one[32:56], two[32:56]), (one[56:], two[56:])]
    for choice in itertools.product((0, 1), repeat=3):
        mixed = b"".join(piece[index] for piece, index in zip(pieces, choice, strict=True))
        if len(set(choice)) == 1:
            assert len(key.open_untrusted(mixed, context)) == 32
        else:
            assert_not_opened(key, mixed, context)


def test_a_box_of_another_length_than_a_secrets_is_no_encapsulation() -> None:
    key, context = key_and_context(Suite.X25519)
    from nacl.bindings import crypto_box_easy, crypto_scalarmult_base

    for length in (0, 31, 33, 64):
        box = crypto_box_easy(bytes(length), bytes(24), key.public, b"k" * 32)
        assert_not_opened(key, crypto_scalarmult_base(b"k" * 32) + bytes(24) + box, context)


# --- ML-KEM and HPKE ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coefficient", [MLKEM_Q, MLKEM_Q + 1, 4095])
@pytest.mark.parametrize("place", [0, 1, 382, 383])
def test_mlkem_coefficients_out_of_range_are_refused(coefficient: int, place: int) -> None:
    """FIPS 203's modulus check: twelve bits a coefficient, of which those from 3,329 on are not reduced."""
    key, context = key_and_context(Suite.XWING)
    packed = bytearray(key.public)
    start = place // 2 * 3
    if place % 2 == 0:
        packed[start] = coefficient & 0xFF
        packed[start + 1] = packed[start + 1] & 0xF0 | coefficient >> 8
    else:
        packed[start + 1] = packed[start + 1] & 0x0F | (coefficient & 0x0F) << 4
        packed[start + 2] = coefficient >> 4
    assert bytes(packed) != key.public
    with pytest.raises(RemoteProtocolError, match="cannot be sealed to"):
        seal_secret(Suite.XWING, bytes(packed), context, Randomness())


def test_mlkem_coefficients_in_range_are_taken() -> None:
    """So the refusals above are for the range, not for the change."""
    key, context = key_and_context(Suite.XWING)
    packed = bytearray(key.public)
    packed[0], packed[1] = 3328 & 0xFF, packed[1] & 0xF0 | 3328 >> 8
    assert len(seal_secret(Suite.XWING, bytes(packed), context, Randomness())[1]) == 1168


def test_implicit_rejection_opens_nothing() -> None:
    """ML-KEM answers a changed ciphertext with another secret and no error; HPKE's tag is what refuses it."""
    key, context = key_and_context(Suite.XWING)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(Randomness(b"host key")(96)[:64])
    _, good = seal_secret(Suite.XWING, key.public, context, Randomness())
    changed = bytes([good[0] ^ 1]) + good[1:]
    assert mlkem.decapsulate(good[:1088]) != mlkem.decapsulate(changed[:1088])
    assert_not_opened(key, changed, context)


def test_hybrid_halves_of_two_encapsulations_do_not_mix() -> None:
    key, context = key_and_context(Suite.XWING)
    one, two = (seal_secret(Suite.XWING, key.public, context, Randomness(seed))[1] for seed in (b"one", b"two"))
    pieces = [(one[:1088], two[:1088]), (one[1088:1120], two[1088:1120]), (one[1120:], two[1120:])]
    for choice in itertools.product((0, 1), repeat=3):
        mixed = b"".join(piece[index] for piece, index in zip(pieces, choice, strict=True))
        if len(set(choice)) == 1:
            assert len(key.open_untrusted(mixed, context)) == 32
        else:
            assert_not_opened(key, mixed, context)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hybrid_of_another_length_than_a_secrets_is_refused(length: int) -> None:
    """An HPKE message of another plaintext has another length, and is refused by that before it is opened."""
    key, context = key_and_context(Suite.XWING)
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite

    seed = Randomness(b"host key")(96)
    private = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
    )
    suite = HpkeSuite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    assert_not_opened(key, suite.encrypt(bytes(length), private.public_key(), info=context), context)


# --- Ed25519 --------------------------------------------------------------------------------------------------------

L = 2**252 + 27742317777372353535851937790883648493
#: Encodings of the eight points of small order on Ed25519, and of those among them that have a second, unreduced form.
SMALL_ORDER = [
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
]
PART = b"what is signed"
PUBLIC, SECRET = crypto_sign_seed_keypair(b"s" * 32)
SIGNATURE = crypto_sign(signed_bytes(Label.GRANT, PART), SECRET)[:64]


def assert_refused(public: bytes, signature: bytes, *, part: bytes = PART, label: Label = Label.GRANT) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_signed_untrusted(public, label, Signed(part=part, signature=signature))
    assert caught.value.factor == f"{label.words}_signature"


def test_ed25519_the_good_one_holds() -> None:
    verify_signed_untrusted(PUBLIC, Label.GRANT, Signed(part=PART, signature=SIGNATURE))


def test_ed25519_a_scalar_that_is_not_reduced_is_refused() -> None:
    """AD-1: S + k·L verifies for whoever does not look, and makes other bytes of the same signature."""
    scalar = int.from_bytes(SIGNATURE[32:], "little")
    for factor in range(1, 16):
        other = scalar + factor * L
        if other < 1 << 256:
            assert_refused(PUBLIC, SIGNATURE[:32] + other.to_bytes(32, "little"))
    for high in (0x20, 0x40, 0x80, 0xE0):
        assert_refused(PUBLIC, SIGNATURE[:63] + bytes([SIGNATURE[63] | high]))
    assert_refused(PUBLIC, SIGNATURE[:32] + L.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER, ids=[point.hex()[:6] + point.hex()[-4:] for point in SMALL_ORDER])
def test_ed25519_keys_and_r_of_small_order_are_refused(point: bytes) -> None:
    """AD-1: a key of small order 'signs' everything with S = 0 and R of small order."""
    for r in (point, SMALL_ORDER[0], SIGNATURE[:32]):
        assert_refused(point, r + bytes(32))
    assert_refused(PUBLIC, point + SIGNATURE[32:])
    assert_refused(PUBLIC, point + bytes(32))


@pytest.mark.parametrize("y", range(2, 19))
def test_ed25519_keys_that_are_not_reduced_are_refused(y: int) -> None:
    for sign in (0, 1 << 255):
        key = (P + y | sign).to_bytes(32, "little")
        assert_refused(key, SIGNATURE)
        assert_refused(PUBLIC, key + SIGNATURE[32:])


def test_ed25519_keys_that_are_no_point_are_refused() -> None:
    for first in range(256):
        # Some of these are points; none is the signer's.
        assert_refused(bytes([first]) + PUBLIC[1:] if first != PUBLIC[0] else bytes(32), SIGNATURE)


def test_ed25519_signatures_of_a_wrong_length_are_refused() -> None:
    for length in range(64):
        assert_refused(PUBLIC, SIGNATURE[:length])
    assert_refused(PUBLIC, SIGNATURE + b"\x00")
    assert_refused(PUBLIC, SIGNATURE * 2)
    # Bytes moved from the part into the signature are no longer signature.
    assert_refused(PUBLIC, SIGNATURE + PART[:1], part=PART[1:])


def test_ed25519_public_keys_of_a_wrong_length_are_refused() -> None:
    for public in (b"", PUBLIC[:31], PUBLIC + b"\x00", PUBLIC * 2):
        assert_refused(public, SIGNATURE)


def test_ed25519_every_flipped_bit_is_noticed() -> None:
    for bit in range(512):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert_refused(PUBLIC, bytes(changed))
    for bit in range(8 * len(PART)):
        part = bytearray(PART)
        part[bit // 8] ^= 1 << bit % 8
        assert_refused(PUBLIC, SIGNATURE, part=bytes(part))


def test_ed25519_another_labels_signature_is_refused() -> None:
    for label in Label:
        if label is not Label.GRANT:
            assert_refused(PUBLIC, SIGNATURE, label=label)
    # Nor does the boundary between label and part move.
    bare = crypto_sign(Label.GRANT.value + PART, SECRET)[:64]
    assert_refused(PUBLIC, bare)


# --- secretstream ---------------------------------------------------------------------------------------------------

KEY = bytes(range(32))


def stream() -> tuple[SealingStream, OpeningStream]:
    sealing = SealingStream(Direction.REQUEST, KEY, Randomness())
    return sealing, OpeningStream(Direction.REQUEST, KEY, sealing.header)


def test_secretstream_every_flipped_bit_of_a_frame_is_noticed() -> None:
    frame = stream()[0].seal(b"plain")[4:]
    for bit in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            stream()[1].open_untrusted(bytes(changed))


def test_secretstream_frames_of_any_other_length_are_refused() -> None:
    frame = stream()[0].seal(b"plain")[4:]
    for length in range(len(frame)):
        with pytest.raises(RemoteProtocolError):
            stream()[1].open_untrusted(frame[:length])
    with pytest.raises(RemoteProtocolError):
        stream()[1].open_untrusted(frame + b"\x00")


def test_secretstream_another_key_header_or_direction_is_refused() -> None:
    sealing, _ = stream()
    frame = sealing.seal(b"plain")[4:]
    for bit in range(8 * HEADER_LENGTH):
        header = bytearray(sealing.header)
        header[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            OpeningStream(Direction.REQUEST, KEY, bytes(header)).open_untrusted(frame)
    for key, direction in ((bytes(32), Direction.REQUEST), (KEY, Direction.RESPONSE)):
        with pytest.raises(RemoteProtocolError):
            OpeningStream(direction, key, sealing.header).open_untrusted(frame)


def test_secretstream_is_spent_by_its_first_failure() -> None:
    sealing, opening = stream()
    good = sealing.seal(b"plain")[4:]
    with pytest.raises(RemoteProtocolError):
        opening.open_untrusted(good[:-1])
    with pytest.raises(LocalProtocolError):
        opening.open_untrusted(good)


@pytest.mark.parametrize("length", [0, 1, 16, FRAME_MAX + 1, 1 << 31, (1 << 32) - 1])
def test_secretstream_lengths_out_of_range_are_refused_by_the_length_alone(length: int) -> None:
    cutter = FrameCutter()
    cutter.feed(struct.pack(">I", length))
    with pytest.raises(RemoteProtocolError):
        cutter.next_frame_untrusted()


@pytest.mark.parametrize("suite", Suite)
def test_streams_header_of_another_exchange_is_refused_at_either_end(suite: Suite) -> None:
    pair, other = Pair(suite=suite), Pair(suite=suite)
    request = pair.client.send_head(HEAD)
    start = 13 + SUITE_ENCAPSULATION_LENGTH[suite]
    foreign = Randomness(b"foreign")(HEADER_LENGTH)
    outcome = feed_host(pair.new_host(), [request[:start] + foreign + request[start + HEADER_LENGTH :]])
    assert outcome.error is not None
    assert outcome.events == []
    pair.host.receive_untrusted(request + pair.client.finish(), NOW)
    other.host.receive_untrusted(other.client.send_head(HEAD) + other.client.finish(), NOW)
    answer = pair.host.start()
    swapped = answer[:2] + foreign + answer[2 + HEADER_LENGTH :]
    outcome = feed_client(pair.client, [swapped])
    assert outcome.error is not None
    assert outcome.events == []
