"""What an app feels: the samples that are taken, the figures made of them, and what is said of how answers came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from kit.fake_node import PROOF, FakeNode, Reply, error, events, model
from sealmesh.cli.bench import Bench, Sample, figures, percentile, result_json, result_lines, run_bench
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone
from sealmesh.errors import BackendError, RequestError, TransportError
from sealmesh.node.home import Home

PLAIN = Tone(coloured=False)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as running:
        running.models(model("smollm2-135m"))
        yield running


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by as much at each look."""
    looked = iter(range(1_000_000))
    return lambda: next(looked) * step


def bench(node: FakeNode, *, said: list[str] | None = None) -> Bench:
    told = said if said is not None else []
    return Bench(api=NodeApi(node.state), model="m", tokens=3, tell=told.append, clock=ticking(0.010))


def sample(
    began: float, *arrivals: float, tokens: int = 0, proof: tuple[str, ...] = ("xwing", "pinned", "h", "e")
) -> Sample:
    return Sample(began=began, arrivals=arrivals, ended=arrivals[-1], tokens=tokens or len(arrivals), proof=proof)


def usage(tokens: int) -> bytes:
    return f'data: {{"choices": [], "usage": {{"completion_tokens": {tokens}}}}}\n\n'.encode()


def test_one_request_warms_up_and_each_run_is_a_sample(node: FakeNode) -> None:
    node.answers += [Reply(events("x"))] + [Reply(events("a", "b", "c"), headers=PROOF)] * 2
    said: list[str] = []
    measured = bench(node, said=said).run(runs=2, streams=1)
    assert said == ["one request to warm up", "round 1 of 2 at 1 stream", "round 2 of 2 at 1 stream"]
    assert [len(one) for one in measured[1]] == [1, 1]
    (first,) = measured[1][0]
    assert [round(at - first.began, 3) for at in first.arrivals] == [0.01, 0.02, 0.03]
    assert first.tokens == 3
    assert first.proof[:2] == ("xwing", "self-asserted")
    prompts = [request["messages"][0]["content"] for request in node.asked]
    assert len(set(prompts)) == 3  # no cache may answer for the model
    assert all(request["max_tokens"] == 3 for request in node.asked)


def test_several_streams_run_at_once_in_fewer_rounds(node: FakeNode) -> None:
    node.answers += [Reply(events("a"), headers=PROOF)] * (1 + 5 + 3 * 4)
    measured = bench(node).run(runs=5, streams=4)
    assert {streams: [len(one) for one in rounds] for streams, rounds in measured.items()} == {1: [1] * 5, 4: [4] * 3}


def test_tokens_are_what_the_answer_says_that_they_were(node: FakeNode) -> None:
    body = events("a", "b", end=False) + usage(7) + b"data: [DONE]\n\n"
    node.answers += [Reply(body)] * 2
    ((one,),) = bench(node).run(runs=1, streams=1)[1]
    assert (one.tokens, len(one.arrivals)) == (7, 2)


def test_a_models_thinking_counts_as_its_pace(node: FakeNode) -> None:
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n'
    node.answers += [Reply(thought + events("a"))] * 2
    ((one,),) = bench(node).run(runs=1, streams=1)[1]
    assert len(one.arrivals) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(error(403, "no_attested_host", "No host."), 403), RequestError),
        (Reply(events("a", end=False)), TransportError),
        (Reply(events()), BackendError),
    ],
)
@pytest.mark.parametrize("streams", [1, 3])
def test_one_failure_is_the_whole_runs(node: FakeNode, reply: Reply, kind: type[Exception], streams: int) -> None:
    good = 1 if streams == 1 else 3
    node.answers += [Reply(events("a"))] * good + [reply] + [Reply(events("a"))] * 5
    with pytest.raises(kind):
        bench(node).run(runs=1 if streams > 1 else 3, streams=streams)


# --- figures -----------------------------------------------------------------------------------------------------


def test_figures() -> None:
    rounds = [
        [sample(0.0, 0.1, 0.2, 0.4), sample(0.0, 0.3, 0.4, 0.5)],  # 6 tokens in 0.5 s
        [sample(1.0, 1.2, 1.3, 1.4), sample(1.0, 1.2, 1.3, 1.6, tokens=9)],  # 12 tokens in 0.6 s
        [sample(2.0, 2.2, 2.3, 2.4), sample(2.1, 2.3, 2.4, 2.6)],  # 6 tokens in 0.6 s
    ]
    found = figures(rounds)
    assert found.first_median_ms == pytest.approx(200)
    assert found.first_p99_ms == pytest.approx(300)
    assert found.gap_median_ms == pytest.approx(100)
    assert found.gap_p99_ms == pytest.approx(300)
    assert found.tokens_s == pytest.approx(12)  # of 12, 20 and 10


def test_one_token_has_no_gap() -> None:
    assert figures([[sample(0.0, 0.1)]]).gap_p99_ms == 0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.99, 5), (1.0, 5)])
def test_percentile(share: float, value: int) -> None:
    assert percentile([5, 1, 4, 2, 3], share) == value


# --- what is said ------------------------------------------------------------------------------------------------


def test_it_says_how_the_answers_came_and_at_which_tier() -> None:
    sealed, local = ("xwing", "self-asserted", "3f9c" * 16, "81d2"), ("local", "local", "aa" * 32, "")
    measured = {
        1: [[sample(0.0, 0.1, proof=sealed)], [sample(0.0, 0.1, proof=sealed)]],
        2: [[sample(0, 1, proof=local)]],
    }
    lines = result_lines(measured, PLAIN)
    assert lines[0].split() == ["1", "STREAM", "2", "STREAMS"]
    assert "  2 × sealed (xwing) to host 3f9c3f9c3f9c…, tier self-asserted: a software key answered" in "\n".join(lines)
    assert "  1 × answered by this node's own model" in "\n".join(lines)
    told = result_json("m", 5, measured)
    assert told["answers"][0] == {
        "count": 2,
        "sealed": "xwing",
        "tier": "self-asserted",
        "host": "3f9c" * 16,
        "evidence": "81d2",
    }
    assert [one["streams"] for one in told["figures"]] == [1, 2]


def test_a_hosts_words_do_not_reach_the_terminal_as_controls() -> None:
    hostile = ("xwing", "\x1b[2J", "\x1b]0;", "")
    assert "\x1b" not in "\n".join(result_lines({1: [[sample(0.0, 0.1, proof=hostile)]]}, PLAIN))


def test_the_command_finds_the_node_by_its_home(
    node: FakeNode, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path_factory.mktemp("bench") / "home")
    with home.lock():
        home.write_run(node.state)
        for as_json in (True, False):
            node.answers += [Reply(events("a", "b"), headers=PROOF)] * 4
            assert run_bench(None, home.path, runs=1, streams=2, tokens=8, as_json=as_json) == 0
            shown = capsys.readouterr()
            assert shown.err == ""  # progress is for a terminal
            if as_json:
                assert json.loads(shown.out)["model"] == "smollm2-135m"
            else:
                assert "smollm2-135m, answers of at most 8 tokens" in shown.out
                assert "3 × sealed (xwing)" in shown.out
