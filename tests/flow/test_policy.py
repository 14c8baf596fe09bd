from __future__ import annotations

from penstock.flow.policy import Bounds, OnDisconnect, Policy, TimeLimits


def test_the_defaults_are_in_an_order_in_which_they_can_work() -> None:
    bounds = Bounds()
    assert bounds.merge_above < bounds.low < bounds.high <= bounds.turn_bytes < bounds.detached_bytes
    assert bounds.detached_bytes < bounds.max_run_bytes
    limits = TimeLimits()
    assert limits.stall < limits.gap < limits.first_token < limits.total


def test_a_run_without_a_policy_pauses_for_readers_and_waits_a_minute_for_them_to_return() -> None:
    policy = Policy()
    assert policy.slow_reader == "pause"
    assert policy.on_disconnect == OnDisconnect("grace", 60.0)
