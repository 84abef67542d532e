"""An exchange that is not sealed, for hosts without a key (docs/spec/plain.md).

The frames, their order and their bounds are those of a sealed exchange, by the same code; what seals is left out. The
ends have types of their own: nothing here can be handed a verified host, and nothing that seals a plain one.
"""

from __future__ import annotations

from typing import Final

from sealmesh.attestation.plain import PlainHost, check_plain
from sealmesh.errors import RemoteProtocolError
from sealmesh.sealed.answering import AnsweringEnd
from sealmesh.sealed.asking import AskingEnd
from sealmesh.sealed.clear import BareReader, BareWriter
from sealmesh.sealed.events import Event, HeadEvent, Opened
from sealmesh.sealed.frames import FRAME_HEAD_LENGTH, PLAINTEXT_MAX
from sealmesh.sealed.messages import parse_request_head_untrusted
from sealmesh.sealed.refusal import Refusal
from sealmesh.sealed.stream import FrameCutter
from sealmesh.sealed.suites import VERSION, RandomBytes
from sealmesh.wire.framing import StreamKind

#: What each direction begins with.
PREAMBLE: Final = bytes([StreamKind.PLAIN, VERSION])


def _cutter() -> FrameCutter:
    return FrameCutter(least=FRAME_HEAD_LENGTH, most=PLAINTEXT_MAX)  # [PL-9]


class PlainClientExchange(AskingEnd):
    """The asker's end of an exchange that is not sealed.

    Args:
        host: To whom, as `permit_plain` returned it.
        random: Names the exchange at this node.
        kind_sent: The stream's kind byte has gone out already.

    Raises:
        LocalProtocolError: `host` is not a PlainHost.
    """

    def __init__(self, host: PlainHost, *, random: RandomBytes, kind_sent: bool = False) -> None:
        super().__init__(random, cutter=_cutter())
        check_plain(host)  # [PL-1]
        self.exchange_id = random(16)
        self._sealing = BareWriter()
        self._preamble = PREAMBLE[1 if kind_sent else 0 :]

    def _start_reading_untrusted(self, first: int) -> None:
        if first != StreamKind.PLAIN:
            raise RemoteProtocolError("the response begins with an unknown byte")
        start = self._cutter.take(len(PREAMBLE))
        if start is None:
            return
        if start != PREAMBLE:
            raise RemoteProtocolError("the response is of another version")
        self._opening = BareReader()


class PlainHostExchange(AnsweringEnd):
    """The host's end of an exchange that is not sealed.

    Args:
        random: Source of randomness; nothing here needs any.
        kind_read: The stream's kind byte was taken off before, so the first bytes fed lack it.
    """

    def __init__(self, *, random: RandomBytes, kind_read: bool = False) -> None:
        super().__init__(random, cutter=_cutter())
        if kind_read:
            self._cutter.feed(PREAMBLE[:1])

    def _open_request_untrusted(self, now: float) -> None:  # noqa: ARG002 - a plain request has no time
        start = self._cutter.take(len(PREAMBLE))
        if start is None:
            return
        if start[0] != StreamKind.PLAIN:
            raise RemoteProtocolError("the stream is of another kind", code=Refusal.MALFORMED)
        if start[1] != VERSION:
            raise RemoteProtocolError("the version is not known", code=Refusal.UNSUPPORTED)  # [PL-8]
        self._opening = BareReader()

    def _accept_head_untrusted(self, content: memoryview, events: list[Event]) -> None:
        self._sealing = BareWriter()
        self._preamble = PREAMBLE
        head = parse_request_head_untrusted(content)
        self._padding = head.padding
        events.append(Opened(exchange_id=b"", suite=None))
        events.append(HeadEvent(head=head))
