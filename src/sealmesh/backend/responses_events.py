"""An engine's chat events as the events of the Responses API, in their documented order.

The one place where an engine's events are parsed: chat itself passes through unread. An answer is called complete only
when the engine gave a reason to finish, said `[DONE]`, and its stream came to its proper end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sealmesh import limits
from sealmesh.backend.responses import (
    CUT_REASONS,
    TEXTS,
    WHOLE_REASONS,
    Answered,
    Item,
    arguments_of,
    choice_of,
    garbled,
    new_call,
    new_message,
    response_usage,
)
from sealmesh.errors import BackendError

#: Characters of one streamed answer. The last event repeats them all, each as up to six bytes, and must stay an event
#: that a client node takes (`limits.SSE_EVENT_MAX`).
TEXT_MAX: Final = limits.SSE_EVENT_MAX // 8
_ITEMS_MAX: Final = 128  # a tool call's frame in the last event is a few hundred bytes


class ChatEvents:
    """Takes an engine's event stream apart: bytes in, the data of whole events out."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    @property
    def between(self) -> bool:
        """Whether nothing of an event is waiting for its rest."""
        return not self._held.strip() and not self._data

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Return the data of each event that is now whole.

        Raises:
            BackendError: An event is too long.
        """
        searched = len(self._held)
        self._held += data
        if data.find(b"\n") < 0:
            lines: list[bytes] = []
            self._check(searched + len(data))
        else:
            *lines, rest = bytes(self._held).split(b"\n")
            self._held = bytearray(rest)
        events: list[bytes] = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
                self._size += len(text)
                self._check(self._size)
            elif not text and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        return events

    def _check(self, size: int) -> None:
        if size > limits.SSE_EVENT_MAX:
            raise garbled("The engine sent an event that is too long.")


class ResponseEvents:
    """Makes the events of the Responses API out of chat's, in their documented order.

    Events wait in order until they are taken, also those that were made before a failure.

    Args:
        answered: What all Response objects have in common.
    """

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._number = 0
        self._made = bytearray()
        self._output: list[dict[str, Any]] = []
        self._open: Item | None = None
        self._call = -1  # chat's index of the open call
        self._finish = ""
        self._usage: dict[str, Any] | None = None
        self._said_done = False
        self._room = TEXT_MAX

    @property
    def begun(self) -> bool:
        """Whether any event was made."""
        return self._number > 0

    def take(self) -> bytes:
        """Return the events made since the last call."""
        made, self._made = bytes(self._made), bytearray()
        return made

    def add_untrusted(self, data: bytes) -> None:
        """Take the data of one chat event.

        Raises:
            BackendError: It is none of chat's, an error, or follows the last word.
        """
        if self._said_done:
            raise garbled("The engine went on after the end of its answer.")
        if data.strip() == b"[DONE]":
            self._said_done = True
            return
        try:
            fields: Any = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise garbled() from None
        choice = choice_of(fields)
        self._usage = response_usage(fields.get("usage")) or self._usage
        self._begin()
        if choice is None:
            return
        delta = choice.get("delta") or {}
        finish = choice.get("finish_reason")
        calls = delta.get("tool_calls") or [] if isinstance(delta, dict) else None
        if calls is None or not isinstance(calls, list) or not isinstance(finish, str | None):
            raise garbled()
        for source, part, member, stem in TEXTS:
            text = delta.get(source)
            if not isinstance(text, str | None):
                raise garbled()
            if text:
                self._say(part, member, stem, text)
        for call in calls:
            self._add_call(call)
        self._finish = finish or self._finish

    def end(self) -> None:
        """The engine's stream has come to its proper end: make the last events.

        Raises:
            BackendError: It had not said that it is done, or why.
        """
        if not self._said_done or self._finish not in (*WHOLE_REASONS, *CUT_REASONS):
            raise BackendError(502, "engine_cut", "The engine ended its answer without saying that it is done.")
        self._begin()
        if not self._output:
            self._open_item(new_message(self._name(), "output_text"))
            self._open_part("output_text", "text", "response.output_text")
        self._close(whole=self._finish in WHOLE_REASONS)
        ended = self._answered.ended(self._finish, self._output, self._usage)
        self._event(f"response.{ended['status']}", response=ended)

    def fail(self, message: str) -> None:
        """Make the event of an answer that failed, which is the last one."""
        if self._open is not None:
            self._open.done()["status"] = "incomplete"
            self._open = None
        failed = self._answered.response("failed", self._output, usage=self._usage, error=message)
        self._event("response.failed", response=failed)

    def _event(self, kind: str, **fields: Any) -> None:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        self._made += b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _begin(self) -> None:
        if not self._number:
            begun = self._answered.response("in_progress", [])
            self._event("response.created", response=begun)
            self._event("response.in_progress", response=begun)

    def _name(self) -> str:
        return f"{self._answered.identifier}_{len(self._output)}"

    def _place(self, item: Item) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": item.fields["id"], "output_index": len(self._output) - 1}
        if item.kind != "function_call":
            place["content_index"] = len(item.fields["content"])
        return place

    def _take_room(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise garbled("The engine's answer is longer than one streamed response may be.")

    def _say(self, part: str, member: str, stem: str, text: str) -> None:
        self._take_room(text)
        item = self._open
        if item is None or item.kind != ("reasoning" if part == "reasoning_text" else "message"):
            self._close()
            item = new_message(self._name(), part)
            self._open_item(item)
        if item.part != part:
            self._close_part()
            self._open_part(part, member, stem)
        item.text.append(text)
        more: dict[str, Any] = {"logprobs": []} if part == "output_text" else {}
        self._event(f"{stem}.delta", **self._place(item), delta=text, **more)

    def _add_call(self, call: object) -> None:
        if not isinstance(call, dict):
            raise garbled()
        index = call.get("index", 0)
        if not isinstance(index, int) or index < 0:
            raise garbled()
        item = self._open
        if index != self._call or item is None or item.kind != "function_call":
            if index <= self._call:
                raise garbled("The engine went back to a tool call that it had ended.")
            self._close()
            item = new_call(self._name(), call)
            self._take_room(item.fields["name"] + item.fields["call_id"])
            self._call = index
            self._open_item(item)
        piece = arguments_of(call)
        if piece:
            self._take_room(piece)
            item.text.append(piece)
            self._event("response.function_call_arguments.delta", **self._place(item), delta=piece)

    def _open_item(self, item: Item) -> None:
        if len(self._output) >= _ITEMS_MAX:
            raise garbled("The engine's answer has too many parts.")
        self._output.append(item.fields)
        self._open = item
        self._event("response.output_item.added", output_index=len(self._output) - 1, item=item.fields)

    def _open_part(self, part: str, member: str, stem: str) -> None:
        item = self._open
        if item is None:
            return
        item.part, item.member, item.stem, item.text = part, member, stem, []
        self._event("response.content_part.added", **self._place(item), part=item.part_object(""))

    def _close_part(self) -> None:
        item = self._open
        if item is None or not item.part:
            return
        place, text = self._place(item), item.take_text()
        more: dict[str, Any] = {"logprobs": []} if item.part == "output_text" else {}
        self._event(f"{item.stem}.done", **place, **{item.member: text}, **more)
        self._event("response.content_part.done", **place, part=item.part_object(text))
        item.fields["content"] = [*item.fields["content"], item.part_object(text)]
        item.part, item.text = "", []

    def _close(self, *, whole: bool = True) -> None:
        item = self._open
        if item is None:
            return
        if item.kind == "function_call":
            text = item.take_text()
            fields = {"name": item.fields["name"], "arguments": text}
            self._event("response.function_call_arguments.done", **self._place(item), **fields)
        else:
            self._close_part()
        done = item.done()
        done["status"] = "completed" if whole else "incomplete"
        self._open = None
        self._event("response.output_item.done", output_index=len(self._output) - 1, item=done)
