"""Writes testvectors/sealed/*.json, one scenario a file (docs/spec/exchange.md).

A second reading of the specification: nothing of sealmesh is imported, only libsodium and the standard library. Run it
to write the files, or with `--check` to compare them. Everything comes from fixed seeds, except what suite 2's library
draws inside itself: its encapsulation is recorded once in `xwing.record.json` and read from there ever after
(`--record` makes another).
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.bindings import (
    crypto_box_easy,
    crypto_scalarmult_base,
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)

FOLDER = Path(__file__).parent / "sealed"
RECORD = FOLDER / "xwing.record.json"
X25519, XWING = 1, 2
HEAD, BODY, TRAILER, PING, ERROR, RECEIPT = range(1, 7)
MESSAGE, PUSH, REKEY, FINAL = range(4)


def fixed(name: str, length: int) -> bytes:
    """Return the bytes that a vector uses for something random."""
    return hashlib.shake_256(b"sealmesh test vector: " + name.encode()).digest(length)


ENDPOINT_ID = fixed("endpoint id", 32)
EPOCH_DIGEST = fixed("epoch statement digest", 32)
SEEDS = {X25519: fixed("suite 1 host key", 32), XWING: fixed("suite 2 host key", 96)}


def hkdf(prk: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-SHA256 of at most one block."""
    return hmac.digest(prk, label.encode() + b"\x01", "sha256")[:length]


@dataclass
class Sender:
    """One direction's sender, with no rules: whatever it is told becomes a frame."""

    direction: str
    key: bytes
    header: bytes
    additional: bytes = b""
    state: Any = field(init=False)

    def __post_init__(self) -> None:
        self.additional = self.additional or f"sealmesh/1 {self.direction}".encode()
        self.state = crypto_secretstream_xchacha20poly1305_state()
        # init_pull with a chosen header leaves the same state as init_push, which draws one.
        crypto_secretstream_xchacha20poly1305_init_pull(self.state, self.header, self.key)

    def raw(self, plain: bytes, tag: int = MESSAGE) -> bytes:
        """Return a frame of any plaintext."""
        sealed = crypto_secretstream_xchacha20poly1305_push(self.state, plain, self.additional, tag)
        return struct.pack(">I", len(sealed)) + sealed

    def frame(self, kind: int, content: bytes = b"", *, zeros: int = 0, tag: int = MESSAGE) -> bytes:
        """Return a frame of any kind."""
        return self.raw(struct.pack(">BI", kind, len(content)) + content + bytes(zeros), tag)


