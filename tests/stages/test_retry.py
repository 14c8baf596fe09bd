"""Asking again before the first word: how often, after what, how long to wait, and never after a word was said."""

from __future__ import annotations

import pytest

from penstock.core.budget import Budget
from penstock.core.errors import fault
from penstock.core.events import Delta, Note, Opened, Started
from penstock.core.source import Source
from penstock.core.target import switch
from penstock.stages.retry import Retrying, build, pause_before
from tests.stages.house import STARTED, Scripted, house, refusing, saying, told, words

HOW = Retrying()


class Pauses(list[float]):
    """Where a stage sleeps: it remembers for how long, and takes no time."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def retrying(target: Scripted, how: Retrying = HOW, pauses: Pauses | None = None) -> Source:
    home = house(a=target)
    return build(home, how, sleep=Pauses() if pauses is None else pauses)(switch(home))


async def test_a_failure_before_the_first_word_is_followed_by_another_attempt_that_readers_do_not_see() -> None:
    target = Scripted(refusing(), saying("well"))
    said, broken = await told(retrying(target))
    assert (words(said), broken, target.closed) == ("well", None, 2)
    assert [type(event) for event in said[:3]] == [Note, Started, Opened]
    assert isinstance(said[0], Note)
    assert (said[0].topic, {**said[0].body, "wait": 0}) == (  # type: ignore[dict-item]
        "retry", {"target": "a", "attempt": 2, "after": "provider_unreachable", "wait": 0},
    )  # fmt: skip


async def test_it_is_given_up_after_so_many_attempts_with_the_last_failure() -> None:
    target = Scripted(refusing(), refusing(), refusing("provider_overloaded"))
    said, broken = await told(retrying(target))
    assert broken is not None
    assert (broken.fault.code, len(target.asked), target.closed) == ("provider_overloaded", 3, 3)
    assert {type(event) for event in said} == {Note}


@pytest.mark.parametrize("code", ["provider_auth", "provider_refused", "content_refused", "not_carried", "gap_timeout"])
async def test_what_would_fail_again_is_not_asked_again(code: str) -> None:
    target = Scripted(refusing(code))
    _, broken = await told(retrying(target))
    assert broken is not None
    assert (broken.fault.code, len(target.asked)) == (code, 1)


async def test_after_the_first_word_nothing_is_asked_again() -> None:
    target = Scripted(refusing("provider_truncated", after=[STARTED, Opened(0, "text"), Delta(0, "half")]))
    said, broken = await told(retrying(target))
    assert broken is not None
    assert (words(said), broken.fault.code, len(target.asked)) == ("half", "provider_truncated", 1)


async def test_a_provider_that_says_when_to_come_back_is_obeyed_up_to_the_end_of_patience() -> None:
    pauses = Pauses()
    await told(retrying(Scripted(refusing("provider_rate_limited", retry_after=2.5), saying("x")), pauses=pauses))
    assert pauses == [2.5]
    target = Scripted(refusing("provider_rate_limited", retry_after=99.0))
    _, broken = await told(retrying(target))
    assert broken is not None
    assert (broken.fault.retry_after, len(target.asked)) == (99.0, 1)


def test_pauses_are_drawn_from_all_of_a_growing_span() -> None:
    down = fault("provider_unreachable")
    assert [pause_before(count, down, HOW, draw=1.0) for count in (1, 2, 3, 4, 9)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert pause_before(3, down, HOW, draw=0.0) == 0.0


async def test_retries_are_paid_from_a_budget_so_that_they_never_become_the_outage() -> None:
    target = Scripted(refusing())
    home = house(a=target)
    # Two models that name it share what there is.
    sources = [build(home, Retrying(budget=0.2), sleep=Pauses())(switch(home)) for _ in range(2)]
    for number in range(200):
        await told(sources[number % 2])
    assert 200 + 40 <= len(target.asked) <= 200 + 40 + 10


def test_a_budget_is_never_more_than_its_reserve() -> None:
    budget = Budget(1.0)
    assert [budget.spend(), budget.spend()] == [True, False]
    for _ in range(10):
        budget.earn(0.5)
    assert [budget.spend(), budget.spend()] == [True, False]
