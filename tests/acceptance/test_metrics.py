"""What a client and its host count of a sealed exchange, as Prometheus reads it."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.conftest import Node, mesh_in_temporary_folder

from kit.marker import MARKER
from kit.sdk import sdk

pytestmark = pytest.mark.process
SECRET = MARKER


def metrics(node: Node) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = httpx.get(f"{node.console_url}/metrics", timeout=10).text
    assert SECRET not in text
    families = text_string_to_metric_families(text)
    return {one.name: [(each.labels, each.value) for each in one.samples] for one in families}


def test_a_sealed_stream_is_counted_on_both_sides_though_the_app_did_not_ask() -> None:
    with mesh_in_temporary_folder() as mesh:
        host = mesh.host("--backend", "echo:")
        client = mesh.client(host.ticket)
        client_sdk = sdk(client.api_url)
        asked = [{"role": "user", "content": f"{SECRET} two three"}]
        chunks = list(client_sdk.chat.completions.create(model="echo", messages=asked, stream=True))
        assert all(chunk.usage is None for chunk in chunks)
        found, served = metrics(client), metrics(host)
        ((labels, requests),) = found["sealmesh_requests"]
        assert (labels["model"], labels["host"], labels["sealed"], requests) == (
            "echo", host.endpoint_id, "xwing", 1
        )  # fmt: skip
        tokens = {labels["kind"]: count for labels, count in found["sealmesh_tokens"]}
        assert tokens["completion"] == 3
        assert tokens["prompt"] > 0
        assert {labels["kind"]: count for labels, count in served["sealmesh_served_tokens"]} == tokens
        assert [count for labels, count in served["sealmesh_served"]] == [1]
        counts = [
            value for labels, value in found["sealmesh_time_to_first_token_seconds"] if labels.get("le") == "+Inf"
        ]
        assert counts == [1]
