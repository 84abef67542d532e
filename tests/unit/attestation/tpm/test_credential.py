"""MakeCredential without a TPM, answered by one in memory that was written apart from it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kit.attested import NOW, make_random
from kit.tpm import ModelTpm, name_of, p256, p384, rsa_key
from sealmesh.attestation.vendors.tpm.credential import (
    MEMORY_S,
    Activation,
    ActivationMemory,
    begin_activation,
    make_credential,
)
from sealmesh.attestation.vendors.tpm.quote import verify_key_untrusted
from sealmesh.errors import VerificationError

CHIPS = [
    ModelTpm(ek=rsa_key("ek 2048")),
    ModelTpm(ek=rsa_key("ek 3072", 3072)),
    ModelTpm(ek=p256("ek")),
    ModelTpm(ek=p384("ek")),
]
DIGEST = b"d" * 32


def begin(tpm: ModelTpm, seed: bytes = b"random") -> Activation:
    assert tpm.ek is not None
    return begin_activation(tpm.ek.public_key(), DIGEST, verify_key_untrusted(tpm.ak_public), make_random(seed))


def answer(tpm: ModelTpm, activation: Activation) -> bytes:
    return tpm.activate(activation.credential.id_object, activation.credential.encrypted_secret)


@pytest.mark.parametrize("tpm", CHIPS, ids=["rsa2048", "rsa3072", "p256", "p384"])
def test_the_chip_with_both_keys_hands_out_the_secret(tpm: ModelTpm) -> None:
    activation = begin(tpm)
    assert answer(tpm, activation) == activation.secret
    activation.check_untrusted(answer(tpm, activation))
    assert begin(tpm).credential == activation.credential  # the same randomness, the same bytes
    assert begin(tpm, b"other").credential != activation.credential


@pytest.mark.parametrize("tpm", CHIPS, ids=["rsa2048", "rsa3072", "p256", "p384"])
def test_a_chip_refuses_for_another_attestation_key(tpm: ModelTpm) -> None:
    """The forger's own key beside somebody's genuine endorsement key."""
    activation = begin(tpm)
    with pytest.raises(ValueError, match="integrity"):
        tpm.activate(
            activation.credential.id_object,
            activation.credential.encrypted_secret,
            name_of(ModelTpm("another").ak_public),
        )


def test_another_chip_cannot_open_it() -> None:
    for tpm, other in ((CHIPS[0], ModelTpm(ek=rsa_key("other"))), (CHIPS[2], ModelTpm(ek=p256("other")))):
        with pytest.raises(ValueError, match=r".*"):
            answer(other, begin(tpm))


@pytest.mark.parametrize("length", [0, 31, 32, 33])
def test_other_answers(length: int) -> None:
    with pytest.raises(VerificationError) as refused:
        begin(CHIPS[2]).check_untrusted(bytes(length))
    assert refused.value.factor == "activation"


def test_the_secret_is_not_in_the_repr() -> None:
    activation = begin(CHIPS[2])
    assert activation.secret.hex() not in repr(activation)
    assert repr(activation.secret) not in repr(activation)


@pytest.mark.parametrize(
    "key", [rsa_key("weak", 1024).public_key(), ec.derive_private_key(5, ec.SECP521R1()).public_key()]
)
def test_endorsement_keys_without_a_profile(key: ec.EllipticCurvePublicKey) -> None:
    with pytest.raises(VerificationError, match="no profile"):
        make_credential(key, b"name", b"secret", make_random())


def test_a_verifier_remembers_what_it_saw_for_a_day() -> None:
    memory = ActivationMemory()
    tpm = CHIPS[2]
    activation = begin(tpm)
    assert not memory.holds(DIGEST, activation.name, NOW)
    with pytest.raises(VerificationError):
        memory.settle_untrusted(activation, bytes(32), NOW)
    assert not memory.holds(DIGEST, activation.name, NOW)
    memory.settle_untrusted(activation, answer(tpm, activation), NOW)
    assert memory.holds(DIGEST, activation.name, NOW)
    assert memory.holds(DIGEST, activation.name, NOW + MEMORY_S - 1)
    assert not memory.holds(DIGEST, activation.name, NOW + MEMORY_S)
    assert not memory.holds(b"e" * 32, activation.name, NOW)
    assert not memory.holds(DIGEST, name_of(ModelTpm("another").ak_public), NOW)


def test_the_memory_is_bounded_and_the_oldest_goes_first() -> None:
    memory = ActivationMemory(maximum=2)
    chips = [ModelTpm(f"chip {one}", ek=p256("ek")) for one in range(3)]
    for tpm in (chips[0], chips[1], chips[0], chips[2]):
        activation = begin(tpm)
        memory.settle_untrusted(activation, activation.secret, NOW)
    assert [memory.holds(DIGEST, name_of(tpm.ak_public), NOW) for tpm in chips] == [True, False, True]
