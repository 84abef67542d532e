"""Both ends of an exchange against the state table as docs/spec/exchange.md prints it, with the bytes between them.

A rule-based machine calls either end in any order, legal or not, lets bytes arrive in any cuts, ends streams, damages
what is on its way, and wipes. A model that knows nothing but the page's table says what each call must do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit.sealed import ANSWER_HEAD, HEAD, NOW, TRAILER, Pair
from sealmesh.errors import LocalProtocolError, RemoteProtocolError
from sealmesh.sealed.exchange import (
    BodyEvent,
    EndEvent,
    ErrorEvent,
    HeadEvent,
    Opened,
    PingEvent,
    RefusedEvent,
    SealedError,
)
from sealmesh.sealed.suites import Suite

PAGE = Path(__file__).parents[2] / "docs/spec/exchange.md"
ERROR = SealedError(status=500, code="internal", message="")
KINDS = ("HEAD", "BODY", "TRAILER", "PING", "ERROR")
ENDED = ("COMPLETE", "ABORTED", "FAILED")


def table() -> dict[tuple[str, str], str]:
    """(phase, kind) → phase, as the page says it."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().partition("by scripts/spec_tables.py -->")[2].partition("<!-- end")[0].splitlines()
        if line.startswith("|")
    ]
    kinds = rows[0][1:]
    moves = {}
    for row in rows[2:]:
        for phase in row[0].split(", "):
            for kind, cell in zip(kinds, row[1:], strict=True):
                if (match := re.match(r"[A-Z]+", cell)) is not None:
                    moves[phase, kind] = match[0]
    return moves


TABLE = table()


def test_the_page_has_a_table() -> None:
    assert len(TABLE) == 7
    assert TABLE["BODY", "TRAILER"] == "COMPLETE"


@dataclass
class Model:
    """One end: what it has sent, what it has taken in, what is on its way to it."""

    sent: str = "START"  # phase of its own direction
    heard: str = "START"  # phase of the other direction, as far as it arrived
    way: bytearray = field(default_factory=bytearray)  # bytes to this end that have not arrived
    waiting: list[tuple[int, str, list[Any]]] = field(default_factory=list)  # (bytes left, kind, events) of each frame
    expected: list[Any] = field(default_factory=list)
    released: list[Any] = field(default_factory=list)
    frames: int = 0
    opened: bool = False
    dead: bool = False  # failed, refused or wiped: nothing but errors from here on

    def die(self) -> None:
        self.dead = True
        self.sent = self.sent if self.sent in ENDED else "FAILED"
        self.heard = self.heard if self.heard in ("COMPLETE", "ABORTED") else "FAILED"


def say(events: list[Any]) -> list[Any]:
    """Return events as words, adjacent bodies joined and adjacent pings counted once."""
    said: list[Any] = []
    for event in events:
        match event:
            case BodyEvent(data=data):
                word: Any = ("body", data)
            case PingEvent():
                word = "ping"
            case Opened():
                word = "opened"
            case HeadEvent():
                word = "head"
            case ErrorEvent(error=error):
                word = ("error", error.status)
            case EndEvent(trailer=trailer):
                word = ("end", trailer.prompt_tokens)
            case RefusedEvent():
                word = "refused"
            case _:
                word = event  # a word already
        if said and word == "ping" == said[-1]:
            continue
        if said and isinstance(word, tuple) and word[0] == "body" == said[-1][0]:
            said[-1] = ("body", said[-1][1] + word[1])
            continue
        said.append(word)
    return said


