"""A target that takes only so many at once: who waits, in which order, who is sent on, and what is left of who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.core.errors import Broken, fault
from penstock.core.events import Fault, Note
from penstock.core.source import compose
from penstock.core.target import switch
from penstock.stages import fallback, retry
from penstock.stages.queue import Turnstile, build
from penstock.testing.sources import SoloRun
from tests.flow.scripted import settle
from tests.stages.house import ASKED, Scripted, house, saying, told, words


async def test_the_principals_go_in_turns_and_each_in_the_order_it_came() -> None:
    turnstile, went = Turnstile(1, line=10), list[str]()

    async def go(who: str, name: str) -> None:
        await turnstile.enter(who)
        went.append(name)

    await turnstile.enter("first")
    tasks = [asyncio.ensure_future(go(who, name)) for who, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"))]
    await settle()
    for _ in tasks:
        turnstile.leave()
        await settle()
    assert went == ["a1", "b1", "a2", "a3"]
    assert turnstile.waiting == 0


async def test_a_full_line_is_told_at_once() -> None:
    turnstile = Turnstile(1, line=1)
    await turnstile.enter("a")
    waiting = asyncio.ensure_future(turnstile.enter("a"))
    await settle()
    with pytest.raises(Broken) as busy:
        await turnstile.enter("b")
    assert (busy.value.fault.code, busy.value.fault.retry_after) == ("target_busy", 1.0)
    turnstile.leave()
    await waiting


async def test_nobody_keeps_the_others_out_by_filling_the_line() -> None:
    turnstile = Turnstile(1, line=3)
    await turnstile.enter("greedy")
    greedy = [asyncio.ensure_future(turnstile.enter("greedy")) for _ in range(3)]
    await settle()
    modest = asyncio.ensure_future(turnstile.enter("modest"))
    await settle()
    assert ([task.done() for task in greedy], turnstile.waiting) == ([False, False, True], 3)
    with pytest.raises(Broken, match="others are to have their turn"):
        await greedy.pop()
    for who in ("modest", "greedy"):  # two of the one and one of the other is as fair as it gets
        with pytest.raises(Broken):
            await turnstile.enter(who)
    for task in (greedy[0], modest, greedy[1]):
        turnstile.leave()
        await task
    assert turnstile.waiting == 0


async def test_a_longer_line_of_those_who_have_just_left_takes_no_place() -> None:
    turnstile = Turnstile(1, line=1)
    await turnstile.enter("a")
    gone = asyncio.ensure_future(turnstile.enter("b"))
    await settle()
    gone.cancel()
    turnstile.resize(2, line=1)
    await settle()
    await asyncio.wait_for(turnstile.enter("c"), 5)
    turnstile.resize(2, line=0)
    with pytest.raises(Broken):
        await turnstile.enter("d")


@pytest.mark.parametrize("granted", [False, True])
async def test_whoever_leaves_the_line_leaves_no_trace(granted: bool) -> None:
    turnstile = Turnstile(1, line=2)
    await turnstile.enter("a")
    gone, stays = (asyncio.ensure_future(turnstile.enter(who)) for who in ("b", "c"))
    await settle()
    if granted:
        turnstile.leave()
    gone.cancel()
    await settle()
    if not granted:
        turnstile.leave()
    await stays
    turnstile.leave()
    await asyncio.wait_for(turnstile.enter("d"), 60)
    assert turnstile.waiting == 0


async def test_a_run_that_waited_says_so_and_its_place_is_given_on_when_it_ends() -> None:
    home = house(a=Scripted(saying("x")))
    turnstile = Turnstile(1, line=5)
    source = build(home, {"a": turnstile})(switch(home))
    await turnstile.enter("somebody")
    before = asyncio.ensure_future(told(source))
    await settle()
    behind = asyncio.ensure_future(told(source))
    await settle()
    turnstile.leave()
    assert words((await before)[0]) == "x"
    said, _ = await behind
    assert (said[0], words(said)) == (Note("queue", {"target": "a", "behind": 1}), "x")
    await asyncio.wait_for(turnstile.enter("next"), 60)


async def test_leaving_in_mid_answer_gives_the_place_back() -> None:
    home = house(a=Scripted(saying("x", "y")))
    turnstile = Turnstile(1, line=0)
    events = build(home, {"a": turnstile})(switch(home))(ASKED, SoloRun())
    await anext(events)
    await events.aclose()
    await asyncio.wait_for(turnstile.enter("next"), 60)


async def test_whoever_waits_too_long_is_sent_on_and_the_target_is_not_blamed() -> None:
    home = house(a=Scripted(saying("x")), b=Scripted(saying("y")))
    turnstile = Turnstile(1, line=5)
    await turnstile.enter("somebody")
    run = SoloRun()
    stages = [fallback.build(home), retry.build(home), build(home, {"a": turnstile})]
    asking = asyncio.ensure_future(told(compose(switch(home), stages), run=run))
    await settle()
    assert run.overdue[-1](fault("first_token_timeout"))
    said, _ = await asking
    assert (words(said), home.health["a"].failures, turnstile.waiting) == ("y", 0, 0)
    assert [note.body for note in said if isinstance(note, Note)] == [{"from": "a", "to": "b", "after": "target_busy"}]


async def test_the_time_of_a_target_begins_with_its_turn() -> None:
    home = house(a=Scripted(saying("x")))
    turnstile = Turnstile(1, line=5)
    await turnstile.enter("somebody")
    begun: list[object] = []

    class Timed(SoloRun):
        def attempt(self, overdue: Callable[[Fault], bool]) -> Callable[[], None]:
            begun.append(overdue)
            return super().attempt(overdue)

    run = Timed()
    events = build(home, {"a": turnstile})(switch(home))(ASKED, run)
    first = asyncio.ensure_future(anext(events))
    await settle()
    assert len(begun) == 1
    turnstile.leave()
    assert await first == Note("queue", {"target": "a", "behind": 0})
    assert len(begun) == 2
    await events.aclose()
    assert run.overdue == []


async def test_a_line_may_become_longer_or_shorter_and_sends_nobody_away() -> None:
    turnstile = Turnstile(1, line=5)
    await turnstile.enter("a")
    waiting = [asyncio.ensure_future(turnstile.enter("b")) for _ in range(3)]
    await settle()
    turnstile.resize(3, line=5)
    await settle()
    assert [each.done() for each in waiting] == [True, True, False]
    turnstile.resize(1, line=0)
    for done in ([True, True, False], [True, True, False], [True, True, True]):
        turnstile.leave()
        await settle()
        assert [each.done() for each in waiting] == done
    with pytest.raises(Broken):
        await turnstile.enter("c")
    turnstile.leave()
    assert not await turnstile.enter("c")
