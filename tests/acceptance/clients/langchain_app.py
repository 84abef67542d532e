"""`langchain-openai` against a node. Prints one JSON object: what it was answered, by what was asked."""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL, MODEL, EMBEDDER, ENGINE, PROMPT = sys.argv[1:6]


def model(name: str = MODEL, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=URL, api_key="unused", model=name, temperature=0, max_retries=0, timeout=60, **more)


@tool
def get_weather(city: str, unit: str) -> str:
    """Say the weather of a city."""
    return f"sunny in {city}, {unit}"


def chat() -> Any:
    answer = model(max_tokens=16).invoke(PROMPT)
    return {"text": answer.content, "tokens": answer.usage_metadata["output_tokens"]}


def stream() -> Any:
    pieces = list(model(max_tokens=16, stream_usage=True).stream(PROMPT))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return {"text": whole.content, "tokens": whole.usage_metadata["output_tokens"], "pieces": len(pieces)}


def tools() -> Any:
    bound = model(ENGINE).bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("What is the weather in Paris?")]
    answer = bound.invoke(messages)
    call = answer.tool_calls[0]
    messages += [answer, ToolMessage("sunny", tool_call_id=call["id"])]
    return {"name": call["name"], "arguments": json.dumps(call["args"]), "after": bound.invoke(messages).content}


def tools_streamed() -> Any:
    pieces = list(model(ENGINE).bind_tools([get_weather]).stream("What is the weather in Paris?"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return {"name": whole.tool_calls[0]["name"], "arguments": json.dumps(whole.tool_calls[0]["args"])}


def responses() -> Any:
    answer = model(max_tokens=16, use_responses_api=True).invoke(PROMPT)
    return {"text": answer.text, "tokens": answer.usage_metadata["output_tokens"]}


def responses_streamed() -> Any:
    text = "".join(piece.text for piece in model(max_tokens=16, use_responses_api=True).stream(PROMPT))
    return {"text": text}


def embeddings() -> Any:
    # Without the check, tokens are made by the host: the package would fetch OpenAI's own vocabulary.
    made = OpenAIEmbeddings(base_url=URL, api_key="unused", model=EMBEDDER, check_embedding_ctx_length=False)
    return made.embed_documents(["one", "two", "one"])


def errors() -> Any:
    found = {}
    for name, one in (("unknown model", model("nobody-has-this")), ("engine", model(ENGINE, seed=429))):
        try:
            one.invoke(PROMPT)
        except openai.APIStatusError as error:
            kind = next(one for one in type(error).__mro__ if one.__module__.startswith("openai"))
            found[name] = {"class": kind.__name__, "status": error.status_code, "code": error.code}
    return found


steps = (chat, stream, tools, tools_streamed, responses, responses_streamed, embeddings, errors)
print(json.dumps({step.__name__: step() for step in steps}))
