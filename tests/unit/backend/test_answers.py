from __future__ import annotations

import json

import pytest

from sealmesh import limits
from sealmesh.backend.answers import MESSAGE_MAX, WholeAnswer, engine_error, error_object, usage_from, usage_in_tail
from sealmesh.backend.base import Usage


async def read_all(answer: WholeAnswer) -> bytes:
    out = b""
    while piece := await answer.read():
        out += piece
    return out


async def test_a_whole_answer_is_read_in_bounded_pieces() -> None:
    body = bytes(range(256)) * 300
    answer = WholeAnswer(200, body)
    first = await answer.read()
    assert len(first) == limits.BACKEND_CHUNK
    assert first + await read_all(answer) == body


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error":{"message":"bad","type":"t","code":"c","param":"p"}}', (400, "bad", "c", "p")),
        (404, b'{"error":"model not found"}', (404, "model not found", "invalid_request", None)),
        (422, b'{"detail":"no"}', (422, "no", "invalid_request", None)),
        (422, b'{"detail":[{"loc":["body"]}]}', (422, "The engine answered with status 422.", "invalid_request", None)),
        (500, b"Internal Server Error", (500, "The engine answered with status 500.", "engine_error", None)),
        (500, b"\xff\xfe", (500, "The engine answered with status 500.", "engine_error", None)),
        (503, b"", (503, "The engine answered with status 503.", "engine_error", None)),
        (
            400,
            b'{"object":"error","message":"The model\'s maximum context length is 10 tokens","type":"BadRequest"}',
            (400, "The model's maximum context length is 10 tokens", "context_length_exceeded", None),
        ),
        (
            413,
            b'{"error":{"message":"x","type":"exceed_context_size_error"}}',
            (400, "x", "context_length_exceeded", None),
        ),
    ],
)
async def test_engines_errors_become_openai_errors(
    status: int, body: bytes, expected: tuple[int, str, str, str | None]
) -> None:
    answer = engine_error(status, body)
    error = json.loads(await read_all(answer))["error"]
    assert (answer.status, error["message"], error["code"], error["param"]) == expected
    assert set(error) == {"message", "type", "param", "code"}


async def test_an_error_is_bounded() -> None:
    answer = engine_error(500, json.dumps({"error": {"message": "m" * 100_000, "code": "c" * 1000}}).encode())
    error = json.loads(await read_all(answer))["error"]
    assert (len(error["message"]), len(error["code"])) == (MESSAGE_MAX, 64)


def test_rate_limits_have_their_own_type() -> None:
    assert json.loads(error_object(429, "c", "m"))["error"]["type"] == "rate_limit_error"


CHAT_USAGE = b'"usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}'


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (
            b'data: {"choices":[],' + CHAT_USAGE + b"}\n\ndata: [DONE]\n\n",
            Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2),
        ),
        (b'ut","' + b'"usage" : {"input_tokens": 4, "output_tokens": 1}}', Usage(prompt_tokens=4, completion_tokens=1)),
        (
            b"{" + CHAT_USAGE + b'}\n\ndata: {"usage":null}\n\n',
            Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2),
        ),
        (b'{"content":"\\"usage\\": {\\"prompt_tokens\\": 9}"}', None),
        (b'{"usage": {"prompt_tok', None),
        (b'"usage"', None),
        (b'{"usage": {"prompt_tokens": true, "completion_tokens": -1}}', Usage()),
        (b'{"usage": ' + b"[" * 4000, None),
        (b"", None),
    ],
)
def test_token_counts_are_found_in_a_tail(tail: bytes, expected: Usage | None) -> None:
    assert usage_in_tail(tail) == expected


def test_no_counts_in_what_is_no_object() -> None:
    assert usage_from([1]) is None
