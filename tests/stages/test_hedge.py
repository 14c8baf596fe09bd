"""Two targets race for the first word when one is later than usual; one wins, and of the other nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from penstock.core.errors import Broken
from penstock.core.events import Delta, Event, Note, Opened
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.core.target import House, Target, switch
from penstock.stages import hedge
from penstock.stages.continuation import build as build_continuation
from penstock.stages.fallback import build as build_fallback
from penstock.stages.hedge import Hedging, build
from penstock.testing.sources import SoloRun
from tests.flow.scripted import Played, settle
from tests.stages.house import ASKED, STARTED, Answer, Scripted, house, refusing, saying, told, words

AT_ONCE = Hedging(least=0.0, budget=0.0)


class Gated:
    """A target that says its answer when the test opens its gate."""

    def __init__(self, answer: Answer):
        self.answer = answer
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self.closed = 0

    async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        self.asked.set()
        try:
            await self.gate.wait()
            for said in self.answer:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.closed += 1


def known(**targets: Gated | Scripted) -> House:
    """A house whose first target has always begun at once, so that any wait is late."""
    home = house(None, **targets)
    for _ in range(10):
        home.health["a"].first(0.0)
    return home


def hedging(home: House, how: Hedging = AT_ONCE) -> Source:
    return build(home, how)(switch(home))


@pytest.mark.parametrize("first", ["a", "b"])
async def test_whoever_speaks_first_is_kept_and_the_other_is_left_at_once(first: str) -> None:
    racers = {"a": Gated(saying("from a")), "b": Gated(saying("from b"))}
    home, run = known(**racers), SoloRun()
    telling = asyncio.ensure_future(told(hedging(home), run=run))
    await racers["b"].asked.wait()
    racers[first].gate.set()
    said, broken = await telling
    assert (words(said), broken, run.target) == (f"from {first}", None, first)
    assert isinstance(said[0], Note)
    assert (said[0].topic, said[0].body) == ("hedge", {"late": "a", "also": "b", "after": 0.0})
    assert {name: racer.closed for name, racer in racers.items()} == {"a": 1, "b": 1}
    assert {name: health.in_flight for name, health in home.health.items()} == {"a": 0, "b": 0}


async def test_one_that_is_late_and_beaten_five_times_in_a_row_is_given_a_rest() -> None:
    racers = {"a": Gated(saying("from a")), "b": Gated(saying("from b"))}
    racers["b"].gate.set()
    home = known(**racers)
    source = hedging(home, Hedging(least=0.0, budget=1.0))
    for _ in range(5):
        assert home.health["a"].admits(home.clock())
        said, _ = await told(source)
        assert words(said) == "from b"
    assert not home.health["a"].admits(home.clock())


async def test_one_that_is_in_time_runs_alone() -> None:
    a, b = Gated(saying("a")), Gated(saying("b"))
    a.gate.set()
    said, _ = await told(hedging(known(a=a, b=b), Hedging(least=3600.0)))
    assert (words(said), b.asked.is_set()) == ("a", False)


async def test_nobody_is_hedged_whose_usual_time_is_not_known() -> None:
    a, b = Gated(saying("a")), Gated(saying("b"))
    a.gate.set()
    said, _ = await told(hedging(house(None, a=a, b=b)))
    assert (words(said), b.asked.is_set()) == ("a", False)


async def test_one_that_fails_leaves_the_race_to_the_other() -> None:
    a, b = Gated(refusing()), Gated(saying("b"))
    telling = asyncio.ensure_future(told(hedging(known(a=a, b=b))))
    await b.asked.wait()
    a.gate.set()
    b.gate.set()
    said, broken = await telling
    assert (words(said), broken, a.closed, b.closed) == ("b", None, 1, 1)


async def test_when_both_fail_the_failure_is_told() -> None:
    a, b = Gated(refusing()), Gated(refusing("provider_overloaded"))
    for racer in (a, b):
        racer.gate.set()
    a.gate.clear()
    telling = asyncio.ensure_future(told(hedging(known(a=a, b=b))))
    await b.asked.wait()
    a.gate.set()
    _, broken = await telling
    assert isinstance(broken, Broken)
    assert broken.fault.code == "provider_unreachable", "the first one's"


async def test_hedges_are_paid_from_a_budget() -> None:
    hedged = 0
    a, b = Gated(saying("a")), Gated(saying("b"))
    source = hedging(known(a=a, b=b))
    for _ in range(8):
        a.gate.clear()
        b.asked.clear()
        telling = asyncio.ensure_future(told(source))
        await a.asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        a.gate.set()
        said, _ = await telling
        hedged += sum(isinstance(event, Note) for event in said)
    assert hedged <= 5


async def test_whoever_leaves_in_the_race_closes_both() -> None:
    racers = {"a": Gated(saying("a")), "b": Gated(saying("b"))}
    telling = asyncio.ensure_future(told(hedging(known(**racers))))
    await racers["b"].asked.wait()
    telling.cancel()
    await asyncio.wait([telling])
    assert {name: racer.closed for name, racer in racers.items()} == {"a": 1, "b": 1}


async def test_whoever_leaves_after_it_closes_the_winner() -> None:
    racers = {"a": Gated(saying("a")), "b": Gated(saying("b", "c"))}
    events = hedging(known(**racers))(ASKED, SoloRun())
    racers["b"].gate.set()
    async for event in events:
        if isinstance(event, Delta):
            break
    await events.aclose()
    assert {name: racer.closed for name, racer in racers.items()} == {"a": 1, "b": 1}


def staged(home: House) -> Source:
    """With the fallback behind it, as in a model."""
    return build(home, AT_ONCE)(build_fallback(home)(switch(home)))


@pytest.mark.parametrize("well", [True, False])
async def test_a_late_one_that_fails_is_not_followed_by_the_one_that_is_asked_already(well: bool) -> None:
    a, b, c = Gated(refusing()), Gated(saying("b") if well else refusing("provider_error")), Scripted(refusing())
    telling = asyncio.ensure_future(told(staged(known(a=a, b=b, c=c))))
    await b.asked.wait()
    b.asked.clear()
    a.gate.set()
    await settle()
    assert (b.asked.is_set(), c.asked) == (False, [])
    b.gate.set()
    said, broken = await telling
    if well:
        assert (words(said), broken) == ("b", None)
    else:
        assert broken is not None
        assert broken.fault.code == "providers_exhausted"
        for name in ("a: provider_unreachable", "b: provider_error; c: provider_unreachable"):
            assert name in broken.fault.message


async def test_a_late_one_that_fails_while_the_hedge_is_told_is_not_followed_by_it_either() -> None:
    a, b = Gated(refusing()), Gated(saying("b"))
    run = SoloRun()
    events = staged(known(a=a, b=b))(ASKED, run)
    note = await anext(events)
    assert isinstance(note, Note)
    assert note.topic == "hedge"
    a.gate.set()
    await settle()
    b.gate.set()
    said = [event async for event in events]
    await events.aclose()
    assert (words(said), a.closed, b.closed) == ("b", 1, 1)


async def test_who_is_late_after_a_fallback_is_hedged_with_those_behind_it() -> None:
    a, b, c = Scripted(refusing()), Gated(saying("b")), Gated(saying("c"))
    home = house(None, a=a, b=b, c=c)
    for _ in range(10):
        home.health["a"].first(0.01)
    telling = asyncio.ensure_future(told(build(home, Hedging(least=0.01))(build_fallback(home)(switch(home)))))
    await b.asked.wait()
    b.asked.clear()
    await c.asked.wait()
    assert not b.asked.is_set()
    c.gate.set()
    said, _ = await telling
    assert (words(said), len(a.asked)) == ("c", 1)
    (note,) = [event for event in said if isinstance(event, Note) and event.topic == "hedge"]
    assert isinstance(note.body, dict)
    assert (note.body["late"], note.body["also"]) == ("b", "c")


async def test_whoever_goes_on_after_the_winner_does_not_wait_for_a_loser_that_hangs_in_its_clean_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hedge, "CLOSING", 0.0)
    hanging = Played(stubborn=True)
    dying = Gated(refusing("provider_truncated", after=[STARTED, Opened(0, "text"), Delta(0, "one ")]))
    late = Target(name="", source=hanging, continues="no")
    home = house(None, a=late, b=dying, c=Scripted(saying("two")))
    for _ in range(10):
        home.health["a"].first(0.0)
    source = build_continuation(home)(build(home, AT_ONCE)(switch(home)))
    dying.gate.set()
    said, broken = await told(source)
    assert (words(said), broken) == ("one two", None)
    await settle()
    assert (hanging.closed, home.health["a"].in_flight) == (1, 0)
