"""The official `openai` package against a node. Prints one JSON object: what it was answered, by what was asked."""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

URL, MODEL, EMBEDDER, ENGINE, PROMPT = sys.argv[1:6]
TOOL = {
    "name": "get_weather",
    "description": "Say the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
client = openai.OpenAI(base_url=URL, api_key="unused", max_retries=0, timeout=60)
asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 16}


def chat() -> Any:
    answer = client.chat.completions.create(**asked)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.completion_tokens}


def stream() -> Any:
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return {"text": text, "tokens": chunks[-1].usage.completion_tokens, "pieces": len(chunks)}


def tools() -> Any:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(
        model=ENGINE, messages=messages, tools=[{"type": "function", "function": TOOL}], tool_choice="required"
    )
    call = answer.choices[0].message.tool_calls[0]
    messages += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    after = client.chat.completions.create(
        model=ENGINE, messages=messages, tools=[{"type": "function", "function": TOOL}]
    )
    return {"name": call.function.name, "arguments": call.function.arguments, "after": after.choices[0].message.content}


def tools_of_the_model() -> Any:
    chosen: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "required",
        "temperature": 0,
        "max_tokens": 60,
    }
    call = client.chat.completions.create(**chosen).choices[0].message.tool_calls[0]
    with client.chat.completions.stream(**chosen) as events:
        events.until_done()
        again = events.get_final_completion().choices[0].message.tool_calls[0]
    return [[one.function.name, one.function.arguments] for one in (call, again)]


def tools_streamed() -> Any:
    with client.chat.completions.stream(
        model=ENGINE,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[{"type": "function", "function": TOOL}],
    ) as events:
        events.until_done()
        call = events.get_final_completion().choices[0].message.tool_calls[0]
    return {"name": call.function.name, "arguments": call.function.arguments}


def responses() -> Any:
    answer = client.responses.create(model=MODEL, input=PROMPT, temperature=0, max_output_tokens=16)
    return {"text": answer.output_text, "tokens": answer.usage.output_tokens}


def responses_streamed() -> Any:
    with client.responses.stream(model=MODEL, input=PROMPT, temperature=0, max_output_tokens=16) as events:
        seen = list(events)
    # Not `get_final_response`: it knows no other end than `response.completed`, and this one is cut by its length.
    return {"text": seen[-1].response.output_text, "first": seen[0].type, "last": seen[-1].type}


def responses_tools() -> Any:
    answer = client.responses.create(
        model=ENGINE, input="What is the weather in Paris?", tools=[{"type": "function", **TOOL, "strict": False}]
    )
    call = answer.output[0]
    return {"name": call.name, "arguments": call.arguments}


def embeddings() -> Any:
    answer = client.embeddings.create(model=EMBEDDER, input=["one", "two", "one"])
    return [each.embedding for each in answer.data]


def errors() -> Any:
    found = {}
    unknown = {**asked, "model": "nobody-has-this"}
    odd = {**asked, "messages": "hello"}
    for name, fields in (("unknown model", unknown), ("wrong type", odd)):
        try:
            client.chat.completions.create(**fields)
        except openai.APIStatusError as error:
            found[name] = {"class": type(error).__name__, "status": error.status_code, "code": error.code}
    try:
        client.chat.completions.create(**{**asked, "model": ENGINE}, seed=429)
    except openai.APIStatusError as error:
        found["engine"] = {"class": type(error).__name__, "status": error.status_code, "code": error.code}
    return found


steps = (
    chat, stream, tools, tools_of_the_model, tools_streamed, responses, responses_streamed, responses_tools, embeddings,
    errors,
)  # fmt: skip
print(json.dumps({step.__name__: step() for step in steps}))
