"""`litellm` against a node. Prints one JSON object: what it was answered, by what was asked."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for a list of prices

import litellm

URL, MODEL, EMBEDDER, ENGINE, PROMPT = sys.argv[1:6]
TOOL = {
    "name": "get_weather",
    "description": "Say the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
at: Any = {"api_base": URL, "api_key": "unused", "max_retries": 0, "timeout": 60}
asked: Any = {**at, "model": f"openai/{MODEL}", "temperature": 0, "max_tokens": 16}
said: Any = [{"role": "user", "content": PROMPT}]
weather: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
tools_: Any = [{"type": "function", "function": TOOL}]
litellm.suppress_debug_info = True


def chat() -> Any:
    answer = litellm.completion(**asked, messages=said)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.completion_tokens}


def stream() -> Any:
    chunks = list(litellm.completion(**asked, messages=said, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return {"text": text, "tokens": chunks[-1].usage.completion_tokens, "pieces": len(chunks)}


def tools() -> Any:
    answer = litellm.completion(**at, model=f"openai/{ENGINE}", messages=weather, tools=tools_)
    message = answer.choices[0].message
    call = message.tool_calls[0]
    messages = [*weather, message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    after = litellm.completion(**at, model=f"openai/{ENGINE}", messages=messages, tools=tools_)
    return {"name": call.function.name, "arguments": call.function.arguments, "after": after.choices[0].message.content}


def tools_streamed() -> Any:
    chunks = list(litellm.completion(**at, model=f"openai/{ENGINE}", messages=weather, tools=tools_, stream=True))
    call = litellm.stream_chunk_builder(chunks, messages=weather).choices[0].message.tool_calls[0]
    return {"name": call.function.name, "arguments": call.function.arguments}


def responses() -> Any:
    answer = litellm.responses(
        model=f"openai/{MODEL}", input=PROMPT, api_base=URL, api_key="unused", temperature=0, max_output_tokens=16
    )
    return {"text": answer.output[0].content[0].text, "tokens": answer.usage.output_tokens}


def responses_streamed() -> Any:
    events = litellm.responses(
        model=f"openai/{MODEL}", input=PROMPT, api_base=URL, api_key="unused", temperature=0, max_output_tokens=16,
        stream=True,
    )  # fmt: skip
    return {"text": "".join(event.delta for event in events if event.type == "response.output_text.delta")}


def embeddings() -> Any:
    answer = litellm.embedding(**at, model=f"openai/{EMBEDDER}", input=["one", "two", "one"])
    return [each["embedding"] for each in answer.data]


def errors() -> Any:
    found = {}
    for name, fields in (("unknown model", {"model": "openai/nobody-has-this"}), ("engine", {"seed": 429})):
        try:
            litellm.completion(**{**asked, "model": f"openai/{ENGINE}", **fields}, messages=said)
        except (litellm.NotFoundError, litellm.RateLimitError) as error:
            found[name] = {"class": type(error).__name__, "status": error.status_code}
    return found


steps = (chat, stream, tools, tools_streamed, responses, responses_streamed, embeddings, errors)
print(json.dumps({step.__name__: step() for step in steps}))