@dataclass
class Exchange:
    """The keys of one exchange, derived by hand."""

    suite: int = X25519
    name: str = "exchange"
    endpoint_id: bytes = ENDPOINT_ID
    epoch_digest: bytes = EPOCH_DIGEST

    def __post_init__(self) -> None:
        if self.suite == X25519:
            self.public = crypto_scalarmult_base(SEEDS[X25519])
        else:
            record = json.loads(RECORD.read_text())
            self.public = bytes.fromhex(record["public"])
        self.length = 104 if self.suite == X25519 else 1168
        self.key_id = hashlib.sha256(bytes([self.suite]) + self.public).digest()[:8]
        self.prefix = struct.pack(">BBB", 0xE1, 1, self.suite) + self.key_id + struct.pack(">H", self.length)
        self.context = b"sealmesh/1 seal\x00" + self.prefix + self.endpoint_id + self.epoch_digest
        self.client_random: dict[str, str] = {}
        if self.suite == X25519:
            self.secret = fixed(f"{self.name} secret", 32)
            own, nonce = fixed(f"{self.name} ephemeral", 32), fixed(f"{self.name} nonce", 24)
            box = crypto_box_easy(self.secret, nonce, self.public, own)
            self.client_random = {"ephemeral": own.hex(), "nonce": nonce.hex()}
            self.derive(crypto_scalarmult_base(own) + nonce + box)
        else:
            if self.context.hex() != record["context"]:
                raise SystemExit("the record is of another context; run with --record")
            self.secret = bytes.fromhex(record["secret"])
            self.derive(bytes.fromhex(record["encapsulation"]))

    def derive(self, encapsulation: bytes) -> None:
        """Derive everything from the secret and the encapsulation's bytes."""
        self.encapsulation = encapsulation
        self.transcript = hashlib.sha256(b"sealmesh/1 keys\x00" + self.context + encapsulation).digest()
        prk = hmac.digest(self.transcript, self.secret, "sha256")
        self.request_key = hkdf(prk, "sealmesh/1 request", 32)
        self.response_key = hkdf(prk, "sealmesh/1 response", 32)
        self.exchange_id = hkdf(prk, "sealmesh/1 exchange id", 16)
        self.exporter = hkdf(prk, "sealmesh/1 exporter", 32)

    def requester(self, **changes: Any) -> Sender:
        """Return the client's sender."""
        values = {"direction": "request", "key": self.request_key, "header": fixed(f"{self.name} request header", 24)}
        return Sender(**{**values, **changes})

    def responder(self, **changes: Any) -> Sender:
        """Return the host's sender."""
        values = {
            "direction": "response",
            "key": self.response_key,
            "header": fixed(f"{self.name} response header", 24),
        }
        return Sender(**{**values, **changes})

    def opening(self, sender: Sender) -> bytes:
        """Return what comes before a request's frames."""
        return self.prefix + self.encapsulation + sender.header

    def describe(self) -> dict[str, Any]:
        """Return what an implementation needs to follow the scenario, step by step."""
        return {
            "suite": self.suite,
            "host": {
                "seed": SEEDS[self.suite].hex(),
                "public": self.public.hex(),
                "key_id": self.key_id.hex(),
                "endpoint_id": ENDPOINT_ID.hex(),
                "epoch_digest": EPOCH_DIGEST.hex(),
            },
            "derived": {
                "secret": self.secret.hex(),
                "context": self.context.hex(),
                "encapsulation": self.encapsulation.hex(),
                "transcript": self.transcript.hex(),
                "request_key": self.request_key.hex(),
                "response_key": self.response_key.hex(),
                "exchange_id": self.exchange_id.hex(),
                "exporter": self.exporter.hex(),
                "replay_tag": hashlib.sha256(b"sealmesh/1 replay\x00" + self.secret).digest()[:16].hex(),
            },
            "client_random": self.client_random,
        }


