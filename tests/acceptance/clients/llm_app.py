"""The `llm` command against a node. Prints one JSON object: what it was answered, by what was asked.

Its embeddings take no other address than OpenAI's own, so there are none here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

URL, MODEL, _EMBEDDER, ENGINE, PROMPT = sys.argv[1:6]
WEATHER = 'def get_weather(city: str, unit: str) -> str:\n    "Say the weather of a city."\n    return "sunny"\n'


def llm(*arguments: str, model: str = MODEL) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [sys.executable, "-m", "llm", "openai", "endpoint", URL, *arguments, "-m", model, "--key", "unused"],
            env={"LLM_USER_PATH": home, "HOME": home, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def said(*arguments: str, model: str = MODEL) -> str:
    done = llm(*arguments, model=model)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.removesuffix("\n")


FEW = ("-o", "temperature", "0", "-o", "max_tokens", "16")


def chat() -> Any:
    return {"text": said(PROMPT, *FEW, "--no-stream")}


def stream() -> Any:
    return {"text": said(PROMPT, *FEW)}


def tools() -> Any:
    done = llm("What is the weather in Paris?", "--functions", WEATHER, "--td", "--no-stream", model=ENGINE)
    return {"called": "get_weather" in done.stderr, "after": done.stdout.strip()}


def tools_streamed() -> Any:
    done = llm("What is the weather in Paris?", "--functions", WEATHER, "--td", model=ENGINE)
    return {"called": "get_weather" in done.stderr, "after": done.stdout.strip()}


def responses() -> Any:
    return {"text": said(PROMPT, "-o", "temperature", "0", "-o", "max_tokens", "16", "--responses", "--no-stream")}


def responses_streamed() -> Any:
    return {"text": said(PROMPT, "-o", "temperature", "0", "-o", "max_tokens", "16", "--responses")}


def models() -> Any:
    return said("--models").split()


def errors() -> Any:
    done = llm(PROMPT, model="nobody-has-this")
    return {"unknown model": {"exit": done.returncode, "words": done.stderr}}


steps = (chat, stream, tools, tools_streamed, responses, responses_streamed, models, errors)
print(json.dumps({step.__name__: step() for step in steps}))
