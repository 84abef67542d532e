"""In which order hosts are tried, and what is said when there is none."""

from __future__ import annotations

import pytest

from kit.sealed import make_epoch, make_host
from sealmesh.errors import RoutingError, RoutingFault
from sealmesh.routing.choose import RETRY_AFTER_S, order
from sealmesh.routing.directory import Directory, HostOffer

A, B, C = (bytes([number]) * 32 for number in range(3))
NOW = 1000.0
EPOCH = make_epoch()


def directory_of(*verified: bytes, pending: tuple[bytes, ...] = (), refused: tuple[bytes, ...] = ()) -> Directory:
    directory = Directory(
        verified=lambda one, now: make_host(EPOCH, endpoint_id=one) if one in verified else None,
        refusals=lambda one: ("too weak",) if one in refused else (),
    )
    for one in (*verified, *pending, *refused):
        directory.put(HostOffer(endpoint_id=one, models={"m": 1}))
    return directory


def tried(directory: Directory, rtts: dict[bytes, float]) -> list[bytes]:
    return [candidate.offer.endpoint_id for candidate in order(directory, "m", NOW, rtt_ms=rtts.get)]


def test_the_nearest_comes_first_and_then_by_name() -> None:
    directory = directory_of(A, B, C)
    assert tried(directory, {A: 9.0, B: 1.0, C: 5.0}) == [B, C, A]
    assert tried(directory, {A: 1.0, B: 1.0, C: 1.0}) == [A, B, C]


def test_who_is_connected_comes_before_who_is_not() -> None:
    assert tried(directory_of(A, B, C), {C: 100.0}) == [C, A, B]


def test_the_least_used_comes_before_the_nearest() -> None:
    directory = directory_of(A, B)
    directory.exchange_opened(A)
    assert tried(directory, {A: 1.0, B: 9.0}) == [B, A]


def test_who_failed_comes_last_but_comes() -> None:
    directory = directory_of(A, B, C)
    directory.note_failure(A, NOW)
    assert tried(directory, {A: 1.0}) == [B, C, A]
    for one in (B, C):
        directory.note_failure(one, NOW)
    assert len(tried(directory, {})) == 3


def refusal(directory: Directory, model: str = "m") -> RoutingError:
    with pytest.raises(RoutingError) as refused:
        order(directory, model, NOW, rtt_ms=lambda _: None)
    return refused.value


def test_nobody_known_is_no_host_and_worth_another_try() -> None:
    error = refusal(directory_of())
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_HOST, RETRY_AFTER_S)


def test_a_model_that_nobody_has_is_unknown() -> None:
    error = refusal(directory_of(A), "other")
    assert (error.fault, error.retry_after_s) == (RoutingFault.UNKNOWN_MODEL, None)


def test_all_refused_is_no_attested_host_with_each_reason_and_no_retry() -> None:
    error = refusal(directory_of(refused=(A, B)))
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_ATTESTED_HOST, None)
    assert error.refused == {A.hex(): "too weak", B.hex(): "too weak"}


def test_a_verdict_on_its_way_is_waited_for() -> None:
    error = refusal(directory_of(refused=(A,), pending=(B,)))
    assert (error.fault, error.retry_after_s) == (RoutingFault.NO_HOST, RETRY_AFTER_S)
    assert error.refused == {A.hex(): "too weak", B.hex(): "not verified yet"}
