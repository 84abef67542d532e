"""The sealed exchange: both ends, frames that are authentic nonsense, contents, encapsulations."""

from __future__ import annotations

from fuzz.harness import Harness, Target, cut_ways, holds, pieces, vectors

from kit.sealed import HEAD, NOT_AFTER, NOT_BEFORE, NOW, Pair, Randomness, make_host
from sealmesh.attestation.plain import PlainRule, permit_plain
from sealmesh.errors import RemoteProtocolError
from sealmesh.sealed.bare import PlainClientExchange, PlainHostExchange
from sealmesh.sealed.exchange import (
    ClientExchange,
    EndEvent,
    ErrorEvent,
    HostExchange,
    Load,
    ResponseHead,
    SealedError,
    Trailer,
)
from sealmesh.sealed.frames import Kind, decode_frame_untrusted, encode_frame
from sealmesh.sealed.keyring import EpochKeys, KeyRing
from sealmesh.sealed.messages import (
    encode_error,
    encode_request_head,
    encode_response_head,
    encode_trailer,
    parse_error_untrusted,
    parse_request_head_untrusted,
    parse_response_head_untrusted,
    parse_trailer_untrusted,
)
from sealmesh.sealed.refusal import parse_refusal_untrusted
from sealmesh.sealed.stream import FrameCutter
from sealmesh.sealed.suites import HostKey, Suite, make_context, make_prefix

_SCENARIOS = list(vectors("sealed"))
_HOST = next(scenario["host"] for scenario in _SCENARIOS if scenario["suite"] == 1)
_FIRST = next(scenario for scenario in _SCENARIOS if "response" in scenario and scenario["suite"] == 1)
_EPOCHS = [
    EpochKeys(
        keys=(HostKey.unsafe_from_seed(Suite(suite), bytes.fromhex(scenario["host"]["seed"])),),
        epoch_digest=bytes.fromhex(scenario["host"]["epoch_digest"]),
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
    )
    for suite in (1, 2)
    for scenario in [next(one for one in _SCENARIOS if one["suite"] == suite)]
]
_REFUSES = (RemoteProtocolError,)
_PLAIN = permit_plain(bytes(32), PlainRule(allowed=True, demanded="", had_key=lambda _: False), takes_plain=True)
ERROR = SealedError(status=500, code="internal", message="m", retry_after_s=1)


