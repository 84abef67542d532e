"""An OpenAI-compatible engine of our own: what it is asked it keeps, what it answers is known beforehand."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ARGUMENTS = '{"city": "Paris", "unit": "°C"}'
CONTEXT = 8192
Event = dict[str, Any]


class Engine:
    """Says the last user message back; calls the first tool that it is given, and says back what the tool said.

    Attributes:
        url: Where it listens.
        asked: Path and body of every request, the last one last.
    """

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | list[Event]]:
        """Status and body; a list is a stream of events."""
        self.asked.append((path, body))
        status = body.get("seed") or 0
        if 400 <= status <= 599:  # a test asks for an error of the engine by its number
            error = {"message": f"The engine says {status}.", "type": "engine", "param": None, "code": "engine_says_no"}
            return status, {"error": error}
        if path == "/v1/chat/completions":
            return 200, self._chat(body)
        if path == "/v1/completions":
            return 200, self._text(body)
        if path == "/v1/embeddings":
            return 200, self._embeddings(body)
        if path == "/v1/responses":
            return 200, self._response(body)
        return 404, {"error": {"message": "no such path", "type": "engine", "param": None, "code": "not_found"}}

    def _base(self, kind: str) -> dict[str, Any]:
        return {"id": "engine-1", "object": kind, "created": 1_800_000_000, "model": self.model}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any] | list[Event]:
        last = body["messages"][-1]
        choices = range(body.get("n") or 1)
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        call = body.get("tools") and last["role"] != "tool"
        finish = "tool_calls" if call else "stop"
        if call:
            name = body["tools"][0]["function"]["name"]
            calls = [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}]
            message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
            first = {**calls[0], "index": 0, "function": {"name": name, "arguments": ""}}
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None, "tool_calls": [first]}]
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[at : at + 7]}}]}
                for at in range(0, len(ARGUMENTS), 7)
            ]
        else:
            said = said_in(last["content"])
            message = {"role": "assistant", "content": said}
            words = said.split(" ")
            deltas = [{"role": "assistant", "content": ""}]
            deltas += [{"content": word if at == 0 else f" {word}"} for at, word in enumerate(words)]
        logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}
        extra = {"logprobs": logprobs} if body.get("logprobs") else {}
        if not body.get("stream"):
            made = [{"index": at, "message": message, "finish_reason": finish, **extra} for at in choices]
            return {**self._base("chat.completion"), "choices": made, "usage": usage}
        base = self._base("chat.completion.chunk")
        events: list[Event] = [
            {**base, "choices": [{"index": at, "delta": delta, "finish_reason": None, **extra}]}
            for delta in deltas
            for at in choices
        ]
        events += [{**base, "choices": [{"index": at, "delta": {}, "finish_reason": finish}]} for at in choices]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**base, "choices": [], "usage": usage})
        return events

    def _text(self, body: dict[str, Any]) -> dict[str, Any] | list[Event]:
        choice = {"index": 0, "text": body["prompt"], "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        whole = {**self._base("text_completion"), "choices": [choice], "usage": usage}
        return [whole] if body.get("stream") else whole

    def _response(self, body: dict[str, Any]) -> dict[str, Any] | list[Event]:
        part = {"type": "output_text", "text": said_in(body["input"]), "annotations": []}
        item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
        usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
        whole = {"id": "resp_1", "object": "response", "created_at": 1_800_000_000, "model": self.model}
        whole |= {"status": "completed", "output": [item], "usage": usage}
        if not body.get("stream"):
            return whole
        return [{"type": "response.completed", "sequence_number": 0, "response": whole}]

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vector = [0.25] * (body.get("dimensions") or 4)
        data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(inputs))]
        return {"object": "list", "data": data, "model": self.model, "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def said_in(content: Any) -> str:
    """The text of a message; of an image, what kind it is and how long."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        url = (part.get("image_url") or {}).get("url", "")
        parts.append(part.get("text") or f"[{url.partition(';')[0]}, {len(url)} characters]")
    return " ".join(parts)


@contextlib.contextmanager
def engine(model: str = "engine") -> Iterator[Engine]:
    """Run one on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            listed = {"object": "list", "data": [{"id": model, "object": "model", "max_model_len": CONTEXT}]}
            self._send(200, json.dumps(listed).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = made.answer(self.path, body)
            if isinstance(answer, list):
                lines = [f"data: {json.dumps(event)}\n\n" for event in answer]
                self._send(status, "".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")
            else:
                self._send(status, json.dumps(answer).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Engine(f"http://127.0.0.1:{server.server_address[1]}", model)
    thread = threading.Thread(target=server.serve_forever, name="engine", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
