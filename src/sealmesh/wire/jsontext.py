"""What is asked of JSON before any parser builds something of it: that it is UTF-8, and shallow.

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
