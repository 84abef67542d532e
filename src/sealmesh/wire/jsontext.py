"""What is asked of JSON before any parser builds something of it: that it is UTF-8, shallow, and of few parts.

Both sides of an exchange ask it: the asker's node of an app, and the host of an asker.
"""

from __future__ import annotations

import codecs
import itertools
import re
from typing import Final

_UTF8_SLICE: Final = 64 * 1024
# An unfinished string or escape is taken to the end, so that no byte is ever looked at twice.
_STRING_OR_NOT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^"]++', re.DOTALL)
_NOT_BRACKETS: Final = bytes(each for each in range(256) if each not in b"[]{}")
_NOT_MARKS: Final = bytes(each for each in range(256) if each not in b"[]{},")
_COMMA: Final = ord(",")
_QUOTE: Final = ord('"')
_IS_NAME: Final = re.compile(rb"[ \t\r\n]*+:")
_STEP: Final = [0] * 256
_STEP[ord("[")] = _STEP[ord("{")] = 1
_STEP[ord("]")] = _STEP[ord("}")] = -1


def is_utf8(text: bytes | bytearray) -> bool:
    """Whether the bytes are UTF-8. Slice by slice: a decoded copy could take four times the text."""
    if text.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with memoryview(text) as view:
            for at in range(0, len(text), _UTF8_SLICE):
                decoder.decode(view[at : at + _UTF8_SLICE])
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def is_deeper_than(text: bytes | bytearray, levels: int) -> bool:
    """Whether objects and lists are nested deeper than so many levels (attack A13). Takes linear time."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    depth = 0
    for found in _STRING_OR_NOT.finditer(text):
        if text[found.start()] == ord('"'):
            continue
        brackets = found.group().translate(None, _NOT_BRACKETS)
        if brackets:
            for reached in itertools.accumulate(map(_STEP.__getitem__, brackets), initial=depth):
                if reached > levels:
                    return True
                depth = reached
    return False


def has_more_members_than(text: bytes | bytearray, most: int) -> bool:
    """Whether an object or list has more members at its top level than so many (attack A13). Takes linear time.

    A parser makes objects of each: of 64 MiB of them it makes more than a gigabyte, in seconds in which no other thread
    of the process runs.
    """
    if text.count(b",") < most:
        return False
    depth = members = 0
    for found in _STRING_OR_NOT.finditer(text):
        if text[found.start()] == ord('"'):
            continue
        marks = found.group().translate(None, _NOT_MARKS)
        if len(marks) == marks.count(b","):
            members += len(marks) if depth == 1 else 0
        else:
            for mark in marks:
                depth += _STEP[mark]
                members += depth == 1 and mark == _COMMA
        if members >= most:
            return True
    return False


def has_more_values_than(text: bytes | bytearray, most: int) -> bool:
    """Whether a text holds more lists, objects and further members of them than so many. Takes linear time."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") <= most:
        return False
    values = 0
    for found in _STRING_OR_NOT.finditer(text):
        if text[found.start()] != ord('"'):
            part = found.group()
            values += part.count(b",") + part.count(b"[") + part.count(b"{")
            if values > most:
                return True
    return False


def fold_long_values(text: bytes, *, longest: int, token: bytes) -> tuple[bytes, list[memoryview]]:
    """Stand short names in for string values longer than so many bytes, so that a parser copies none. Linear.

    Args:
        text: JSON, or what claims to be.
        longest: Strings up to so many bytes, quotes included, stay; so do the names of members.
        token: Letters and digits that nobody else knows, so that no string of the text is taken for a stand-in.

    Returns:
        The text with stand-ins, which begin with `data:` where the value does, and the values in order.
    """
    values: list[memoryview] = []
    pieces: list[bytes | memoryview] = []
    view, kept_to = memoryview(text), 0
    for found in _STRING_OR_NOT.finditer(text):
        start, end = found.span()
        # What ends with the text is no value of an object, or no string: it may lack its end.
        if end - start <= longest or text[start] != _QUOTE or end == len(text) or _IS_NAME.match(text, end):
            continue
        link = b"data:" if text.startswith(b'"data:', start) else b""
        pieces += [view[kept_to:start], b'"%b%b:%d"' % (link, token, len(values))]
        values.append(view[start:end])
        kept_to = end
    return b"".join([*pieces, view[kept_to:]]), values


def unfold_values(text: bytes, values: list[memoryview], *, token: bytes) -> bytes:
    """Put the values back that `fold_long_values` took out, with one copy of the whole."""
    pieces: list[bytes | memoryview] = []
    kept_to = 0
    for found in re.finditer(b'"(?:data:)?' + token + rb':(\d+)"', text):
        pieces += [text[kept_to : found.start()], values[int(found[1])]]
        kept_to = found.end()
    return b"".join([*pieces, text[kept_to:]])
