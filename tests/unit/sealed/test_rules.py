"""Rules of docs/spec/exchange.md that no other test shows by itself."""

from __future__ import annotations

import itertools
import os
import pickle

import pytest

from kit.sealed import ANSWER_HEAD, HEAD, NOW, Pair
from sealmesh.errors import RemoteProtocolError
from sealmesh.sealed.frames import Kind, encode_frame
from sealmesh.sealed.messages import encode_response_head
from sealmesh.sealed.suites import PREFIX_LENGTH, SUITE_ENCAPSULATION_LENGTH, HostKey, Suite


@pytest.mark.parametrize("suite", Suite)
def test_each_request_draws_everything_anew(suite: Suite) -> None:
    """EX-18: another secret, key pair, nonce and stream header for each request, a second try included."""
    pair = Pair(suite=suite, random=os.urandom)
    firsts = [pair.new_client().send_head(HEAD) for _ in range(8)]
    assert len({first[:PREFIX_LENGTH] for first in firsts}) == 1
    body = PREFIX_LENGTH + SUITE_ENCAPSULATION_LENGTH[suite]
    cuts = [PREFIX_LENGTH, PREFIX_LENGTH + 32, PREFIX_LENGTH + 56, body - 48, body, body + 24, len(firsts[0])]
    for start, end in itertools.pairwise(cuts):
        if end > start:
            assert len({first[start:end] for first in firsts}) == len(firsts)
    assert len({pair.new_client().exchange_id for _ in range(8)}) == 8


@pytest.mark.parametrize("complete", [False, True])
def test_an_answer_before_the_whole_request_fails_at_the_client(complete: bool) -> None:
    """EX-31: a host that answers what it cannot have read is not believed, however authentic its frames are."""
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    if complete:
        pair.client.finish()
    sealing = pair.host._sealing
    assert sealing is not None
    early = pair.host._preamble + sealing.seal(encode_frame(Kind.HEAD, encode_response_head(ANSWER_HEAD)))
    if complete:  # so the refusal is for the moment, not for the bytes
        assert pair.client.receive_untrusted(early)
        return
    with pytest.raises(RemoteProtocolError, match="not allowed"):
        pair.client.receive_untrusted(early)


def test_content_crosses_at_its_own_length() -> None:
    """EX-39: what could be compressed is as long on the wire as what could not."""
    pair = Pair()
    pair.client.send_head(HEAD)
    assert len(pair.client.send_body(bytes(9_000))) == len(pair.client.send_body(os.urandom(9_000))) == 9_000 + 26


@pytest.mark.parametrize("suite", Suite)
def test_a_private_key_has_no_way_out(suite: Suite) -> None:
    """EX-50: it is not written and not exported: nothing that a HostKey gives holds it, and it cannot be pickled."""
    seed = bytes(range(32 if suite is Suite.X25519 else 96))
    key = HostKey.unsafe_from_seed(suite, seed)
    shown = [getattr(key, name) for name in dir(key) if not name.startswith("_") and not callable(getattr(key, name))]
    assert seed not in [bytes(one) for one in shown if isinstance(one, bytes)]
    assert seed.hex() not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