class ExchangeMachine(RuleBasedStateMachine):
    """Client and host, the model of each, and two directions of bytes."""

    @initialize(suite=st.sampled_from(Suite), padding=st.sampled_from([0, 0, 64]), calm=st.integers(0, 40))
    def begin(self, suite: Suite, padding: int, calm: int) -> None:
        self.pair = Pair(suite=suite)
        self.head = type(HEAD)(operation=HEAD.operation, headers=HEAD.headers, padding=padding)
        self.client, self.host = Model(), Model()
        self.calm = calm  # how many steps pass before anything is damaged, cut or wiped: else few runs get far

    def _stormy(self) -> bool:
        return self.calm <= 0

    # --- what either end may be told to send ---

    def _allowed(self, by_client: bool, kind: str) -> str | None:
        own = self.client if by_client else self.host
        if own.dead or own.heard == "ABORTED" or (not by_client and not own.opened):
            return None
        if not by_client and kind == "HEAD" and own.heard != "COMPLETE":
            return None
        return TABLE.get((own.sent, kind))

    def _call(self, by_client: bool, kind: str, data: bytes) -> Callable[[], bytes]:
        client, host = self.pair.client, self.pair.host
        end = client if by_client else host
        return {
            "HEAD": (lambda: client.send_head(self.head)) if by_client else (lambda: host.send_head(ANSWER_HEAD)),
            "BODY": lambda: end.send_body(data),
            "PING": end.send_ping,
            "TRAILER": client.finish if by_client else (lambda: host.finish(TRAILER)),
            "ERROR": lambda: end.send_error(ERROR),
        }[kind]

    @rule(by_client=st.booleans(), kind=st.sampled_from(KINDS), data=st.binary(max_size=40), arrive=st.booleans())
    def send(self, by_client: bool, kind: str, data: bytes, arrive: bool) -> None:
        """Call anything, allowed or not."""
        self._send(by_client, kind, data)
        if arrive:
            self._deliver(not by_client, 100, False)

    @rule(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=8))
    def get_on(self, steps: list[tuple[bool, int, int]]) -> None:
        """Several steps of what the table allows, seldom an ERROR; what is sent arrives at once, or waits."""
        for by_client, pick, wait in steps:
            kinds = [kind for kind in KINDS if self._allowed(by_client, kind) is not None]
            if kinds:
                self._send(by_client, kinds[pick % max(1, len(kinds) - 1) if pick < 7 else -1], b"some text")
                if not wait:
                    self._deliver(not by_client, 100, False)

    def _send(self, by_client: bool, kind: str, data: bytes) -> None:
        self.calm -= 1
        own, other = (self.client, self.host) if by_client else (self.host, self.client)
        target = self._allowed(by_client, kind)
        call = self._call(by_client, kind, data)
        if target is None:
            with pytest.raises(LocalProtocolError):
                call()
            return
        sealed = call()
        if kind == "BODY" and not data:
            assert sealed == b""
            return
        own.sent = target
        events: dict[str, list[Any]] = {
            "HEAD": ["opened", "head"] if by_client else ["head"],
            "BODY": [("body", data)],
            "PING": ["ping"],
            "TRAILER": [("end", 0 if by_client else TRAILER.prompt_tokens)],
            "ERROR": [("error", ERROR.status)],
        }
        other.way += sealed
        other.waiting.append((len(sealed), kind, events[kind]))

    # --- what arrives ---

    def _receive(self, to_client: bool, data: bytes) -> list[Any]:
        if to_client:
            return list(self.pair.client.receive_untrusted(data))
        return list(self.pair.host.receive_untrusted(data, NOW))

    def _deaf(self, to_client: bool) -> bool:
        """Whether an end throws away what comes: a host that has ended before the request did."""
        return not to_client and self.host.sent in ENDED and self.host.heard not in ("COMPLETE", "ABORTED")

    def _arrived(self, model: Model, to_client: bool, length: int) -> None:
        while length and model.waiting:
            left, kind, events = model.waiting[0]
            taken = min(left, length)
            length -= taken
            model.waiting[0] = (left - taken, kind, events)
            if left == taken:
                model.waiting.pop(0)
                if kind == "refusal":
                    model.expected.append("refused")
                    model.die()
                    continue
                model.expected += events
                model.frames += 1
                model.heard = TABLE[model.heard, kind]
                model.opened |= kind == "HEAD" and not to_client

    @rule(to_client=st.booleans(), share=st.integers(0, 100), one_by_one=st.booleans())
    def deliver(self, to_client: bool, share: int, one_by_one: bool) -> None:
        """Some of what is on its way arrives."""
        self._deliver(to_client, share, one_by_one)

    @rule(to_client=st.booleans())
    def deliver_all(self, to_client: bool) -> None:
        """All of it does."""
        self._deliver(to_client, 100, False)

    def _deliver(self, to_client: bool, share: int, one_by_one: bool) -> None:
        model = self.client if to_client else self.host
        if model.dead:
            return
        length = -(-len(model.way) * share // 100)
        data = bytes(model.way[:length])
        del model.way[:length]
        pieces = [data[i : i + 1] for i in range(length)] if one_by_one and length < 400 else [data]
        for piece in pieces:
            deaf = self._deaf(to_client)
            got = self._receive(to_client, piece)
            if deaf:
                assert got == []
                continue
            model.released += got
            self._arrived(model, to_client, len(piece))
        assert say(model.released) == say(model.expected)

    @precondition(lambda self: self._stormy())
    @rule(to_client=st.booleans())
    def deliver_the_end(self, to_client: bool) -> None:
        """The stream to one end is over, though it may have been in the middle of a frame [EX-28]."""
        model = self.client if to_client else self.host
        if model.dead:
            return
        end = self.pair.client if to_client else self.pair.host
        if model.heard in ("COMPLETE", "ABORTED") or (not to_client and model.sent in ("COMPLETE", "ABORTED")):
            end.receive_eof_untrusted()
            return
        with pytest.raises(RemoteProtocolError):
            end.receive_eof_untrusted()
        model.die()

    @precondition(lambda self: self._stormy() and (self.client.way or self.host.way))
    @rule(to_client=st.booleans(), place=st.integers(0, 1 << 16), change=st.integers(1, 255), cut=st.booleans())
    def damage(self, to_client: bool, place: int, change: int, cut: bool) -> None:
        """Something on the way is changed; all of it arrives, and then the end: that must not pass [EX-20]."""
        model = self.client if to_client else self.host
        if model.dead or not model.way or self._deaf(to_client):
            return
        if model.waiting and model.waiting[0][1] == "refusal":
            return  # what is not authenticated can be changed into another of its kind
        data = bytearray(model.way)
        data[place % len(data)] ^= change
        model.way.clear()
        model.waiting.clear()
        end = self.pair.client if to_client else self.pair.host
        released: list[Any] = []
        with pytest.raises(RemoteProtocolError) as caught:  # noqa: PT012 - wherever it is noticed
            for piece in [bytes([byte]) for byte in data] if cut else [bytes(data)]:
                released += self._receive(to_client, piece)
            end.receive_eof_untrusted()
        assert not any(isinstance(event, EndEvent) for event in released)
        with pytest.raises(RemoteProtocolError) as again:
            self._receive(to_client, b"")
        assert again.value is caught.value
        model.opened |= any(isinstance(event, Opened) for event in released)
        model.die()
        model.heard = "FAILED"
        model.expected = say(model.released + released)
        model.released += released
        model.frames = end.heard
        if not to_client and self.pair.host.refusal is not None and self.pair.host.refusal[0] == 0xE0:
            assert not model.opened
            self.client.way += self.pair.host.refusal
            self.client.waiting.append((len(self.pair.host.refusal), "refusal", []))

    @precondition(lambda self: self._stormy())
    @rule(of_client=st.booleans())
    def wipe(self, of_client: bool) -> None:
        """An end is given up: it seals and opens nothing more [EX-24]."""
        model, end = (self.client, self.pair.client) if of_client else (self.host, self.pair.host)
        end.wipe()
        model.die()
        model.heard = model.heard if model.heard in ENDED else "FAILED"

    # --- what holds always ---

    @invariant()
    def the_phases_are_the_tables(self) -> None:
        if not hasattr(self, "pair"):
            return
        client = f"<ClientExchange request={self.client.sent.lower()} response={self.client.heard.lower()}>"
        host = f"<HostExchange request={self.host.heard.lower()} response={self.host.sent.lower()}>"
        assert (repr(self.pair.client), repr(self.pair.host)) == (client, host)

    @invariant()
    def what_was_released_is_what_was_sent(self) -> None:
        if not hasattr(self, "pair"):
            return
        for model, end in ((self.client, self.pair.client), (self.host, self.pair.host)):
            assert say(model.released) == say(model.expected)
            assert end.heard == model.frames
        assert self.pair.host.opened == self.host.opened
        assert self.pair.client.complete == (self.client.heard == "COMPLETE")
        assert self.pair.client.ended == (self.client.heard in ENDED or self.client.sent in ("ABORTED", "FAILED"))
        assert self.pair.host.ended == (self.host.sent in ENDED or self.host.heard in ("ABORTED", "FAILED"))


TestExchangeMachine = ExchangeMachine.TestCase
TestExchangeMachine.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)