class _Scripted:
    """Randomness that is known beforehand."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def __call__(self, length: int) -> bytes:
        part = self._parts.pop(0) if self._parts else bytes(length)
        holds(len(part) == length)
        return part


def _host(data: bytes) -> None:
    ring = KeyRing()
    for epoch in _EPOCHS:
        ring.add(epoch)
    host = HostExchange(ring, endpoint_id=bytes.fromhex(_HOST["endpoint_id"]), random=Randomness())
    for piece in pieces(data):
        host.receive_untrusted(piece, NOW)
    host.receive_eof_untrusted()


def _client(data: bytes) -> None:
    derived, drawn = _FIRST["derived"], _FIRST["client_random"]
    randomness = _Scripted(*(bytes.fromhex(one) for one in (derived["secret"], drawn["ephemeral"], drawn["nonce"])))
    verified = make_host(_EPOCHS[0], endpoint_id=bytes.fromhex(_HOST["endpoint_id"]))
    client = ClientExchange(verified, suite=Suite.X25519, now=NOW, random=randomness)
    client.send_head(HEAD)
    client.finish()
    events = []
    for piece in pieces(data):
        events += client.receive_untrusted(piece)
    client.receive_eof_untrusted()
    holds(not client.complete or any(isinstance(event, EndEvent) for event in events))


def _plain_host(data: bytes) -> None:
    host = PlainHostExchange(random=Randomness())
    for piece in pieces(data):
        host.receive_untrusted(piece, NOW)
    host.receive_eof_untrusted()


def _plain_client(data: bytes) -> None:
    client = PlainClientExchange(_PLAIN, random=Randomness())
    client.send_head(HEAD)
    client.finish()
    events = []
    for piece in pieces(data):
        events += client.receive_untrusted(piece)
    client.receive_eof_untrusted()
    holds(not client.complete or any(isinstance(event, EndEvent) for event in events))


def _plain_seeds() -> tuple[bytes, bytes]:
    client, host = PlainClientExchange(_PLAIN, random=Randomness()), PlainHostExchange(random=Randomness())
    asked = client.send_head(HEAD) + client.send_body(b"{}") + client.finish()
    host.receive_untrusted(asked, NOW)
    said = host.send_ping(Load(slots=1, taken=2)) + host.send_head(ResponseHead(status=200)) + host.finish(Trailer())
    return asked, said


def _frames(data: bytes) -> list[tuple[bytes, bool]]:
    """`u8 length, whose top bit says FINAL | plaintext`, again and again."""
    found, at = [], 0
    while at < len(data):
        length = data[at] & 0x7F
        found.append((data[at + 1 : at + 1 + length], bool(data[at] & 0x80)))
        at += 1 + length
    return found


def _authentic(data: bytes, *, of_host: bool) -> None:
    pair = Pair()
    pair.host.receive_untrusted(pair.client.send_head(HEAD), NOW)
    sealing = pair.host._sealing if of_host else pair.client._sealing
    if sealing is None:
        raise AssertionError("the first HEAD authenticates")
    start = pair.host._preamble if of_host else b""
    if of_host:
        pair.client.finish()
    sealed = start
    for plain, final in _frames(data):
        if sealing.spent:
            break
        sealed += sealing.seal(plain, final=final)
    events = pair.client.receive_untrusted(sealed) if of_host else pair.host.receive_untrusted(sealed, NOW)
    (pair.client if of_host else pair.host).receive_eof_untrusted()
    holds(isinstance(events[-1], EndEvent | ErrorEvent))


def _script(*frames: tuple[Kind, bytes]) -> bytes:
    out = b""
    for kind, content in frames:
        plain = encode_frame(kind, content)
        out += bytes([len(plain) | (0x80 if kind in (Kind.TRAILER, Kind.ERROR) else 0)]) + plain
    return out


def _cutter(data: bytes) -> None:
    cutter = FrameCutter()
    out = b""
    fed = b""
    for piece in pieces(data):
        cutter.feed(piece)
        fed += piece
        while (frame := cutter.next_frame_untrusted()) is not None:
            out += len(frame).to_bytes(4, "big") + frame
    holds(fed == out + fed[len(fed) - cutter.held :])


def _open(data: bytes, suite: int) -> None:
    (key,) = _EPOCHS[suite - 1].keys
    context = make_context(
        make_prefix(key.suite, key.public), bytes.fromhex(_HOST["endpoint_id"]), _EPOCHS[suite - 1].epoch_digest
    )
    holds(len(key.open_untrusted(data, context)) == 32)


def _of(name: str) -> list[bytes]:
    return [bytes.fromhex(scenario[name]) for scenario in _SCENARIOS if name in scenario]


_ENCAPSULATIONS = {
    suite: [bytes.fromhex(one["derived"]["encapsulation"]) for one in _SCENARIOS if one["suite"] == suite][:1]
    for suite in (1, 2)
}
_REQUEST_SCRIPT = _script((Kind.BODY, b"{}"), (Kind.PING, b""), (Kind.TRAILER, b""))
_ERROR_SCRIPT = _script((Kind.ERROR, encode_error(ERROR)))
_RESPONSE_SCRIPT = _script(
    (Kind.HEAD, encode_response_head(ResponseHead(status=200))),
    (Kind.BODY, b"data"),
    (Kind.TRAILER, encode_trailer(Trailer(prompt_tokens=1, completion_tokens=2, cached_tokens=3))),
)

HARNESS = Harness(
    host=Target(_host, _REFUSES, [way for data in _of("request") for way in cut_ways(data)]),
    client=Target(_client, _REFUSES, [way for data in _of("response") for way in cut_ways(data)]),
    plain_host=Target(_plain_host, _REFUSES, cut_ways(_plain_seeds()[0])),
    plain_client=Target(_plain_client, _REFUSES, cut_ways(_plain_seeds()[1])),
    authentic_request=Target(
        lambda data: _authentic(data, of_host=False),
        _REFUSES,
        [_REQUEST_SCRIPT, _ERROR_SCRIPT],
    ),
    authentic_response=Target(
        lambda data: _authentic(data, of_host=True),
        _REFUSES,
        [_RESPONSE_SCRIPT, _ERROR_SCRIPT],
    ),
    cutter=Target(_cutter, _REFUSES, [b"\x01" + (17).to_bytes(4, "big") + bytes(17)]),
    frame=Target(decode_frame_untrusted, _REFUSES, [encode_frame(Kind.BODY, b"content", padding=64)]),
    request_head=Target(parse_request_head_untrusted, _REFUSES, [encode_request_head(HEAD)]),
    response_head=Target(
        parse_response_head_untrusted,
        _REFUSES,
        [encode_response_head(ResponseHead(status=429, headers=(("retry-after", "1"),)))],
    ),
    trailer=Target(parse_trailer_untrusted, _REFUSES, [encode_trailer(Trailer(prompt_tokens=1))]),
    error=Target(parse_error_untrusted, _REFUSES, [encode_error(ERROR)]),
    refusal=Target(parse_refusal_untrusted, _REFUSES, [b"\xe0\x01\x00\x01"]),
    suite_1=Target(lambda data: _open(data, 1), _REFUSES, _ENCAPSULATIONS[1]),
    suite_2=Target(lambda data: _open(data, 2), _REFUSES, _ENCAPSULATIONS[2]),
)
