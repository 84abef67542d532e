"""The OpenAI surface over real sockets, with a scripted asker behind it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from pathlib import Path

import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.api.world import (
    PROOF,
    SSE_HEADERS,
    ScriptedAnswer,
    ScriptedAsker,
    chat,
    read_response,
    serving,
)

from sealmesh.errors import (
    BackendError,
    BusyError,
    HostLostError,
    HostTooSlowError,
    RoutingError,
    RoutingFault,
)

TOKENS = [
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"echo","choices":'
    b'[{"index":0,"delta":{"content":"%d "},"finish_reason":null}]}\n\n' % n
    for n in range(5)
]
DONE = b"data: [DONE]\n\n"
PLAIN = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "echo",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
).encode()
MESSAGES = [{"role": "user", "content": "hi"}]


def sdk(base: str, **options: object) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, **options)  # type: ignore[arg-type]


async def test_the_openai_sdk_gets_a_plain_answer_and_its_proof() -> None:
    async with serving(lambda _: ScriptedAnswer([PLAIN[:20], PLAIN[20:]])) as world, sdk(world.base) as client:
        raw = await client.chat.completions.with_raw_response.create(model="echo", messages=MESSAGES)
        answer = raw.parse()
        assert answer.choices[0].message.content == "hello"
        assert answer.usage.completion_tokens == 2
        assert {name: raw.headers[name] for name, _ in PROOF.headers()} == dict(PROOF.headers())
    asked = world.asker.asked[0]
    assert (asked.model, asked.stream, asked.operation.path) == ("echo", False, "/v1/chat/completions")
    assert json.loads(asked.body)["messages"] == MESSAGES
    assert dict(asked.headers)["content-type"] == "application/json"
    assert {name for name, _ in asked.headers} <= {"content-type", "accept", "idempotency-key"}


async def test_the_openai_sdk_gets_a_stream() -> None:
    async with (
        serving(lambda _: ScriptedAnswer([*TOKENS, DONE], headers=SSE_HEADERS)) as world,
        sdk(world.base) as client,
    ):
        stream = await client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream]
    assert words == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert world.server.results == {"ok": 1}


async def test_the_openai_sdk_raises_for_a_stream_that_fails_in_the_middle() -> None:
    steps = [*TOKENS[:2], TOKENS[2][:30], HostLostError("cut")]
    async with serving(lambda _: ScriptedAnswer(steps, headers=SSE_HEADERS)) as world, sdk(world.base) as client:
        stream = await client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
        chunks = aiter(stream)
        assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["0 ", "1 "]
        with pytest.raises(openai.APIError) as caught:
            await anext(chunks)
    assert caught.value.code == "host_lost"
    assert world.server.results == {"host_lost": 1}


async def test_a_stream_that_fails_ends_with_an_error_event_without_done_and_the_connection_stays() -> None:
    """A connection that closed without having said so would cost the app its next request on it."""
    steps = [TOKENS[0], DONE, HostLostError("cut before its authenticated end")]
    script = lambda _: ScriptedAnswer(steps, headers=SSE_HEADERS)  # noqa: E731
    async with serving(script) as world, world.connect() as (reader, writer):
        writer.write(world.post(chat(stream=True)))
        answer = await read_response(reader)
        writer.write(world.head("GET /v1/models"))
        assert (await read_response(reader)).status == 200
    events = answer.body.decode().split("\n\n")
    assert events[0] == TOKENS[0].decode().strip()
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "host_lost"
    assert events[2:] == [""]


async def test_a_stream_that_fails_before_its_first_byte_is_a_whole_error() -> None:
    async with serving(lambda _: ScriptedAnswer([HostLostError("cut")], headers=SSE_HEADERS)) as world:
        answer = await world.raw(world.post(chat(stream=True)))
    assert (answer.status, answer.code, answer.headers["x-should-retry"]) == (502, "host_lost", "false")


async def test_a_plain_answer_is_held_until_its_end_so_that_a_cut_is_a_clean_502() -> None:
    async with serving(lambda _: ScriptedAnswer([PLAIN, HostLostError("cut")])) as world:
        answer = await world.raw(world.post(chat()))
    assert (answer.status, answer.code, answer.headers["x-should-retry"]) == (502, "host_lost", "false")


@pytest.mark.parametrize(
    ("error", "kind", "status", "code", "retry_after"),
    [
        (RoutingError(RoutingFault.UNKNOWN_MODEL), openai.NotFoundError, 404, "model_not_found", None),
        (
            RoutingError(RoutingFault.NO_ATTESTED_HOST, refused={"ab" * 32: "tier self-asserted is below pinned"}),
            openai.PermissionDeniedError,
            403,
            "no_attested_host",
            None,
        ),
        (RoutingError(RoutingFault.NO_HOST, retry_after_s=7), openai.InternalServerError, 503, "no_host", "7"),
        (BusyError("full"), openai.InternalServerError, 503, "busy", "1"),
        (HostTooSlowError("slow"), openai.InternalServerError, 504, "host_too_slow", None),
        (HostLostError("lost"), openai.InternalServerError, 502, "host_lost", None),
        (
            BackendError(400, "context_length_exceeded", "too long"),
            openai.BadRequestError,
            400,
            "context_length_exceeded",
            None,
        ),
        (BackendError(503, "backend_unavailable", "gone"), openai.InternalServerError, 503, "backend_unavailable", "1"),
        (ZeroDivisionError("a bug"), openai.InternalServerError, 500, "internal_error", None),
    ],
)
async def test_the_openai_sdk_raises_what_its_users_expect(
    error: Exception, kind: type[openai.APIStatusError], status: int, code: str, retry_after: str | None
) -> None:
    async with serving(lambda _: error) as world, sdk(world.base) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model="echo", messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("retry-after") == retry_after


async def test_each_refused_host_is_named_with_what_it_lacked() -> None:
    refused = {"ab" * 32: "tier self-asserted is below pinned", "cd" * 32: "no evidence"}
    async with serving(lambda _: RoutingError(RoutingFault.NO_ATTESTED_HOST, refused=refused)) as world:
        answer = await world.raw(world.post(chat()))
    error = json.loads(answer.body)["error"]
    assert error["refused"] == refused
    assert "no evidence" in error["message"]


async def test_models_are_listed_usable_or_not_and_found_by_name() -> None:
    async with serving() as world, sdk(world.base) as client:
        listed = [model async for model in client.models.list()]
        assert [(model.id, model.sealmesh["usable"]) for model in listed] == [("echo", True), ("org/far", False)]
        assert (await client.models.retrieve("echo")).id == "echo"
        assert (await client.models.retrieve("org/far")).id == "org/far"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody")


async def test_embeddings_and_completions_go_their_own_way() -> None:
    embedding = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"echo"}'
    completion = b'{"id":"1","object":"text_completion","created":1,"model":"echo","choices":[]}'
    answers = {"/v1/embeddings": embedding, "/v1/completions": completion}
    async with (
        serving(lambda request: ScriptedAnswer([answers[request.operation.path]])) as world,
        sdk(world.base) as client,
    ):
        made = await client.embeddings.create(model="echo", input=["a"], encoding_format="float")
        assert made.data[0].embedding == [0.5]
        assert (await client.completions.create(model="echo", prompt="a")).object == "text_completion"


async def test_paths_and_methods_that_are_not_there() -> None:
    async with serving() as world:
        assert (await world.raw(world.head("GET /v1/nothing"))).code == "not_found"
        wrong = await world.raw(world.head("GET /v1/chat/completions"))
        assert (wrong.status, wrong.code, wrong.headers["allow"]) == (405, "method_not_allowed", "POST, OPTIONS")
        assert (await world.raw(world.post(b"{}", path="/v1/models"))).status == 405
        head = await world.raw(world.head("HEAD /v1/models"), head_only=True)
        assert (head.status, head.body, int(head.headers["content-length"]) > 0) == (200, b"", True)
        options = await world.raw(world.head("OPTIONS /v1/models"))
        assert (options.status, options.headers["allow"]) == (200, "GET, HEAD, OPTIONS")


async def test_an_app_that_leaves_while_a_host_is_found_stops_the_asking() -> None:
    asker = ScriptedAsker(hold=asyncio.Event())
    async with asyncio.timeout(10), serving(asker=asker) as world:
        async with world.connect() as (_, writer):
            writer.write(world.post(chat()))
            await asker.asking.wait()
        await asker.cancelled.wait()
    assert world.server.results == {"app_left": 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_app_that_leaves_in_mid_answer_closes_it(stream: bool) -> None:
    answer = ScriptedAnswer([TOKENS[0], asyncio.Event()], headers=SSE_HEADERS)
    async with asyncio.timeout(10), serving(lambda _: answer) as world:
        async with world.connect() as (reader, writer):
            writer.write(world.post(chat(stream=stream)))
            if stream:
                await reader.readuntil(TOKENS[0])
            else:
                await world.asker.asking.wait()
        await answer.closed.wait()
    assert world.server.results == {"app_left": 1}


async def test_an_answer_that_has_ended_leaves_the_connection_open_for_the_next() -> None:
    async with serving() as world, world.connect() as (reader, writer):
        for _ in range(3):
            writer.write(world.post(chat()))
            assert (await read_response(reader)).body == b'{"ok":true}'


async def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    async with serving(lambda request: ScriptedAnswer([request.body])) as world, world.connect() as (reader, writer):
        bodies = [chat(text=str(n)) for n in range(20)]
        writer.write(b"".join(world.post(body) for body in bodies) + world.head("GET /v1/nothing"))
        assert [(await read_response(reader)).body for _ in bodies] == bodies
        assert (await read_response(reader)).code == "not_found"


async def test_an_apps_body_in_chunks_and_byte_by_byte() -> None:
    body = chat()
    chunked = (
        b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\nx: y\r\n\r\n"
    )
    async with serving(lambda request: ScriptedAnswer([request.body])) as world:
        sent = world.head("POST /v1/chat/completions", "Transfer-Encoding: chunked") + chunked
        assert (await world.raw(sent)).body == body
        assert (await world.raw(*(sent[at : at + 1] for at in range(len(sent))))).body == body


async def test_expect_continue_is_answered_before_the_body() -> None:
    body = chat()
    async with serving() as world, world.connect() as (reader, writer):
        writer.write(world.head("POST /v1/chat/completions", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert (await read_response(reader)).status == 100
        writer.write(body)
        assert (await read_response(reader)).status == 200


async def test_an_offered_upgrade_is_ignored_and_the_body_kept() -> None:
    body = chat()
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with serving(lambda request: ScriptedAnswer([request.body])) as world:
        assert (await world.raw(world.post(body, *upgrade))).body == body


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    body = chat(stream=True)
    async with serving(lambda _: ScriptedAnswer([*TOKENS, DONE], headers=SSE_HEADERS)) as world:
        head = f"POST /v1/chat/completions HTTP/1.0\r\nHost: {world.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = await world.raw(head.encode() + body)
    assert "transfer-encoding" not in answer.headers
    assert answer.body == b"".join(TOKENS) + DONE


async def test_an_engines_error_object_passes_and_anything_else_is_replaced() -> None:
    theirs = b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'
    async with serving(lambda _: ScriptedAnswer([theirs], status=400)) as world:
        assert (await world.raw(world.post(chat()))).body == theirs
    async with serving(lambda _: ScriptedAnswer([b"<html>no</html>"], status=503)) as world:
        answer = await world.raw(world.post(chat()))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "backend_error", "1")


async def test_shutdown_lets_what_runs_end_within_the_grace_and_takes_nothing_new() -> None:
    go_on = asyncio.Event()
    answer = ScriptedAnswer([TOKENS[0], go_on, DONE], headers=SSE_HEADERS)
    async with (
        asyncio.timeout(10),
        serving(lambda _: answer) as world,
        world.connect() as (reader, writer),
        world.connect() as (idle, _),
    ):
        writer.write(world.post(chat(stream=True)))
        await reader.readuntil(TOKENS[0])
        stopping = asyncio.create_task(world.server.shutdown(5))
        assert await idle.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await world.raw(world.head("GET /v1/models"))
        go_on.set()
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        await stopping
    assert world.server.results == {"ok": 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_shutdown_ends_what_outlasts_the_grace_with_an_error(stream: bool) -> None:
    answer = ScriptedAnswer([TOKENS[0], asyncio.Event()], headers=SSE_HEADERS)
    async with asyncio.timeout(10), serving(lambda _: answer) as world, world.connect() as (reader, writer):
        writer.write(world.post(chat(stream=stream)))
        await world.asker.asking.wait()
        if stream:
            head = await reader.readuntil(TOKENS[0] + b"\r\n")
            assert b" 200 " in head
        stopping = asyncio.create_task(world.server.shutdown(0.01))
        rest = await reader.read()
        await stopping
    assert b'"code":"shutting_down"' in rest
    assert answer.closed.is_set()
    assert world.server.results == {"shutting_down": 1}
    assert (b"retry-after: 5" in rest) is not stream


async def test_an_api_key_is_demanded_where_one_is_set() -> None:
    async with serving(api_keys=["k-1", "k-2"]) as world:
        assert (await world.raw(world.post(chat()))).code == "invalid_api_key"
        refused = await world.raw(world.post(chat(), "Authorization: Bearer k-3"))
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await world.raw(world.head("GET /v1/models"))).status == 401
        assert (await world.raw(world.post(chat(), "Authorization: Bearer k-2"))).status == 200


async def test_two_keys_share_no_conversation_whatever_they_call_it() -> None:
    """A23: who guesses how another's conversation began must not be served from its state."""
    async with serving(api_keys=["k-1", "k-2"]) as world:
        for body in (chat(), chat(user="u"), chat(prompt_cache_key="p")):
            for key in ("k-1", "k-2", "k-1"):
                assert (await world.raw(world.post(body, f"Authorization: Bearer {key}"))).status == 200
            one, other, again = (request.session for request in world.asker.asked[-3:])
            assert one == again != other
            assert "" not in (one, other)


