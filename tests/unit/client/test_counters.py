"""Counts: each request ends once, and nobody else's words grow them."""

from __future__ import annotations

import asyncio

import pytest

from sealmesh.client.counters import OTHER, REASONS_MAX, Counters, reason_code
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
