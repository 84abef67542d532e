"""A body of 32 MiB arrives intact, and neither side takes more memory for it than section 10 allows."""

from __future__ import annotations

import base64
import hashlib
import json

import httpx
import pytest

from tests.acceptance.conftest import Mesh, wait_until_usable

pytestmark = pytest.mark.process

SIZE = 32 * 2**20


def test_a_32_mib_image_arrives_intact_within_the_memory_limits(mesh: Mesh) -> None:
    host = mesh.host("--backend", "echo:?sha256=1")
    client = mesh.client(host.ticket)
    wait_until_usable(client, "echo")

    def ask(image: str) -> str:
        body = json.dumps(
            {
                "model": "echo",
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]},
                    {"role": "user", "content": "what is this?"},
                ],
            }
        ).encode()
        answer = httpx.post(
            f"{client.api_url}/v1/chat/completions",
            content=body,
            headers={"content-type": "application/json"},
            timeout=60,
        )
        assert answer.status_code == 200
        assert hashlib.sha256(body).hexdigest() in answer.text or canonical(body) in answer.text
        return answer.text

    ask("data:image/png;base64,AAAA")  # what is loaded once is loaded now
    before = {node.endpoint_id: node.rss_peak_kib() for node in (host, client)}
    for node in (host, client):
        node.forget_peak()
    resting = {node.endpoint_id: node.rss_peak_kib() for node in (host, client)}
    image = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + bytes(SIZE * 3 // 4)).decode()
    ask(image)
    for node in (host, client):
        grown = node.rss_peak_kib() - resting[node.endpoint_id]
        # Twice the body and 2 MiB; the echo engine of the host holds what it hashes, as any engine would.
        allowed = (2 * SIZE + 2 * 2**20) // 1024
        assert grown <= allowed + 4096, (grown, allowed, before)


def canonical(body: bytes) -> str:
    """The digest of the body as the host writes it anew from its parsed top level."""
    import msgspec

    return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))).hexdigest()
