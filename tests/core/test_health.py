"""What is known of a target from its traffic, and when it is given a rest."""

from __future__ import annotations

import pytest

from penstock.core.errors import fault
from penstock.core.health import Breaking, Circuit, Health

DOWN = fault("provider_unreachable")


def fail(health: Health, now: float, code: str = "provider_unreachable", *, retry_after: float | None = None) -> None:
    probe = health.asked(now)
    health.failed(fault(code, retry_after=retry_after), now, probe=probe)


def test_means_follow_what_is_measured() -> None:
    health = Health()
    assert (health.wait, health.pace) == (None, None)
    for seconds in (1.0, 2.0):
        health.asked(0.0)
        health.first(seconds)
        health.answered(11, 2.0)
    assert health.wait == pytest.approx(1.2)
    assert health.pace == pytest.approx(5.0)


def test_the_slow_end_of_first_tokens_is_known_after_ten_of_them() -> None:
    health = Health()
    for number in range(1, 10):
        health.first(number / 10)
    assert health.slow_first() is None
    health.first(5.0)
    assert (health.slow_first(), health.slow_first(0.5)) == (5.0, 0.6)


def test_five_failures_in_a_row_open_the_circuit_and_a_probe_closes_it() -> None:
    health = Health()
    for _ in range(4):
        fail(health, 0.0)
    assert health.circuit(0.0) is Circuit.CLOSED
    fail(health, 0.0)
    assert (health.circuit(4.9), health.back(1.0)) == (Circuit.OPEN, 4.0)
    assert health.circuit(5.0) is Circuit.HALF_OPEN
    assert health.asked(5.0)
    assert health.circuit(5.1) is Circuit.OPEN, "one probe at a time"
    health.answered(1, 1.0, probe=True)
    assert health.circuit(5.2) is Circuit.CLOSED


def test_every_probe_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    health = Health(Breaking(rest=5.0, longest=12.0, failures=1))
    now, rests = 0.0, []
    fail(health, now)
    for _ in range(4):
        rests.append(health.back(now))
        now += health.back(now)
        fail(health, now)
    assert rests == [5.0, 10.0, 12.0, 12.0]


def test_one_that_is_beaten_time_after_time_rests_and_longer_after_each_probe() -> None:
    health = Health()
    now = 0.0
    for _ in range(5):
        assert health.admits(now)
        probe = health.asked(now)
        health.beaten(now)
        health.left(probe=probe)
    assert health.back(now) == 5.0
    probe = health.asked(5.0)
    health.beaten(6.0)
    health.left(probe=probe)
    assert (health.back(6.0), health.in_flight) == (10.0, 0)


def test_many_failures_among_answers_open_it_too() -> None:
    health = Health()
    for _ in range(10):
        health.asked(0.0)
        health.answered(1, 1.0)
        assert health.circuit(0.0) is Circuit.CLOSED
        fail(health, 0.0)
    assert health.circuit(0.0) is Circuit.OPEN


@pytest.mark.parametrize("code", ["provider_refused", "context_too_long", "invalid_request", "provider_model_unknown"])
def test_what_the_question_is_to_blame_for_says_nothing_of_the_target(code: str) -> None:
    health = Health(Breaking(failures=1))
    fail(health, 0.0, code)
    assert (health.circuit(0.0), health.failures, health.in_flight) == (Circuit.CLOSED, 0, 0)


def test_a_provider_that_limits_is_left_alone_for_as_long_as_it_says() -> None:
    health = Health(Breaking(failures=1))
    fail(health, 10.0, "provider_rate_limited", retry_after=3.0)
    assert (health.admits(12.9), health.admits(13.0), health.circuit(10.0)) == (False, True, Circuit.CLOSED)


def test_a_probe_that_is_given_up_leaves_the_next_one_free() -> None:
    health = Health(Breaking(failures=1))
    fail(health, 0.0)
    assert health.asked(5.0)
    health.left(probe=True)
    assert (health.circuit(5.0), health.in_flight) == (Circuit.HALF_OPEN, 0)


def test_the_first_word_of_a_probe_is_enough_since_an_answer_may_take_minutes() -> None:
    health = Health(Breaking(failures=1))
    fail(health, 0.0)
    assert health.asked(5.0)
    health.first(0.5, probe=True)
    assert health.circuit(5.5) is Circuit.CLOSED


def test_what_began_before_a_rest_neither_ends_it_nor_frees_the_place_of_the_probe() -> None:
    health = Health(Breaking(failures=1))
    for _ in range(4):
        assert not health.asked(0.0)
    health.failed(DOWN, 0.0)
    health.answered(1, 1.0)
    assert health.circuit(1.0) is Circuit.OPEN
    assert health.asked(5.0)
    health.left()
    health.first(6.0)
    assert health.circuit(6.0) is Circuit.OPEN, "the probe is still on its way"
