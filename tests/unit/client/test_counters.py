"""Counts: each request ends once, and nobody else's words grow them."""

from __future__ import annotations

import asyncio

import pytest

from sealmesh.client.asker import AnswerProof
from sealmesh.client.counters import (
    FIRST_TOKEN_S,
    HISTOGRAMS_MAX,
    OTHER,
    REASONS_MAX,
    ROUTES_MAX,
    Counters,
    reason_code,
)
from sealmesh.errors import (
    BackendError,
    BusyError,
    ConnectionLostError,
    HostLostError,
    HostTooSlowError,
    LocalProtocolError,
    RemoteProtocolError,
    RequestError,
    RoutingError,
    RoutingFault,
    VerificationError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RoutingError(RoutingFault.NO_ATTESTED_HOST), "no_attested_host"),
        (BackendError(500, "engine_lost", "x"), "engine_lost"),
        (RequestError(400, "invalid_json", "x"), "invalid_json"),
        (BusyError(), "busy"),
        (HostLostError(), "host_lost"),
        (HostTooSlowError(), "host_too_slow"),
        (ConnectionLostError(), "transport"),
        (RemoteProtocolError("x"), "protocol_violation"),
        (VerificationError("a", "b"), "not_verified"),
        (asyncio.CancelledError(), "app_left"),
        (LocalProtocolError(), "internal"),
        (KeyError(), "internal"),
    ],
)
def test_every_failure_has_its_code(error: BaseException, code: str) -> None:
    assert reason_code(error) == code


def test_a_request_ends_once() -> None:
    counters = Counters()
    one, two, three = counters.asked(), counters.asked(), counters.asked()
    assert counters.status().open == 3
    for _ in range(2):
        one.done(prompt_tokens=1, completion_tokens=2)
        one.left()
        two.failed(BusyError())
        two.done(prompt_tokens=100, completion_tokens=100)
        three.left()
        three.failed(BusyError())
    status = counters.status()
    assert (status.open, status.done, status.failed_by_reason) == (0, 1, {"busy": 1, "app_left": 1})
    assert (counters.prompt_tokens, counters.completion_tokens) == (1, 2)


def test_codes_that_hosts_make_up_go_under_one_name_at_last() -> None:
    counters = Counters()
    for number in range(10 * REASONS_MAX):
        counters.asked().failed(BackendError(500, f"made_up_{number}", "x"))
    reasons = counters.status().failed_by_reason
    assert len(reasons) == REASONS_MAX + 1
    assert reasons[OTHER] == 9 * REASONS_MAX
    counters.asked().failed(BackendError(500, "made_up_0", "x"))
    assert counters.status().failed_by_reason["made_up_0"] == 2


def proof(host: str = "aa", *, sealed: str = "xwing", tier: str = "self-asserted") -> AnswerProof:
    return AnswerProof(host=host, sealed=sealed, tier=tier, evidence="", exchange="ee")  # type: ignore[arg-type]


def test_whole_answers_are_counted_by_who_gave_them_and_how() -> None:
    counters = Counters()
    for made in (proof("aa"), proof("aa"), proof("bb", sealed="local", tier="local")):
        request = counters.asked(model="m")
        request.answered_by(made)
        request.done(prompt_tokens=3, completion_tokens=5)
    failed = counters.asked(model="m")
    failed.answered_by(proof("cc"))
    failed.failed(BusyError())
    routes = [
        (one.model, one.host, one.sealed, one.tier, one.requests, one.prompt_tokens, one.completion_tokens)
        for one in counters.status().routes
    ]
    assert routes == [("m", "aa", "xwing", "self-asserted", 2, 6, 10), ("m", "bb", "local", "local", 1, 3, 5)]


def test_a_name_that_nobody_answered_by_is_not_counted() -> None:
    counters = Counters()
    counters.asked(model="a SECRET prompt in the wrong field").failed(RoutingError(RoutingFault.UNKNOWN_MODEL))
    assert "SECRET" not in repr(counters.status())
    assert counters.status().failed_by_reason == {"model_not_found": 1}


def test_the_first_token_of_a_stream_is_timed_once() -> None:
    now = [100.0]
    counters = Counters(clock=lambda: now[0])
    for stream, seconds in ((True, 0.2), (True, 0.25), (True, 500.0), (False, 0.01)):
        request = counters.asked(model="m", stream=stream)
        now[0] += seconds
        request.answered_by(proof())
        request.done(prompt_tokens=1, completion_tokens=1)  # a short answer's end comes with its beginning
        request.began()
        now[0] += 7
        request.began()
    (status,) = counters.status().first_token
    assert (status.model, status.sealed, status.count, status.sum_s) == ("m", "xwing", 3, 500.45)
    assert dict(status.buckets)[0.1] == 0
    assert dict(status.buckets)[0.25] == 2
    assert dict(status.buckets)[FIRST_TOKEN_S[-1]] == 2


def test_names_that_hosts_make_up_go_under_one_name_at_last() -> None:
    """A hostile peer cannot make the status or `/metrics` grow by new names, ids or tiers."""
    counters = Counters()
    for number in range(3 * ROUTES_MAX):
        request = counters.asked(model=f"model {number}", stream=True)
        request.answered_by(proof(f"{number:064x}", tier=f"tier {number}"))
        request.began()
        request.done(prompt_tokens=1, completion_tokens=1)
    status = counters.status()
    others = [one for one in status.routes if one.host == OTHER]
    assert len(status.routes) == ROUTES_MAX + 1
    assert [(one.model, one.sealed, one.tier, one.requests) for one in others] == [
        (OTHER, OTHER, OTHER, 2 * ROUTES_MAX)
    ]
    assert len(status.first_token) == HISTOGRAMS_MAX + 1
