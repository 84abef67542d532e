"""Tools for a model whose template knows none: what the model reads, and how its JSON becomes calls or words."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealmesh.backend.llama_tools import ToolCalls, describe_tools, template_knows_tools
from sealmesh.errors import RequestError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": CITY}}
STOP = {"type": "function", "function": {"name": "stop"}}
HELLO = {"role": "user", "content": "hello"}


def described(**fields: Any) -> tuple[bool, dict[str, Any]]:
    asked = {"messages": [HELLO], **fields}
    return describe_tools(asked), asked


def forms(asked: dict[str, Any]) -> list[list[str]]:
    """What the answer may be: the members of each form."""
    schema = asked["response_format"]["json_schema"]["schema"]
    return [sorted(form["properties"]) for form in schema.get("anyOf", [schema])]


# --- what goes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, [["content"], ["arguments", "name"], ["arguments", "name"]]),
        ("auto", [["content"], ["arguments", "name"], ["arguments", "name"]]),
        ("required", [["arguments", "name"], ["arguments", "name"]]),
        ({"type": "function", "function": {"name": "stop"}}, [["arguments", "name"]]),
    ],
)
def test_the_answer_is_bound_to_what_may_be_chosen(choice: Any, expected: list[list[str]]) -> None:
    calls, asked = described(tools=[WEATHER, STOP], tool_choice=choice, parallel_tool_calls=True)
    assert calls
    assert forms(asked) == expected
    assert set(asked) == {"messages", "response_format"}
    said, user = asked["messages"]
    assert (said["role"], user) == ("system", HELLO)
    named = isinstance(choice, dict)
    assert '"stop"' in said["content"]
    assert ("of a city" in said["content"]) is not named


@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"tools": None}, {"tools": [WEATHER], "tool_choice": "none"}])
def test_without_a_tool_to_call_nothing_is_bound(fields: dict[str, Any]) -> None:
    assert described(**fields) == (False, {"messages": [HELLO]})


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("content", ["be kind", [{"type": "text", "text": "be kind"}]])
def test_the_apps_own_system_message_comes_first(role: str, content: Any) -> None:
    _, asked = described(messages=[{"role": role, "content": content}, HELLO], tools=[STOP])
    first = asked["messages"][0]
    text = first["content"] if isinstance(content, str) else "".join(part["text"] for part in first["content"])
    assert (first["role"], len(asked["messages"])) == (role, 2)
    assert text.startswith("be kind\n\nYou may call")


@pytest.mark.parametrize("tools", [[STOP], None])
def test_earlier_calls_and_results_are_said_in_words(tools: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    _, asked = described(
        messages=[
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "sun"},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "rain"}]},
        ],
        tools=tools,
    )
    *_, called, plain, parts = asked["messages"]
    assert called == {"role": "assistant", "content": '{"name": "weather", "arguments": {"city":"Rome"}}'}
    assert plain == {"role": "user", "content": "The function returned: sun"}
    assert [part["text"] for part in parts["content"]] == ["The function returned: ", "rain"]


def test_definitions_stand_where_references_look_for_them() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"$defs": {"A": {"type": "string"}}}}}
        for name in ("one", "two")
    ]
    _, asked = described(tools=tools, tool_choice="required")
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["$defs"] == {"A": {"type": "string"}}
    assert "$defs" not in json.dumps(schema["anyOf"])
    tools[1]["function"]["parameters"] = {"$defs": {"A": {"type": "number"}}}  # type: ignore[index]
    with pytest.raises(RequestError):
        described(tools=tools)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": 3}, "tools[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [STOP, STOP]}, "tools[1]"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0]"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": [1]}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [STOP], "tool_choice": "all"}, "tool_choice"),
        ({"tools": [STOP], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [STOP], "response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [STOP], "logprobs": True}, "logprobs"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        described(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("data", "knows"),
    [
        (b"..tokenizer.chat_template\x08\0\0\0\x14\0\0\0\0\0\0\0{% if tools %}tools{}weights", True),
        (b"..tokenizer.chat_template\x08\0\0\0\x05\0\0\0\0\0\0\0plaintools", False),
        (b"..tokenizer.chat_template.tool_use\x08\0\0\0", True),
        (b"no template at all, but tools", False),
        (b"cut: tokenizer.chat_template\x08\0\0\0\xff\xff", False),
    ],
)
def test_what_a_file_says_of_its_template(tmp_path: Path, data: bytes, knows: bool) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert template_knows_tools(path) is knows


# --- what comes out --------------------------------------------------------------------------------------------------


def told(text: str, cuts: list[int], finish: str = "stop") -> tuple[dict[str, Any], str | None]:
    """What an app puts together of an answer that comes in pieces."""
    calls = ToolCalls()
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    deltas = [{"role": "assistant", "content": None}]
    deltas += [{"content": text[start:end]} for start, end in itertools.pairwise(edges)]
    whole: dict[str, Any] = {"content": "", "calls": []}
    reason = None
    for at, delta in enumerate([*deltas, {}]):
        made, reason = calls.take(dict(delta), finish if at == len(deltas) else None)
        whole["content"] += made.get("content") or ""
        for call in made.get("tool_calls", ()):
            if "id" in call:
                whole["calls"].append({"name": call["function"]["name"], "arguments": ""})
            whole["calls"][call["index"]]["arguments"] += call["function"].get("arguments", "")
    return whole, reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["}", "}}", '"}', "\\}", " } "]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    name=st.text(min_size=1, max_size=8),
    arguments=st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_a_call_is_whole_however_it_comes(
    name: str, arguments: dict[str, Any], indent: int | None, ascii_only: bool, cuts: list[int]
) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, indent=indent, ensure_ascii=ascii_only)
    whole, reason = told(text + "\n" * bool(indent), cuts)
    assert (whole["content"], reason) == ("", "tool_calls")
    assert [call["name"] for call in whole["calls"]] == [name]
    assert json.loads(whole["calls"][0]["arguments"]) == arguments


@settings(deadline=None)
@given(words=st.text(max_size=20), ascii_only=st.booleans(), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_words_are_whole_however_they_come(words: str, ascii_only: bool, cuts: list[int]) -> None:
    whole, reason = told(json.dumps({"content": words}, ensure_ascii=ascii_only), cuts)
    assert (whole, reason) == ({"content": words, "calls": []}, "stop")


@settings(deadline=None)
@given(text=st.text(max_size=30), start=st.sampled_from(["", '{"name": "f", "arguments": ', '{"content": "']))
def test_an_answer_that_was_cut_stays_cut(text: str, start: str) -> None:
    _, reason = told(start + text, [3, 9], "length")
    assert reason == "length"


def test_a_call_that_was_cut_keeps_what_came() -> None:
    whole, reason = told('{"name": "f", "arguments": {"a": {"b": 1}', [20], "length")
    assert (whole["calls"], reason) == ([{"name": "f", "arguments": '{"a": {"b": 1}'}], "length")
