"""A target that takes only so many at once: who waits, in which order, who is sent on, and what is left of who leaves."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import Broken
from penstock.core.events import Note
from penstock.core.target import switch
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
