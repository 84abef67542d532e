"""A18: no text of a prompt or an answer in a log, an error, a repr or a counter of the API."""

from __future__ import annotations

import logging

import pytest
from tests.unit.api.world import SSE_HEADERS, ScriptedAnswer, chat, serving

from sealmesh.api.connection import HttpRequest
from sealmesh.api.heads import parse_head_untrusted
from sealmesh.errors import HostLostError

SECRET = "marzipan-telescope-4711"


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize(
    "body",
    [
        chat(text=SECRET)[:-1],
        chat(text=SECRET) + b"x",
        chat(text=SECRET, stream=False).replace(b'"stream": false', b'"stream": "' + SECRET.encode() + b'"'),
        b'{"model": "echo", "messages": "' + SECRET.encode() + b'"}',
        b'{"model": ["' + SECRET.encode() + b'"], "messages": []}',
        b'{"model": "echo", "messages": [{"content": "' + SECRET.encode() + b'\xff"}]}',
        b'{"model": "echo", "messages": [{"content": "' + SECRET.encode() + b'\\q"}]}',
        b'{"' + SECRET.encode() + b'": ' + b"[" * 1000,
        b'"' + SECRET.encode() + b'"',
        SECRET.encode(),
    ],
)
async def test_a_request_that_is_refused_leaves_no_text(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as world:
        answer = await world.raw(world.post(body))
        assert answer.status == 400
        _assert_clean(answer.body, world.server.results, caplog)


async def test_an_unknown_path_and_a_wrong_head_leave_no_text(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as world:
        for request in (
            world.head(f"GET /v1/{SECRET}?{SECRET}"),
            world.head(f"GET /v1/models/{SECRET}"),
            world.head(f"{SECRET} /"),
            world.head("GET /v1/models", f"Authorization: Bearer {SECRET}", f"Content-Length: {SECRET}"),
            f"GET / HTTP/1.1\r\nHost: {SECRET}\r\n\r\n".encode(),
        ):
            answer = await world.raw(request)
            assert answer.status >= 400
            _assert_clean(answer.body, world.server.results, caplog)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("error", [ValueError(SECRET), HostLostError(SECRET), KeyError(SECRET), RuntimeError(SECRET)])
async def test_an_error_whose_words_hold_text_leaves_none(
    error: Exception, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    first = b"data: {}\n\n" if stream else b"{"
    scripts = (lambda _: error, lambda _: ScriptedAnswer([first, error], headers=SSE_HEADERS))
    for script in scripts:
        async with serving(script) as world:
            answer = await world.raw(world.post(chat(text=SECRET, stream=stream)))
            assert b'"error"' in answer.body
            _assert_clean(answer.body, world.server.results, caplog)
    if not isinstance(error, HostLostError):
        assert any(type(error).__name__ in record.getMessage() for record in caplog.records)


async def test_a_whole_request_leaves_no_text(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(lambda request: ScriptedAnswer([request.body])) as world:
        assert SECRET.encode() in (await world.raw(world.post(chat(text=SECRET, user=SECRET)))).body
        _assert_clean(b"", world.server.results, caplog)
        assert SECRET not in repr(world.asker.asked[0])


def test_requests_and_heads_show_no_content() -> None:
    head = parse_head_untrusted(f"GET /?{SECRET} HTTP/1.1\r\nAuthorization: {SECRET}\r\n\r\n".encode())
    request = HttpRequest(head)
    request.body = SECRET.encode()
    assert SECRET not in repr(head) + repr(request)


def _assert_clean(body: bytes, results: object, caplog: pytest.LogCaptureFixture) -> None:
    assert SECRET.encode() not in body
    assert SECRET not in repr(results)
    for record in caplog.records:
        assert SECRET not in record.getMessage() + repr(record.args) + str(record.exc_text)
        assert record.exc_info is None or SECRET not in repr(record.exc_info[1])
