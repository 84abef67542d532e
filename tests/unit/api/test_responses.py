"""Conversations by `previous_response_id`: kept here, sent whole, under ids that no host chose."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from openai.types.responses import Response as OpenAIResponse
from tests.unit.api.world import SSE_HEADERS, Response, ScriptedAnswer, World, serving

from sealmesh.api.fields import Fields
from sealmesh.api.kept import Kept, ResponseStore
from sealmesh.api.responses import Turn
from sealmesh.client.asker import AppRequest
from sealmesh.errors import RemoteProtocolError, RequestError
from sealmesh.limits import JSON_MEMBERS_MAX

PATH = "/v1/responses"


def answer_object(said: str, *, status: str = "completed", **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": said, "annotations": []}]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": "resp_of_the_host", "object": "response", "created_at": 1, "model": "echo", "status": status,
        "output": [item], "previous_response_id": None, "store": False, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], **more,
    }  # fmt: skip


def events(said: str, *, end: str = "response.completed", status: str = "completed") -> list[bytes]:
    begun = answer_object("", status="in_progress", output=[])
    made: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_text.delta", {"delta": said, "item_id": "msg_1"}),
        (end, {"response": answer_object(said, status=status)}),
    ]
    return [
        f"event: {name}\ndata: {json.dumps({'type': name, 'sequence_number': at, **fields})}\n\n".encode()
        for at, (name, fields) in enumerate(made)
    ]


def script(request: AppRequest) -> ScriptedAnswer:
    """Say how many items were in the input."""
    asked = json.loads(request.body)["input"]
    said = f"heard {len(asked) if isinstance(asked, list) else 1}"
    if request.stream:
        return ScriptedAnswer(events(said), headers=SSE_HEADERS)
    return ScriptedAnswer([json.dumps(answer_object(said)).encode()])


async def ask(world: World, **fields: Any) -> Response:
    return await world.raw(world.post(json.dumps({"model": "echo", **fields}).encode(), path=PATH))


def last_response(answer: Response) -> dict[str, Any]:
    *_, last = (each for each in answer.body.decode().split("\n\n") if each)
    response: dict[str, Any] = json.loads(last.partition("data: ")[2])["response"]
    return response


async def turn_of(world: World, *, stream: bool, **fields: Any) -> dict[str, Any]:
    answer = await ask(world, stream=stream, **fields)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = last_response(answer) if stream else json.loads(answer.body)
    OpenAIResponse.model_validate(found)
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_and_is_sent_whole(stream: bool) -> None:
    async with serving(script) as world:
        first = await turn_of(world, stream=stream, input="one")
        second = await turn_of(
            world, stream=stream, previous_response_id=first["id"], input=[{"role": "user", "content": "two"}]
        )
        third = await turn_of(world, stream=stream, previous_response_id=second["id"], input="three")
        sent = [json.loads(request.body) for request in world.asker.asked]
        assert sent[0] == {"model": "echo", "stream": stream, "input": "one", "store": False}
        assert "previous_response_id" not in sent[2]
        assert [item["content"] for item in sent[2]["input"]] == [
            "one", first["output"][0]["content"], "two", second["output"][0]["content"], "three"
        ]  # fmt: skip
        assert (third["previous_response_id"], third["store"]) == (second["id"], True)
        # One conversation, one session: the same host, and its own state reused.
        assert len({request.session for request in world.asker.asked}) == 1
        assert world.asker.asked[0].session == first["id"]


async def test_one_answer_can_be_gone_on_from_twice() -> None:
    async with serving(script) as world:
        first = await turn_of(world, stream=False, input="one")
        for _ in range(2):
            await turn_of(world, stream=True, previous_response_id=first["id"], input="two")
        assert [len(json.loads(request.body)["input"]) for request in world.asker.asked[1:]] == [3, 3]


async def test_instructions_are_not_carried_on() -> None:
    async with serving(script) as world:
        first = await turn_of(world, stream=False, input="one", instructions="be brief")
        await turn_of(world, stream=False, previous_response_id=first["id"], input="two")
        assert "instructions" not in json.loads(world.asker.asked[1].body)


@pytest.mark.parametrize("stream", [False, True])
async def test_no_host_chooses_an_id(stream: bool) -> None:
    """One that did could put its own words into a conversation that another host had."""
    async with serving(script) as world:
        first = await turn_of(world, stream=stream, input="one")
        second = await turn_of(world, stream=stream, input="one")
        assert len({first["id"], second["id"], "resp_of_the_host"}) == 3
        refused = await ask(world, previous_response_id="resp_of_the_host", input="x")
        assert (refused.status, refused.code) == (400, "previous_response_not_found")


async def test_every_event_that_holds_the_response_has_the_same_id() -> None:
    async with serving(script) as world:
        answer = await ask(world, stream=True, input="one")
        made = [json.loads(each.partition("data: ")[2]) for each in answer.body.decode().split("\n\n") if each]
        assert [one["type"] for one in made] == [
            "response.created", "response.in_progress", "response.output_text.delta", "response.completed"
        ]  # fmt: skip
        assert [one["sequence_number"] for one in made] == [0, 1, 2, 3]
        assert len({one["response"]["id"] for one in made if "response" in one}) == 1
        assert events("heard 1")[2] in answer.body  # what is not about the whole passes unread


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_to_be_stored_is_not_and_passes_unchanged(stream: bool) -> None:
    async with serving(script) as world:
        answer = await ask(world, stream=stream, input="one", store=False)
        if stream:
            assert answer.body == b"".join(events("heard 1"))
        else:
            assert json.loads(answer.body) == answer_object("heard 1")
        assert len(world.server._handler._store) == 0
        assert json.loads(world.asker.asked[0].body)["store"] is False
        assert world.asker.asked[0].session == ""
        # It may go on from one that is kept, and is then not kept itself.
        kept = await turn_of(world, stream=stream, input="two")
        last = await turn_of(world, stream=stream, input="three", previous_response_id=kept["id"], store=False)
        assert (last["previous_response_id"], last["store"]) == (kept["id"], False)
        refused = await ask(world, input="four", previous_response_id=last["id"])
        assert refused.code == "previous_response_not_found"


async def test_a_kept_answer_is_shown_and_forgotten() -> None:
    async with serving(script) as world:
        first = await turn_of(world, stream=True, input="one")
        path = f"{PATH}/{first['id']}"
        shown = await world.raw(world.head(f"GET {path}"))
        assert (shown.status, json.loads(shown.body)) == (200, first)
        gone = await world.raw(world.head(f"DELETE {path}"))
        assert json.loads(gone.body) == {"id": first["id"], "object": "response", "deleted": True}
        for line in (f"GET {path}", f"DELETE {path}", f"GET {PATH}/resp_x"):
            answer = await world.raw(world.head(line))
            assert (answer.status, answer.code) == (404, "response_not_found")
        refused = await ask(world, input="two", previous_response_id=first["id"])
        assert refused.code == "previous_response_not_found"


async def test_each_model_and_each_key_has_its_own() -> None:
    async with serving(script, api_keys=["one", "two"]) as world:

        async def said(key: str, **fields: Any) -> Response:
            body = json.dumps({"model": "echo", **fields}).encode()
            return await world.raw(world.post(body, f"Authorization: Bearer {key}", path=PATH))

        first = json.loads((await said("one", input="x")).body)
        path = f"{PATH}/{first['id']}"
        assert (await said("one", input="y", previous_response_id=first["id"])).status == 200
        for refused in (
            await said("two", input="y", previous_response_id=first["id"]),
            await said("one", input="y", previous_response_id=first["id"], model="other"),
        ):
            assert (refused.status, refused.code) == (400, "previous_response_not_found")
        for line in (f"GET {path}", f"DELETE {path}"):
            assert (await world.raw(world.head(line, "Authorization: Bearer two"))).status == 404
        for same in ("Bearer one", "bearer  one"):  # one key, however it is written
            assert (await world.raw(world.head(f"GET {path}", f"Authorization: {same}"))).status == 200


@pytest.mark.parametrize(
    "steps",
    [
        events("x")[:3],
        [*events("x")[:3], ConnectionError("cut")],
        events("x", end="response.failed", status="failed"),
        [b"".join(events("x")).replace(b"event: ", b"id: 1\nevent: ")],  # another form of events: unchanged, not kept
    ],
)
async def test_what_did_not_end_well_is_not_kept(steps: Sequence[Any]) -> None:
    async with serving(lambda _: ScriptedAnswer(steps, headers=SSE_HEADERS)) as world:
        answer = await ask(world, stream=True, input="one")
        assert answer.status == 200
        assert len(world.server._handler._store) == 0


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"output":[1],"status":"completed"', b"\xff", b"[" * 5000])
async def test_a_whole_answer_that_is_none_is_an_error_or_not_kept(body: bytes) -> None:
    async with serving(lambda _: ScriptedAnswer([body])) as world:
        answer = await ask(world, input="one")
        if body == b"{}":
            assert answer.status == 200
        else:
            assert (answer.status, answer.code) == (502, "host_lost")
        assert len(world.server._handler._store) == 0


@pytest.mark.parametrize(
    ("field", "value"), [("previous_response_id", 3), ("store", "yes"), ("store", 1), ("previous_response_id", [])]
)
async def test_wrong_types_are_refused_by_name(field: str, value: object) -> None:
    async with serving(script) as world:
        answer = await ask(world, input="x", **{field: value})
        assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, field)
        assert world.asker.asked == []


async def test_other_endpoints_know_nothing_of_it() -> None:
    async with serving() as world:
        body = json.dumps({"model": "echo", "messages": [{}], "store": "x", "previous_response_id": 7}).encode()
        assert (await world.raw(world.post(body))).status == 200
        assert world.asker.asked[0].body == body


async def test_a_long_conversation_is_put_together_beside_the_event_loop() -> None:
    async with serving(script) as world:
        first = await turn_of(world, stream=False, input="x" * 300_000)
        asking = [turn_of(world, stream=False, input="y", previous_response_id=first["id"]) for _ in range(3)]
        await asyncio.gather(*asking)
        assert all(len(json.loads(request.body)["input"]) == 3 for request in world.asker.asked[1:])


# --- bounds ----------------------------------------------------------------------------------------------------------


def kept(size: int, *, at: float = 0.0, owner: bytes = b"") -> Kept:
    return Kept(model="m", owner=owner, root="r", items=(b"i" * (size - 1),), body=b"b", last_used=at)


def test_the_store_is_bounded_in_number_and_bytes() -> None:
    store = ResponseStore(lambda: 0.0, count_max=3, bytes_max=100, each_max=60)
    assert [store.keep(str(at), kept(10)) for at in range(5)] == [True] * 5
    assert (len(store), store.size) == (3, 30)
    assert store.find("1", owner=b"") is None
    assert not store.keep("large", kept(61))
    assert store.find("2", owner=b"") is not None  # used: now 3 is the one to go
    assert store.keep("5", kept(60))
    assert (len(store), store.size) == (3, 80)
    assert store.find("3", owner=b"") is None
    assert store.keep("6", kept(60))
    assert store.size <= 100
    store.clear()
    assert (len(store), store.size) == (0, 0)


def test_nothing_is_kept_longer_than_its_lifetime() -> None:
    now = [0.0]
    store = ResponseStore(lambda: now[0], lifetime_s=100.0)
    store.keep("a", kept(10, at=0.0))
    now[0] = 99.0
    store.keep("b", kept(10, at=99.0))
    assert store.find("a", owner=b"") is not None
    now[0] = 198.0
    assert store.find("a", owner=b"") is not None
    now[0] = 299.0
    store.drop_old()
    assert (len(store), store.size) == (0, 0)


def test_a_kept_answer_does_not_show_itself() -> None:
    assert "iii" not in repr(kept(10))


def test_a13_small_items_take_no_more_memory_than_their_text() -> None:
    """A host that answers with a million tiny items: an object for each would take many times the counted bytes."""
    answer = answer_object("x")
    body = json.dumps(answer | {"output": list(range(10, 100)) * 10_000}).encode()
    store = ResponseStore(lambda: 0.0)
    fields = Fields(model="m", stream=False, session="", store=True)
    turn = Turn(store, fields, before=None, owner=b"", body=b'{"input": [ ]}'.replace(b" ]", b'{"role":"user"} ]'))
    tracemalloc.start()
    try:
        found = json.loads(turn.take_whole_untrusted(body))["id"]
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body) + 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    kept = store.find(found, owner=b"")
    assert kept is not None
    assert len(kept.items) == 2
    assert json.loads(b"[" + b",".join(kept.items) + b"]")[:3] == [{"role": "user"}, 10, 11]


def test_a13_a_response_object_of_a_million_members_is_none() -> None:
    members = ",".join(f'"{number}":1' for number in range(JSON_MEMBERS_MAX + 1))
    fields = Fields(model="m", stream=False, session="", store=True)
    turn = Turn(ResponseStore(lambda: 0.0), fields, before=None, owner=b"", body=b'{"input":"x"}')
    with pytest.raises(RemoteProtocolError):
        turn.take_whole_untrusted(b"{" + members.encode() + b"}")


def test_what_no_host_takes_is_not_sent() -> None:
    fields = Fields(model="m", stream=False, session="", store=True, previous_response_id="a")
    before = kept(64 * 1024 * 1024)
    with pytest.raises(RequestError) as refused:
        Turn(ResponseStore(lambda: 0.0), fields, before=before, owner=b"", body=b'{"input":"x"}')
    assert refused.value.status == 413
