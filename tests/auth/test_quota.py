"""Token buckets: how many at once, how many a minute, each name for itself, in bounded memory."""

import pytest

from penstock.auth.grant import Allowance, Grant
from penstock.auth.quota import GUESSES, Buckets, Quota
from penstock.core.errors import Refused
from penstock.core.request import Principal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def grant(name: str = "alice", **allowance: float) -> Grant:
    return Grant(principal=Principal(name), allowance=Allowance(**allowance))  # type: ignore[arg-type]


def test_a_burst_passes_and_then_as_many_as_time_gives(clock: Clock) -> None:
    buckets = Buckets(clock=clock)
    assert [buckets.take("a", per_minute=60, burst=3) for _ in range(4)] == [0, 0, 0, 1]
    clock.now = 0.5
    assert buckets.take("a", per_minute=60, burst=3) == 0.5
    clock.now = 1
    assert buckets.take("a", per_minute=60, burst=3) == 0
    clock.now = 1000
    assert [bool(buckets.take("a", per_minute=60, burst=3)) for _ in range(4)] == [False, False, False, True]


def test_what_is_refused_takes_no_token(clock: Clock) -> None:
    buckets = Buckets(clock=clock)
    buckets.take("a", per_minute=60, burst=1)
    assert {buckets.take("a", per_minute=60, burst=1) for _ in range(100)} == {1}


def test_names_do_not_share(clock: Clock) -> None:
    buckets = Buckets(clock=clock)
    buckets.take("a", per_minute=1, burst=1)
    assert buckets.take("b", per_minute=1, burst=1) == 0


def test_the_table_is_bounded_and_forgets_whom_it_saw_longest_ago(clock: Clock) -> None:
    buckets = Buckets(clock=clock, most=3)
    for name in ("a", "b", "c", "a", "d"):
        buckets.take(name, per_minute=1, burst=1)
    assert len(buckets) == 3
    assert [bool(buckets.take(name, per_minute=1, burst=1)) for name in ("a", "b")] == [True, False]


def test_a_key_begins_so_many_runs_a_minute_and_is_told_when_to_come_back(clock: Clock) -> None:
    quota = Quota(clock=clock)
    alice = grant(runs_per_minute=30, burst=2)
    quota.begin(alice)
    quota.begin(alice)
    with pytest.raises(Refused) as refused:
        quota.begin(alice)
    assert (refused.value.fault.code, refused.value.fault.retry_after) == ("rate_limited", 2)
    quota.begin(grant("bob", runs_per_minute=30, burst=2))


def test_without_a_burst_of_its_own_a_minute_may_come_at_once(clock: Clock) -> None:
    quota = Quota(clock=clock)
    for _ in range(5):
        quota.begin(grant(runs_per_minute=5))
    with pytest.raises(Refused):
        quota.begin(grant(runs_per_minute=5))


def test_without_a_limit_nothing_is_counted(clock: Clock) -> None:
    quota = Quota(clock=clock)
    for _ in range(1000):
        quota.begin(grant())


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("", "", True),
    ],
)
def test_who_guesses_keys_is_stopped_by_address(clock: Clock, first: str, second: str, together: bool) -> None:
    quota = Quota(clock=clock)
    for _ in range(GUESSES):
        quota.guessed(first)
    if together:
        with pytest.raises(Refused) as refused:
            quota.guessed(second)
        assert (refused.value.fault.code, refused.value.fault.retry_after) == ("rate_limited", 6)
    else:
        quota.guessed(second)
