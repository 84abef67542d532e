"""`/metrics`: what Prometheus' own parser reads of it is what the status says, whatever peers call themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.console.test_app import STATUS, Source

from sealmesh.console.app import ConsoleServer
from sealmesh.console.metrics import CONTENT_TYPE, FAMILIES, escape_label, reference, render
from sealmesh.status import AskedStatus, LatencyStatus, NodeStatus, RouteStatus, ServedModelStatus, ServedStatus

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def status(model: str = "echo") -> NodeStatus:
    route = RouteStatus(
        model=model, host="ef" * 32, sealed="xwing", tier="pinned", requests=4, prompt_tokens=30, completion_tokens=50
    )
    own = ServedModelStatus(model="own", requests=6, prompt_tokens=7, completion_tokens=8)
    latency = LatencyStatus(model=model, sealed="xwing", buckets=((0.05, 1), (0.1, 3)), count=4, sum_s=2.5)
    return dataclasses.replace(
        STATUS,
        asked=AskedStatus(open=1, done=4, failed_by_reason={"host_lost": 3}, routes=(route,), first_token=(latency,)),
        served=ServedStatus(open=2, done=6, refused_by_reason={"busy": 5}, models=(own,)),
    )


def parsed(of: NodeStatus) -> dict[str, Metric]:
    return {metric.name: metric for metric in text_string_to_metric_families(render(of).decode())}


def samples(of: NodeStatus, family: str) -> dict[tuple[str, ...], float]:
    metric = parsed(of)[family.removesuffix("_total")]
    return {(one.name.removeprefix(family), *one.labels.values()): one.value for one in metric.samples}


def test_every_family_is_read_with_its_type_and_words() -> None:
    found = parsed(status())
    # The parser takes `_total` off a counter's name.
    wanted = {one.name.removesuffix("_total"): (one.kind, one.words) for one in FAMILIES}
    assert {name: (metric.type, metric.documentation) for name, metric in found.items()} == wanted


def test_the_numbers_are_those_of_the_status() -> None:
    now = status()
    route = ("echo", "ef" * 32, "xwing", "pinned")
    assert samples(now, "sealmesh_requests_total") == {("", *route): 4}
    assert samples(now, "sealmesh_tokens_total") == {("", *route, "prompt"): 30, ("", *route, "completion"): 50}
    assert samples(now, "sealmesh_requests_failed_total") == {("", "host_lost"): 3}
    assert samples(now, "sealmesh_requests_open") == {("",): 1}
    assert samples(now, "sealmesh_peers") == {("", "true"): 1, ("", "false"): 0}
    assert samples(now, "sealmesh_models") == {("", "true"): 1, ("", "false"): 0}
    assert samples(now, "sealmesh_served_refused_total") == {("", "busy"): 5}
    assert samples(now, "sealmesh_served_total") == {("", "own"): 6}
    assert samples(now, "sealmesh_served_tokens_total") == {("", "own", "prompt"): 7, ("", "own", "completion"): 8}
    assert samples(now, "sealmesh_time_to_first_token_seconds") == {
        ("_bucket", "echo", "xwing", "0.05"): 1,
        ("_bucket", "echo", "xwing", "0.1"): 3,
        ("_bucket", "echo", "xwing", "+Inf"): 4,
        ("_sum", "echo", "xwing"): 2.5,
        ("_count", "echo", "xwing"): 4,
    }


def test_a_node_that_serves_nothing_says_nothing_of_it() -> None:
    assert not [name for name in parsed(STATUS) if "served" in name]


@settings(deadline=None, max_examples=50)
@given(st.text())
@pytest.mark.parametrize("prefix", ["", 'a"} 1\nevil_total{x="', "\\", "\r\n# TYPE x counter\n", "\x85\u2028\x1b[31m"])
def test_no_name_leaves_its_quotes_or_its_line(prefix: str, name: str) -> None:
    now = status(prefix + name)
    page = render(now).decode()
    assert len(page.splitlines()) == len(render(status()).decode().splitlines())
    assert all(each.isprintable() or each == "\n" for each in page)
    assert set(parsed(now)) == set(parsed(status()))


def test_a_label_is_read_back_as_it_was() -> None:
    name = 'a "quoted" \\ name\nof two lines, umlaut \u00e4'
    assert [key[1] for key in samples(status(name), "sealmesh_requests_total")] == [name]
    assert escape_label("\x1b[31m") == "?[31m"


async def test_it_is_on_the_console_s_port() -> None:
    server = ConsoleServer(Source(), port=0, token="t")
    base = await server.start()
    try:
        async with httpx.AsyncClient(base_url=base) as client:
            answer = await client.get("/metrics")
            assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE)
            assert answer.content == render(STATUS)
            assert (await client.post("/metrics")).status_code == 403
            assert (await client.get("/metrics", headers={"host": "evil.example"})).status_code == 403
    finally:
        await server.shutdown()


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == reference()