def proto(number: int, value: bytes | int) -> bytes:
    """Return one protobuf field: a varint or bytes."""

    def varint(n: int) -> bytes:
        out = bytearray()
        while n > 0x7F:
            out.append(n & 0x7F | 0x80)
            n >>= 7
        return bytes([*out, n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def header(name: bytes, value: bytes) -> bytes:
    """Return one header of a HEAD."""
    return proto(1, name) + proto(2, value)


REQUEST_HEAD = proto(1, b"POST") + proto(2, b"/v1/chat/completions") + proto(3, header(b"accept", b"text/event-stream"))
RESPONSE_HEAD = proto(1, 200) + proto(2, header(b"content-type", b"text/event-stream"))
TRAILER_CONTENT = proto(1, 7) + proto(2, 11) + proto(3, 3)
ERROR_CONTENT = proto(1, 503) + proto(2, b"backend_unavailable") + proto(3, b"The engine is gone.") + proto(4, 7)
QUESTION, ANSWER = b'{"model":"m"}', b"data: hello"

HEAD_EVENT = {"head": ["POST", "/v1/chat/completions"]}
RESPONSE_HEAD_EVENT = {"head": 200}
END_EVENT = {"end": [0, 0, 0]}


def body(data: bytes) -> dict[str, str]:
    """Return the event of some content."""
    return {"body": data.hex()}


def whole_request(exchange: Exchange) -> bytes:
    """Return a request that every host accepts."""
    sender = exchange.requester()
    return (
        exchange.opening(sender)
        + sender.frame(HEAD, REQUEST_HEAD)
        + sender.frame(BODY, QUESTION)
        + sender.frame(TRAILER, tag=FINAL)
    )


def whole_response(exchange: Exchange) -> bytes:
    """Return an answer that every client accepts."""
    sender = exchange.responder()
    return (
        b"\xe1\x01"
        + sender.header
        + sender.frame(PING)
        + sender.frame(HEAD, RESPONSE_HEAD)
        + sender.frame(BODY, ANSWER)
        + sender.frame(TRAILER, TRAILER_CONTENT, tag=FINAL)
    )


SCENARIOS: dict[str, dict[str, Any]] = {}


def scenario(
    name: str,
    description: str,
    rules: list[str],
    exchange: Exchange,
    *,
    request: bytes | None = None,
    response: bytes | None = None,
    released: list[dict[str, Any]] | None = None,
    failure: str | None = None,
    code: int | None = None,
) -> None:
    """Add a scenario.

    Args:
        name: Of the file.
        description: What happens.
        rules: Which rules it shows.
        exchange: Its keys.
        request: Bytes for a host.
        response: Bytes for a client that has sent the whole request of the same exchange.
        released: The events released when the bytes arrive one at a time, bodies joined.
        failure: How it ends: None well; `refusal` with `code`; `sealed error` with the status in `code`; `reset`; for
            a client `failed`, or `refused` with `code`.
        code: See `failure`.
    """
    expected = {"released": list(released or ()), "failure": failure, "code": code}
    bytes_in = {"request": request} if request is not None else {"response": response}
    SCENARIOS[name] = {
        "description": description,
        "rules": rules,
        **exchange.describe(),
        **{side: data.hex() for side, data in bytes_in.items() if data is not None},
        "expected": expected,
    }


def add_good() -> None:
    """Scenarios that end well."""
    for suite, label in ((X25519, "x25519"), (XWING, "xwing")):
        rules = ["EX-02", "EX-08", "EX-10" if suite == X25519 else "EX-11", "EX-13", "EX-14"]
        exchange = Exchange(suite)
        released = [HEAD_EVENT, body(QUESTION), END_EVENT]
        scenario(
            f"{label}-request", "A whole request.", rules, exchange, request=whole_request(exchange), released=released
        )
        answered = ["ping", RESPONSE_HEAD_EVENT, body(ANSWER), {"end": [7, 11, 3]}]
        scenario(
            f"{label}-response",
            "The answer to it.",
            ["EX-44", "EX-22"],
            exchange,
            response=whole_response(exchange),
            released=answered,  # type: ignore[arg-type]
        )
    exchange = Exchange()
    sender = exchange.requester()
    data = (
        exchange.opening(sender)
        + sender.frame(PING, b"passed over", zeros=100)
        + sender.frame(HEAD, REQUEST_HEAD + proto(99, b"a field of a later version"), zeros=1)
        + sender.frame(BODY, b"", zeros=50)
        + sender.frame(BODY, QUESTION, zeros=1000)
        + sender.frame(TRAILER, zeros=9, tag=FINAL)
    )
    released = ["ping", HEAD_EVENT, body(QUESTION), END_EVENT]  # type: ignore[list-item]
    rules = ["EX-27", "EX-30", "EX-37"]
    scenario("padded", "Padding, a PING and an unknown field.", rules, exchange, request=data, released=released)
    sender = exchange.requester()
    data = exchange.opening(sender) + sender.frame(HEAD, REQUEST_HEAD) + sender.frame(ERROR, ERROR_CONTENT, tag=FINAL)
    error = {"error": [503, "backend_unavailable", "The engine is gone.", 7]}
    scenario("error-request", "The asker gives up.", ["EX-30"], exchange, request=data, released=[HEAD_EVENT, error])
    sender = exchange.responder()
    data = b"\xe1\x01" + sender.header + sender.frame(ERROR, ERROR_CONTENT, tag=FINAL)
    scenario("error-response", "A sealed error instead of HEAD.", ["EX-30"], exchange, response=data, released=[error])
    for code in range(1, 6):
        data = b"\xe0\x01" + struct.pack(">H", code)
        event = {"refused": code}
        scenario(f"refusal-{code}", "A refusal.", ["EX-45"], exchange, response=data, released=[event])


def add_bad_openings() -> None:
    """Requests that fail before anything is released."""
    exchange = Exchange()
    whole = whole_request(exchange)

    def refused(name: str, description: str, rule: str, data: bytes, code: int, of: Exchange = exchange) -> None:
        scenario(name, description, [rule], of, request=data, failure="refusal", code=code)

    refused("version-2", "Another version.", "EX-03", whole[:1] + b"\x02" + whole[2:], 5)
    refused("suite-0", "No such suite.", "EX-03", whole[:2] + b"\x00" + whole[3:], 5)
    refused("suite-3", "No such suite.", "EX-03", whole[:2] + b"\x03" + whole[3:], 5)
    refused("suite-swapped", "Suite 2 with suite 1's length.", "EX-04", whole[:2] + b"\x02" + whole[3:], 2)
    refused("length-103", "An encapsulation one byte short.", "EX-04", whole[:11] + b"\x00\x67" + whole[13:], 2)
    refused("length-0", "No encapsulation.", "EX-04", whole[:11] + b"\x00\x00" + whole[13:], 2)
    refused("key-id", "A key id of nobody.", "EX-05", whole[:3] + bytes(8) + whole[11:], 1)
    flipped = bytearray(whole)
    flipped[13 + 31] ^= 0x80
    refused("malleable", "The unused bit of the X25519 key flipped: opens, other keys.", "EX-13", bytes(flipped), 2)
    refused("low-order", "An X25519 key of low order.", "EX-19", whole[:13] + bytes(32) + whole[45:], 2)
    flipped = bytearray(whole)
    flipped[13 + 60] ^= 1
    refused("box", "A changed box.", "EX-19", bytes(flipped), 2)
    other = Exchange(endpoint_id=fixed("another endpoint", 32))
    refused("other-host", "Sealed to another host with the same key.", "EX-09", whole_request(other), 2, other)
    other = Exchange(epoch_digest=fixed("another statement", 32))
    refused("other-epoch", "Sealed under another statement.", "EX-09", whole_request(other), 2, other)
    sender = exchange.requester(additional=b"sealmesh/1 response")
    data = exchange.opening(sender) + sender.frame(HEAD, REQUEST_HEAD)
    refused("other-direction", "The response's additional data.", "EX-22", data, 2)
    sender = exchange.requester()
    refused("frame-16", "A frame shorter than its seal.", "EX-21", exchange.opening(sender) + struct.pack(">I", 16), 2)
    data = exchange.opening(sender) + struct.pack(">I", 65537)
    refused("frame-65537", "A frame longer than the limit.", "EX-21", data, 2)
    hybrid = Exchange(XWING)
    whole = whole_request(hybrid)
    for place, what in ((0, "ML-KEM part"), (1088, "X25519 part"), (1120, "ciphertext")):
        flipped = bytearray(whole)
        flipped[13 + place] ^= 1
        refused(f"xwing-flipped-{place}", f"A changed byte in the {what}.", "EX-19", bytes(flipped), 2, hybrid)


def add_bad_frames() -> None:
    """Requests whose frames break a rule, before or after HEAD."""
    exchange = Exchange()

    def bad(name: str, description: str, rule: str, frames: list[tuple[Any, ...]], **outcome: Any) -> None:
        sender = exchange.requester()
        data = exchange.opening(sender)
        for kind, content, options in frames:
            data += sender.raw(content, **options) if kind is None else sender.frame(kind, content, **options)
        scenario(name, description, [rule], exchange, request=data, **outcome)

    head: tuple[Any, ...] = (HEAD, REQUEST_HEAD, {})
    before = {"failure": "refusal", "code": 2}
    after = {"failure": "reset", "released": [HEAD_EVENT]}
    bad("body-first", "BODY before HEAD.", "EX-30", [(BODY, b"x", {})], **before)
    bad("trailer-first", "TRAILER before HEAD.", "EX-30", [(TRAILER, b"", {"tag": FINAL})], **before)
    bad("kind-0", "No such kind.", "EX-30", [(0, b"", {})], **before)
    bad("kind-7", "No such kind.", "EX-30", [(7, b"", {})], **before)
    bad("too-short", "A plaintext of four bytes.", "EX-30", [(None, bytes(4), {})], **before)
    bad("too-long", "Content longer than its frame.", "EX-30", [(None, struct.pack(">BI", 1, 9) + b"x", {})], **before)
    bad("head-push", "HEAD with tag PUSH.", "EX-23", [(HEAD, REQUEST_HEAD, {"tag": PUSH})], **before)
    bad("head-rekey", "HEAD with tag REKEY.", "EX-23", [(HEAD, REQUEST_HEAD, {"tag": REKEY})], **before)
    bad("head-final", "HEAD with FINAL.", "EX-25", [(HEAD, REQUEST_HEAD, {"tag": FINAL})], **before)
    bad("no-frame", "Nothing after the stream header.", "EX-28", [], failure="reset")
    bad("only-head", "The end after HEAD.", "EX-28", [head], **after)
    bad("head-twice", "Two HEADs.", "EX-30", [head, head], **after)
    bad("receipt", "A RECEIPT.", "EX-30", [head, (RECEIPT, b"", {})], **after)
    bad("body-final", "BODY with FINAL.", "EX-25", [head, (BODY, b"x", {"tag": FINAL})], **after)
    bad("trailer-message", "TRAILER without FINAL.", "EX-25", [head, (TRAILER, b"", {})], **after)
    padded = struct.pack(">BI", BODY, 1) + b"x" + bytes(500) + b"\x01"
    bad("padding", "Padding that ends in a one.", "EX-27", [head, (None, padded, {})], **after)
    ended = {"failure": "reset", "released": [HEAD_EVENT, END_EVENT]}
    end: tuple[Any, ...] = (TRAILER, b"", {"tag": FINAL})
    bad(
        "after-final",
        "BODY after FINAL, which libsodium opens.",
        "EX-26",
        [head, end, (BODY, b"x", {})],
        **ended,
    )
    bad(
        "trailer-garbage",
        "TRAILER that is no protobuf.",
        "EX-37",
        [head, (TRAILER, b"\xff", {"tag": FINAL})],
        **after,
    )

    def unacceptable(name: str, description: str, content: bytes, status: int, rule: str = "EX-33") -> None:
        outcome = {"failure": "sealed error", "code": status}
        bad(name, description, rule, [(HEAD, content, {})], **outcome)

    post = proto(1, b"POST") + proto(2, b"/v1/chat/completions")
    unacceptable("head-operation", "A path of another endpoint.", proto(1, b"POST") + proto(2, b"/api/delete"), 404)
    unacceptable("head-query", "A path with a query.", proto(1, b"POST") + proto(2, b"/v1/completions?x=1"), 404)
    unacceptable("head-method", "Another method.", proto(1, b"GET") + proto(2, b"/v1/completions"), 404)
    unacceptable("head-header", "A header that may not travel.", post + proto(3, header(b"cookie", b"a=b")), 400)
    split = post + proto(3, header(b"accept", b"a\r\nx-evil: 1"))
    unacceptable("head-blank", "A header without a value.", post + proto(3, header(b"accept", b"")), 400)
    unacceptable("head-split", "A header that would become two.", split, 400)
    twice = post + 2 * proto(3, header(b"accept", b"a"))
    unacceptable("head-repeated", "A header twice.", twice, 400)
    unacceptable("head-case", "A header in another case.", post + proto(3, header(b"Accept", b"a")), 400)
    unacceptable("head-padding", "More padding than allowed.", post + proto(4, 16385), 400)
    unacceptable("head-cache-key", "A cache key of 33 bytes.", post + proto(5, bytes(33)), 400)
    unacceptable("head-garbage", "A HEAD that is no protobuf.", b"\xff\xff", 400, "EX-37")
    unacceptable("head-empty", "An empty HEAD.", b"", 404)


def add_bad_responses() -> None:
    """Answers that break a rule."""
    exchange = Exchange()
    whole = whole_response(exchange)
    ping_head = ["ping", RESPONSE_HEAD_EVENT]

    def bad(name: str, description: str, rule: str, data: bytes, released: Any = None) -> None:
        scenario(f"response-{name}", description, [rule], exchange, response=data, released=released, failure="failed")

    bad("reflected", "The request sent back.", "EX-22", whole_request(exchange))
    request_frames = whole_request(exchange)[13 + 104 :]
    bad("reflected-frames", "The request's stream after the right beginning.", "EX-14", b"\xe1\x01" + request_frames)
    bad("cut", "The end missing.", "EX-28", whole[:-30], [*ping_head, body(ANSWER)])
    bad("empty", "Nothing at all.", "EX-28", b"")
    bad("no-frame", "Only a stream header.", "EX-28", whole[:26])
    bad("trailing", "One byte after FINAL.", "EX-26", whole + b"\x00", [*ping_head, body(ANSWER), {"end": [7, 11, 3]}])
    bad("late-refusal", "A refusal after the first frames.", "EX-47", whole[:52] + b"\xe0\x01\x00\x03", ["ping"])
    bad("refusal-version", "A refusal of another version.", "EX-45", b"\xe0\x02\x00\x01")
    bad("refusal-code", "No such refusal.", "EX-45", b"\xe0\x01\x00\x06")
    bad("refusal-cut", "Half a refusal.", "EX-28", b"\xe0\x01\x00")
    bad("refusal-trailing", "Bytes after a refusal.", "EX-26", b"\xe0\x01\x00\x01\xe1", [{"refused": 1}])
    bad("version", "Another version.", "EX-44", b"\xe1\x02" + whole[2:])
    bad("kind", "An unknown first byte.", "EX-44", b"\x04" + whole[1:])

    def frames(
        name: str, description: str, rule: str, made: list[tuple[int, bytes, int]], released: Any = None
    ) -> None:
        sender = exchange.responder()
        data = b"\xe1\x01" + sender.header + b"".join(sender.frame(k, c, tag=t) for k, c, t in made)
        bad(name, description, rule, data, released)

    good = (HEAD, RESPONSE_HEAD, MESSAGE)
    frames("status", "A status of 199.", "EX-34", [(HEAD, proto(1, 199), MESSAGE)])
    cookie = proto(1, 200) + proto(2, header(b"set-cookie", b"a=b"))
    frames("header", "A header that may not travel.", "EX-34", [(HEAD, cookie, MESSAGE)])
    headed = [RESPONSE_HEAD_EVENT]
    frames("second-answer", "A second HEAD.", "EX-30", [good, good], headed)
    frames(
        "counts", "A count that cannot be.", "EX-35", [good, (TRAILER, proto(1, 2**41), FINAL)], [RESPONSE_HEAD_EVENT]
    )
    wrong = proto(1, 200) + proto(2, b"ok")
    frames("error-status", "An error of status 200.", "EX-36", [(ERROR, wrong, FINAL)])
    wrong = proto(1, 500) + proto(2, b"Not A Code")
    frames("error-code", "An error's code that is none.", "EX-36", [(ERROR, wrong, FINAL)])
    blank = proto(1, 200) + proto(2, header(b"content-type", b""))
    frames("header-empty", "A header without a value.", "EX-34", [(HEAD, blank, MESSAGE)])
    tab = proto(1, 200) + proto(2, header(b"content-type", b"a\tb"))
    frames("header-tab", "A header with a tab.", "EX-34", [(HEAD, tab, MESSAGE)])
    error = {"error": [503, "backend_unavailable", "The engine is gone.", 7]}
    end = (TRAILER, TRAILER_CONTENT, FINAL)
    ended = [*headed, {"end": [7, 11, 3]}]
    frames("body-first", "BODY before HEAD.", "EX-30", [(BODY, b"x", MESSAGE)])
    frames("trailer-first", "TRAILER before HEAD.", "EX-30", [end])
    frames("receipt", "A RECEIPT.", "EX-30", [good, (RECEIPT, b"", MESSAGE)], headed)
    frames("body-push", "BODY with tag PUSH.", "EX-23", [good, (BODY, b"x", PUSH)], headed)
    frames("trailer-rekey", "TRAILER with tag REKEY.", "EX-23", [good, (TRAILER, TRAILER_CONTENT, REKEY)], headed)
    frames("head-final", "HEAD with FINAL.", "EX-25", [(HEAD, RESPONSE_HEAD, FINAL)])
    frames("body-final", "BODY with FINAL.", "EX-25", [good, (BODY, b"x", FINAL)], headed)
    frames("trailer-message", "TRAILER without FINAL.", "EX-25", [good, (TRAILER, TRAILER_CONTENT, MESSAGE)], headed)
    frames("error-message", "ERROR without FINAL.", "EX-25", [good, (ERROR, ERROR_CONTENT, MESSAGE)], headed)
    frames(
        "after-final", "BODY after FINAL, which libsodium opens.", "EX-26", [good, end, (BODY, b"x", MESSAGE)], ended
    )
    frames("after-error", "TRAILER after ERROR.", "EX-26", [(ERROR, ERROR_CONTENT, FINAL), end], [error])
    long = (TRAILER, TRAILER_CONTENT + proto(9, bytes(4096)), FINAL)
    frames("trailer-long", "A TRAILER over its limit.", "EX-37", [good, long], headed)
    sender = exchange.responder()
    start = b"\xe1\x01" + sender.header + sender.frame(HEAD, RESPONSE_HEAD)
    padded = struct.pack(">BI", BODY, 1) + b"x" + bytes(500) + b"\x01"
    bad("padding", "Padding that ends in a one.", "EX-27", start + sender.raw(padded), headed)
    bad("frame-16", "A frame shorter than its seal.", "EX-21", start + struct.pack(">I", 16), headed)
    bad("frame-65537", "A frame longer than the limit.", "EX-21", start + struct.pack(">I", 65537), headed)


def generate() -> dict[str, str]:
    """Return every file's name and text."""
    SCENARIOS.clear()
    add_good()
    add_bad_openings()
    add_bad_frames()
    add_bad_responses()
    return {f"{name}.json": json.dumps(content, indent=1) + "\n" for name, content in SCENARIOS.items()}


def record() -> None:
    """Record an encapsulation of suite 2, with the library's own randomness."""
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

    mlkem = MLKEM768PrivateKey.from_seed_bytes(SEEDS[XWING][:64])
    x25519 = X25519PrivateKey.from_private_bytes(SEEDS[XWING][64:])
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    key_id = hashlib.sha256(bytes([XWING]) + public).digest()[:8]
    prefix = b"\xe1\x01\x02" + key_id + struct.pack(">H", 1168)
    context = b"sealmesh/1 seal\x00" + prefix + ENDPOINT_ID + EPOCH_DIGEST
    secret = fixed("suite 2 secret", 32)
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    encapsulation = suite.encrypt(secret, MLKEM768X25519PrivateKey(mlkem, x25519).public_key(), info=context)
    values = {"public": public, "context": context, "secret": secret, "encapsulation": encapsulation}
    RECORD.write_text(json.dumps({name: value.hex() for name, value in values.items()}, indent=1) + "\n")


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Regenerate testvectors/sealed.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--record", action="store_true", help="draw another encapsulation for suite 2 first")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if arguments.record or not RECORD.exists():
        record()
    files = generate()
    if arguments.check:
        stale = [name for name, text in files.items() if (FOLDER / name).read_text() != text]
        print("\n".join(stale) or "all vectors are as generated")
        return 1 if stale else 0
    for name, text in files.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
