"""A node's HTTP API as its commands see it: scripted answers over a real loopback socket."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from sealmesh.config import Secret
from sealmesh.node.home import RunState

PROOF = {
    "x-sealmesh-host": "3f9c" * 16,
    "x-sealmesh-sealed": "xwing",
    "x-sealmesh-tier": "self-asserted",
    "x-sealmesh-evidence": "81d2" * 16,
    "x-sealmesh-exchange": "0be4" * 8,
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "endpoint_id": "aa" * 32,
    "mesh": {"id": "bb" * 32, "name": "home"},
    "roles": ["client"],
    "models": [
        {"name": "smollm2-135m", "context_length": 8192, "hosts": 1, "usable": True, "best_tier": "self-asserted"}
    ],
    "peers": [
        {
            "endpoint_id": "3f9c" * 16,
            "name": "attic",
            "role": "host",
            "version": "0.1.0",
            "models": ["smollm2-135m"],
            "tier": "self-asserted",
            "code_measured": False,
            "operator_blind": "no",
            "posture": {},
            "path": "direct",
            "rtt_ms": 3.4,
            "sealed_suites": ["xwing", "x25519"],
            "evidence_age_s": 61.0,
            "connected": True,
            "refused": [],
        }
    ],
    "exchanges": {"open": 1, "done": 12, "failed_by_reason": {"host_lost": 2}},
    "tokens": {"prompt": 1000, "completion": 20, "served_prompt": 0, "served_completion": 0},
    "policy_minimum": "none",
    "uptime_s": 7261.0,
}


def model(name: str, *, usable: bool = True) -> dict[str, Any]:
    refused = {} if usable else {"3f9c" * 16: "tier self-asserted, hardware-rooted wanted"}
    ours = {"usable": usable, "hosts": 1, "best_tier": "self-asserted" if usable else "none", "refused": refused}
    return {"id": name, "object": "model", "context_length": 8192, "sealmesh": ours}


def events(*texts: str, end: bool = True) -> bytes:
    """A streamed answer with these pieces of text."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if end else ""]).encode()


@dataclass(slots=True)
class Reply:
    """What is sent for one request; with `hold`, the stream then stays open until the client leaves."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False


class FakeNode:
    """Answers `GET` by path, and each chat request with the next of `answers`."""

    def __init__(self) -> None:
        self.gets: dict[str, Reply] = {"/api/status": Reply(json.dumps(STATUS).encode())}
        self.answers: list[Reply] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.left = threading.Event()
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                node.keys.append(self.headers.get("authorization", ""))
                self._answer(node.gets.get(self.path, Reply(error(404, "not_found", "There is nothing here."), 404)))

            def do_POST(self) -> None:
                node.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer(node.answers.pop(0))

            def _answer(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()
                if reply.hold:
                    self.rfile.read(1)  # returns when the client has left
                    node.left.set()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def models(self, *entries: dict[str, Any]) -> None:
        self.gets["/v1/models"] = Reply(json.dumps({"object": "list", "data": list(entries)}).encode())

    @property
    def state(self) -> RunState:
        url = f"http://127.0.0.1:{self._server.server_port}"
        return RunState(
            pid=1,
            api_url=url,
            console_url=url,
            token=Secret("local"),
            endpoint_id=b"\xaa" * 32,
            addresses=("127.0.0.1:1",),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def error(status: int, code: str, message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()
