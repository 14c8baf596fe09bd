"""Several attempts at one answer have one account, and each is named in it."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import pytest

from penstock.core.account import GRADES, summed
from penstock.core.events import Grade, Spent, Usage


def test_tokens_and_costs_are_added_and_each_attempt_is_named() -> None:
    first = Spent("a", Usage(10, 2, "reported", cached=4, cost=0.5))
    second = Spent("b", Usage(12, 3, "reported", reasoning=1, cost=0.25))
    assert summed([first, second]) == Usage(
        22, 5, "reported", cached=4, reasoning=1, cost=0.75, attempts=(first, second)
    )


def test_one_attempt_is_its_own_sum() -> None:
    assert summed([Spent("a", Usage(10, 2, "drained", cost=0.5))]) == Usage(10, 2, "drained", cost=0.5)


def test_an_attempt_that_used_nothing_is_not_on_the_bill() -> None:
    nothing, told = Spent("a", Usage(0, 0, "counted")), Spent("b", Usage(10, 2, "reported"))
    assert summed([nothing, told]) == summed([told, nothing]) == told.usage
    assert summed([nothing, nothing]) == nothing.usage


def test_a_cost_that_is_not_known_of_one_is_not_known_of_all() -> None:
    assert summed([Spent("a", Usage(1, 1, "reported", cost=0.5)), Spent("b", Usage(1, 1, "reported"))]).cost is None


@pytest.mark.parametrize(("one", "other"), [*permutations(GRADES, 2)])
def test_a_sum_is_known_no_better_than_the_worst_of_its_parts(one: Grade, other: Grade) -> None:
    both = summed([Spent("a", Usage(1, 1, one)), Spent("b", Usage(1, 1, other))])
    assert both.grade == GRADES[max(GRADES.index(one), GRADES.index(other))]


def test_every_grade_has_its_rank() -> None:
    assert sorted(GRADES) == sorted(get_args(Grade))
