"""What an app may get wrong: the code of DESIGN.md section 9, an OpenAI error object, and nothing sent to a host."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from tests.acceptance.conftest import Mesh, Node, wait_until_usable

from kit.marker import MARKER

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("malformed")]

GOOD = {"model": "echo", "messages": [{"role": "user", "content": f"hello {MARKER}"}]}


@pytest.fixture(scope="module")
def client(shared_mesh: Mesh) -> Iterator[Node]:
    host = shared_mesh.host("--backend", "echo:")
    node = shared_mesh.client(host.ticket, record=True)
    wait_until_usable(node, "echo")
    yield node
    # After everything below: not one exchange was opened, and the node still answers.
    assert shared_mesh.sealed_streams(node) == 0
    assert httpx.post(f"{node.api_url}/v1/chat/completions", json=GOOD, timeout=20).status_code == 200
    assert shared_mesh.sealed_streams(node) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"model": "echo", "messages": [}', 400, "invalid_json"),
        (b'{"model": "echo", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model": "echo", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "invalid_json"),
        (b"[1, 2]", 400, "invalid_request"),
        (b'"text"', 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"model": 7, "messages": []}', 400, "invalid_request"),
        (b'{"model": "echo"}', 400, "invalid_request"),
        (b'{"model": "echo", "messages": "hello"}', 400, "invalid_request"),
        (b'{"model": "echo", "messages": [], "stream": "yes"}', 400, "invalid_request"),
        (b'{"model": "nobody-has-this", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
    ],
)
def test_a_wrong_body(client: Node, body: bytes, status: int, code: str) -> None:
    answer = httpx.post(
        f"{client.api_url}/v1/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
        timeout=20,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def raw(client: Node, *pieces: bytes, timeout_s: float = 30.0) -> tuple[int, dict]:
    """Send bytes as they are, return status and body of the answer."""
    url = urlsplit(client.api_url)
    with socket.create_connection((url.hostname, url.port), timeout=timeout_s) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server had seen enough
        data = b""
        while chunk := receive(sock):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def head(client: Node, *lines: str, path: str = "/v1/chat/completions") -> bytes:
    netloc = urlsplit(client.api_url).netloc
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {netloc}", *lines, "", ""]).encode()


def test_a_body_of_100_mib_announced(client: Node) -> None:
    assert raw(client, head(client, f"Content-Length: {100 * 2**20}"))[0] == 413


def test_a_body_of_100_mib_in_chunks(client: Node) -> None:
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    status, body = raw(client, head(client, "Transfer-Encoding: chunked"), *([chunk] * 100), b"0\r\n\r\n")
    assert (status, body["error"]["code"]) == (413, "request_too_large")


def test_10000_headers(client: Node) -> None:
    assert raw(client, head(client, *(f"x-{n}: y" for n in range(10_000))))[0] == 431


def test_a_huge_header(client: Node) -> None:
    assert raw(client, head(client, "x: " + "y" * 10_000_000))[0] == 431


def test_a_slow_head(client: Node) -> None:
    assert raw(client, head(client)[:-4])[0] == 408


def test_a_slow_body(client: Node) -> None:
    assert raw(client, head(client, "Content-Length: 100"), b'{"model"')[0] == 408


def test_garbage_instead_of_http(client: Node) -> None:
    status, body = raw(client, b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert status == 400
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_another_host_name(client: Node) -> None:
    answer = httpx.post(
        f"{client.api_url}/v1/chat/completions", json=GOOD, headers={"host": "evil.example"}, timeout=20
    )
    assert answer.status_code in (403, 421)


def test_an_unknown_path_and_a_wrong_method(client: Node) -> None:
    assert httpx.get(f"{client.api_url}/v1/nothing", timeout=20).status_code == 404
    assert httpx.get(f"{client.api_url}/v1/chat/completions", timeout=20).status_code == 405
