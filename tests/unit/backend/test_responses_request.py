from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealmesh.backend.responses_request import ChatQuestion, chat_from_responses_untrusted
from sealmesh.errors import RequestError


def translate(body: dict[str, Any], *, stream: bool = False) -> ChatQuestion:
    return chat_from_responses_untrusted(json.dumps({"model": "m", **body}).encode(), model="m", stream=stream)


def chat(body: dict[str, Any], *, stream: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(translate(body, stream=stream).body)
    return made


def test_a_string_is_what_the_user_says() -> None:
    assert chat({"input": "hi"}) == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}


def test_a_stream_asks_for_token_counts() -> None:
    made = chat({"input": "hi"}, stream=True)
    assert made["stream"] is True
    assert made["stream_options"] == {"include_usage": True}


def test_instructions_come_first_and_a_developer_is_a_system() -> None:
    made = chat(
        {"instructions": "be brief", "input": [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}]}
    )
    assert made["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
    ]


def test_parts_of_a_message() -> None:
    parts = [
        {"type": "input_text", "text": "what is this"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
    ]
    made = chat({"input": [{"type": "message", "role": "user", "content": parts}]})
    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]


def test_an_answer_sent_back_with_its_calls_is_one_message() -> None:
    items = [
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "feel", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "wet"}]},
    ]

    def call(identifier: str, name: str) -> dict[str, Any]:
        return {"id": identifier, "type": "function", "function": {"name": name, "arguments": "{}"}}

    assert chat({"input": items})["messages"] == [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call("c1", "look"), call("c2", "feel")]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "wet"},
    ]


def test_a_call_without_words_gets_a_message_of_its_own() -> None:
    items = [{"role": "user", "content": "q"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]
    assert chat({"input": items})["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}],
    }


def test_tools_and_sampling() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    made = chat(
        {
            "input": "x", "tools": [tool], "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 9,
            "temperature": 0, "top_p": 0.5, "parallel_tool_calls": False, "reasoning": {"effort": "low"},
        }
    )  # fmt: skip
    del made["messages"]
    assert made == {
        "model": "m", "stream": False, "max_tokens": 9, "temperature": 0, "top_p": 0.5, "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {name: tool[name] for name in tool if name != "type"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
def test_the_format_of_the_text(wanted: dict[str, Any], made: dict[str, Any] | None) -> None:
    assert chat({"input": "x", "text": {"format": wanted}}).get("response_format") == made


def test_what_is_said_back() -> None:
    echo = translate({"input": "x", "metadata": {"a": "b"}, "instructions": "i", "temperature": 0.5}).echo
    assert echo["metadata"] == {"a": "b"}
    assert (echo["instructions"], echo["temperature"], echo["store"]) == ("i", 0.5, False)
    assert translate({"input": "x", "instructions": "i" * 20_000}).echo["instructions"] is None


def test_what_asks_for_nothing_is_no_error() -> None:
    nothing = {
        "previous_response_id": None, "conversation": None, "store": False, "background": False, "include": [],
        "truncation": "disabled", "service_tier": "auto", "top_logprobs": 0, "user": "u", "stream_options": None,
        "text": {"verbosity": "medium"},
    }  # fmt: skip
    assert chat({"input": "x", **nothing}) == chat({"input": "x"})


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"top_logprobs": 3}, "top_logprobs", "unsupported_parameter"),
        ({"include": ["reasoning.encrypted_content"]}, "include", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "invalid_request"),
        ({"tools": "f"}, "tools", "invalid_request"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", "unsupported_parameter"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary", "unsupported_parameter"),
        ({"text": {"verbosity": "high"}}, "text.verbosity", "unsupported_parameter"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "invalid_request"),
        ({"never_heard_of": 1}, "never_heard_of", "unsupported_parameter"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_request"),
        ({"max_output_tokens": True}, "max_output_tokens", "invalid_request"),
        ({"temperature": "hot"}, "temperature", "invalid_request"),
        ({"metadata": {"a": 1}}, "metadata", "invalid_request"),
        ({"instructions": [1]}, "instructions", "invalid_request"),
        ({"input": []}, "input", "invalid_request"),
        ({"input": [1]}, "input[0]", "invalid_request"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "invalid_request"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0]", "unsupported_parameter"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name", "invalid_request"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0]",
            "unsupported_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]",
            "unsupported_parameter",
        ),
    ],
)
def test_what_cannot_be_said_in_chat_is_refused_by_name(body: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(RequestError) as refused:
        translate({"input": "x", **body})
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        chat_from_responses_untrusted(body, model="m", stream=False)
    assert refused.value.code == "invalid_json"


def test_a_number_that_fits_no_engine_is_refused() -> None:
    with pytest.raises(RequestError):
        chat_from_responses_untrusted(b'{"input":"x","temperature":' + b"9" * 5000 + b"}", model="m", stream=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "format", "image_url", "call_id", "output"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
NAMES = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata", "temperature", "store", "x"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
def test_any_json_is_translated_or_refused(body: dict[str, Any]) -> None:
    try:
        made = translate(body)
    except RequestError:
        return
    assert json.loads(made.body)["messages"]
