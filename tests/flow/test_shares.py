"""Shares: what each principal has in use is counted exactly, whatever order things begin and end in."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Refused
from penstock.core.request import Principal
from penstock.flow.shares import Shares

ALICE, BOB = Principal("alice"), Principal("bob")


def test_one_beyond_the_bound_is_refused_until_another_ends() -> None:
    shares = Shares()
    for _ in range(2):
        shares.begin(ALICE, "m", most=2)
    with pytest.raises(Refused) as refused:
        shares.begin(ALICE, "m", most=2)
    assert (refused.value.fault.code, refused.value.fault.retryable) == ("too_many_runs", True)
    shares.begin(BOB, "m", most=2)
    shares.end(ALICE, "m")
    shares.begin(ALICE, "m", most=2)


def test_readers_are_counted_beside_runs() -> None:
    shares = Shares()
    shares.begin(ALICE, "m", most=1)
    shares.check_reader(ALICE, most=1)
    shares.join(ALICE)
    with pytest.raises(Refused) as refused:
        shares.check_reader(ALICE, most=1)
    assert refused.value.fault.code == "too_many_readers"
    shares.leave(ALICE)
    shares.check_reader(ALICE, most=1)


def test_no_bound_is_none() -> None:
    shares = Shares()
    for _ in range(1000):
        shares.begin(ALICE, "m", most=0)
        shares.join(ALICE)
    shares.check_reader(ALICE, most=0)


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.booleans(), st.booleans()), max_size=60))
def test_who_has_nothing_in_use_is_not_remembered(steps: list[tuple[Principal, bool, bool]]) -> None:
    shares = Shares()
    live: Counter[tuple[Principal, bool]] = Counter()
    for principal, run, more in steps:
        if more:
            live[principal, run] += 1
            shares.begin(principal, "m", most=0) if run else shares.join(principal)
        elif live[principal, run]:
            live[principal, run] -= 1
            shares.end(principal, "m") if run else shares.leave(principal)
        assert shares.principals() == {principal for (principal, _), count in live.items() if count}


def test_a_model_has_so_many_runs_whoever_began_them() -> None:
    shares = Shares()
    shares.begin(ALICE, "small", most=0, most_of_model=2)
    shares.begin(BOB, "small", most=0, most_of_model=2)
    shares.begin(BOB, "other", most=0, most_of_model=2)
    with pytest.raises(Refused) as full:
        shares.begin(ALICE, "small", most=0, most_of_model=2)
    assert (full.value.fault.code, full.value.fault.retry_after) == ("overloaded", 1)
    shares.end(BOB, "small")
    shares.begin(ALICE, "small", most=0, most_of_model=2)
