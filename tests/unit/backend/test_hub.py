from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sealmesh.backend.hub import resolve_hub
from sealmesh.backend.models import Progress
from sealmesh.errors import BackendError, ConfigError

pytest.importorskip("huggingface_hub")

CONTENT = b"GGUF" + bytes(range(256)) * 100
COMMIT = "c" * 40
REFERENCE = "hf:owner/repo/sub/model-Q4.gguf"


class Hub(ThreadingHTTPServer):
    """A hub with one file, that may lie about it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.stated: str | None = hashlib.sha256(CONTENT).hexdigest()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        known = self.path in (
            "/owner/repo/resolve/main/sub/model-Q4.gguf",
            f"/owner/repo/resolve/{COMMIT}/sub/model-Q4.gguf",
        )
        self.send_response(200 if known else 404)
        if known:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"0123456789"')
            if self.server.stated is not None:
                self.send_header("X-Linked-Etag", f'"{self.server.stated}"')
                self.send_header("X-Linked-Size", str(len(self.server.content)))
        body = self.server.content if known else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def quiet(_: Progress) -> None:
    return None


def test_a_file_is_fetched_once_and_verified_each_time(hub: Hub, tmp_path: Path) -> None:
    found = resolve_hub(REFERENCE, tmp_path, quiet, endpoint=hub.url)
    assert (found.name, found.path.read_bytes(), found.digest) == (
        "model-Q4",
        CONTENT,
        hashlib.sha256(CONTENT).digest(),
    )
    asked = len(hub.asked)
    assert asked
    assert resolve_hub(REFERENCE, tmp_path, quiet, endpoint=hub.url) == found
    assert len(hub.asked) == asked


def test_fetching_is_told_and_can_be_broken_off(hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []

    def stop_at_first_byte(step: Progress) -> None:
        told.append(step)
        if step.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve_hub(REFERENCE, tmp_path, stop_at_first_byte, endpoint=hub.url)
    assert (told[-1].phase, told[-1].total) == ("fetch", len(CONTENT))
    assert not list(tmp_path.rglob("model-Q4.gguf"))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_set_aside_and_fetched_again(hub: Hub, tmp_path: Path) -> None:
    path = resolve_hub(REFERENCE, tmp_path, quiet, endpoint=hub.url).path
    path.write_bytes(b"GGUF damaged")
    told: list[Progress] = []
    assert resolve_hub(REFERENCE, tmp_path, told.append, endpoint=hub.url).path.read_bytes() == CONTENT
    assert "damaged" in [step.phase for step in told]


def test_what_is_not_as_the_hub_states_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"x"
    with pytest.raises(BackendError) as refused:
        resolve_hub(REFERENCE, tmp_path, quiet, endpoint=hub.url)
    assert refused.value.code == "model_mismatch"
    assert not list(tmp_path.rglob("*.gguf"))


def test_a_file_without_a_stated_digest_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.stated = None
    with pytest.raises(BackendError, match="states no SHA-256"):
        resolve_hub(REFERENCE, tmp_path, quiet, endpoint=hub.url)


def test_a_file_that_is_not_there_is_said(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="Check the name"):
        resolve_hub("hf:owner/repo/other.gguf", tmp_path, quiet, endpoint=hub.url)


@pytest.mark.parametrize("reference", ["hf:a/b.gguf", "hf:a/b/c.bin", "hf:a/b/../c.gguf", "hf:a/b/c.gguf@x y", "hf:"])
def test_names_that_do_not_fit_are_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        resolve_hub(reference, tmp_path, quiet)
