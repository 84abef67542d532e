"""The public vectors of HPKE: RFC 9180 (X25519, base mode) and the post-quantum draft's X-Wing.

They carry associated data, which the one-shot API of `cryptography` does not take. So they go through its private
helper `_decrypt_with_aad`, here and nowhere else: what sealmesh itself calls (`Suite.decrypt`, `info` only) is the same
code with empty associated data, which the last tests show. From PyPI's `cryptography-vectors`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from sealmesh.errors import RemoteProtocolError
from sealmesh.sealed.suites import HostKey, seal_secret
from sealmesh.sealed.suites import Suite as SealSuite

BASE = 0
X25519, XWING = 0x0020, 0x647A
KEMS = {X25519: KEM.X25519, XWING: KEM.MLKEM768_X25519}
KDFS = {1: KDF.HKDF_SHA256, 3: KDF.HKDF_SHA512, 0x11: KDF.SHAKE256}
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}


def load(name: str, kem: int) -> list[dict[str, Any]]:
    with cryptography_vectors.open_vector_file(f"HPKE/{name}", "r") as file:
        vectors = json.load(file)
    return [
        vector
        for vector in vectors
        if (vector["mode"], vector["kem_id"]) == (BASE, kem) and vector["kdf_id"] in KDFS and vector["aead_id"] in AEADS
    ]


RFC_9180 = load("test-vectors.json", X25519)
DRAFT = load("hpke-pq-test-vectors.json", XWING)


def ids(vectors: list[dict[str, Any]]) -> list[str]:
    return [f"kem-{vector['kem_id']:#x}-kdf-{vector['kdf_id']:#x}-aead-{vector['aead_id']}" for vector in vectors]


def suite_of(vector: dict[str, Any]) -> Suite:
    return Suite(KEMS[vector["kem_id"]], KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]])


@functools.cache
def xwing_seed(seed: bytes) -> bytes:
    """SHAKE-256 of the private key's 32 bytes: ML-KEM's `d ‖ z` (64) and the X25519 scalar (32)."""
    return hashlib.shake_256(seed).digest(96)


def private_of(vector: dict[str, Any]) -> Any:
    raw = bytes.fromhex(vector["skRm"])
    if vector["kem_id"] == X25519:
        return X25519PrivateKey.from_private_bytes(raw)
    return hybrid(xwing_seed(raw))


def hybrid(seed: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
    )


def public_of(vector: dict[str, Any]) -> bytes:
    """The public key, by our own code where it is suite 2's."""
    if vector["kem_id"] == X25519:
        public: bytes = private_of(vector).public_key().public_bytes_raw()
        return public
    return HostKey.unsafe_from_seed(SealSuite.XWING, xwing_seed(bytes.fromhex(vector["skRm"]))).public


def parts(vector: dict[str, Any], encryption: dict[str, str]) -> tuple[bytes, bytes, bytes, bytes]:
    info, aad = bytes.fromhex(vector["info"]), bytes.fromhex(encryption["aad"])
    return bytes.fromhex(vector["enc"] + encryption["ct"]), info, aad, bytes.fromhex(encryption["pt"])


def test_there_are_public_vectors_of_both() -> None:
    assert {(vector["kdf_id"], vector["aead_id"]) for vector in RFC_9180} >= {(1, 1), (1, 3), (3, 3)}
    assert (1, 3) in {(vector["kdf_id"], vector["aead_id"]) for vector in DRAFT}  # the one that sealmesh uses


@pytest.mark.parametrize("vector", RFC_9180 + DRAFT, ids=ids(RFC_9180 + DRAFT))
def test_public_vector(vector: dict[str, Any]) -> None:
    suite, private = suite_of(vector), private_of(vector)
    data, info, aad, plain = parts(vector, vector["encryptions"][0])  # one-shot: the first message of a context
    assert public_of(vector) == bytes.fromhex(vector["pkRm"])
    assert openssl.hpke._decrypt_with_aad(suite, data, private, info, aad) == plain
    for wrong in (
        (data, info, aad + b"\x00"),
        (data, info + b"\x00", aad),
        (data[:-1] + bytes([data[-1] ^ 1]), info, aad),
        (data[:-1], info, aad),
    ):
        with pytest.raises(InvalidTag):
            openssl.hpke._decrypt_with_aad(suite, wrong[0], private, *wrong[1:])


@pytest.mark.parametrize("vector", [v for v in DRAFT if (v["kdf_id"], v["aead_id"]) == (1, 3)])
def test_a_message_with_associated_data_is_no_encapsulation_of_ours(vector: dict[str, Any]) -> None:
    data, info, aad, _ = parts(vector, vector["encryptions"][0])
    assert aad
    with pytest.raises(InvalidTag):
        suite_of(vector).decrypt(data, private_of(vector), info=info)


def test_what_we_seal_opens_with_empty_associated_data_in_the_public_vectors_suite() -> None:
    """`seal_secret` is that HPKE: what it makes opens through the same helper, with the same ids, and no other way."""
    seed = bytes(range(96))
    ours = HostKey.unsafe_from_seed(SealSuite.XWING, seed)
    theirs = hybrid(seed)
    secret, encapsulation = seal_secret(SealSuite.XWING, ours.public, b"context", lambda n: b"\x07" * n)
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    assert openssl.hpke._decrypt_with_aad(suite, encapsulation, theirs, b"context", b"") == secret
    with pytest.raises(InvalidTag):
        openssl.hpke._decrypt_with_aad(suite, encapsulation, theirs, b"context", b"x")


def test_associated_data_does_not_open_at_a_host() -> None:
    host = HostKey.unsafe_from_seed(SealSuite.XWING, bytes(96))
    public = hybrid(bytes(96)).public_key()
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    sealed = openssl.hpke._encrypt_with_aad(suite, b"s" * 32, public, b"context", b"aad")
    with pytest.raises(RemoteProtocolError):
        host.open_untrusted(sealed, b"context")
    plain = openssl.hpke._encrypt_with_aad(suite, b"s" * 32, public, b"context", b"")
    assert host.open_untrusted(plain, b"context") == b"s" * 32