@pytest.mark.parametrize(
    ("status", "said", "passed"),
    [
        (429, "7", "7"),
        (503, "7", "7"),
        (400, "7", None),
        (500, "7", None),
        (503, "Sun, 22 Nov 2026", "1"),
        (503, "86401", "1"),
        (503, "9" * 999, "1"),
        (429, "-1", None),
    ],
)
async def test_a_hosts_retry_after_is_passed_on_where_it_helps(status: int, said: str, passed: str | None) -> None:
    def script(_: object) -> ScriptedAnswer:
        body = b'{"error":{"message":"m","type":"t","param":null,"code":"c"}}'
        return ScriptedAnswer(
            [body], status=status, headers=(("content-type", "application/json"), ("retry-after", said))
        )

    async with serving(script) as world:
        assert (await world.raw(world.post(chat()))).headers.get("retry-after") == passed


async def test_results_are_counted_and_reported_without_a_word_of_the_request() -> None:
    reported: list[str] = []
    async with serving(on_result=reported.append) as world:
        await world.raw(world.post(chat()))
        await world.raw(world.post(b"{"))
        await world.raw(b"\x00\r\n\r\n")
    assert reported == ["ok", "invalid_json", "bad_http"]


async def test_a_listener_that_fails_breaks_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> None:
        raise ValueError("words that are not logged")

    async with serving(on_result=fail) as world:
        assert (await world.raw(world.post(chat()))).status == 200
        assert (await world.raw(world.post(b"{"))).status == 400
    assert all("on_result failed: ValueError at" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2
    assert "words" not in caplog.text


async def test_tls_is_spoken_where_a_certificate_is_given(tmp_path: Path) -> None:
    context, trusted = make_certificate(tmp_path)
    async with serving(tls=context) as world:
        assert world.base.startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(base_url=world.base, verify=trusted) as client:
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get("/v1/models", headers={"origin": world.base})).status_code == 200
            plain = world.base.replace("https", "http")
            assert (await client.get("/v1/models", headers={"origin": plain})).status_code == 403
            answer = await client.post("/v1/chat/completions", content=b"x" * (1 << 20))
            assert answer.status_code == 400


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for 127.0.0.1, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))
