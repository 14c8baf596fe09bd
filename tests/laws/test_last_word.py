"""Law 5: any source, any failure, any moment of cancel: one terminal event, every part closed, the source closed, the log sealed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Broken, Refused, fault
from penstock.core.events import (
    TERMINAL,
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Note,
    Opened,
    Started,
    Usage,
)
from penstock.core.lifecycle import Phase
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.source import Source, compose
from penstock.core.target import switch
from penstock.flow.policy import Bounds, OnDisconnect, Policy, SlowReader
from penstock.flow.pump import CLOSING
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.stores.memory import MemoryStore
from penstock.testing.laws.order import check_order
from penstock.testing.strategies import runs
from tests.flow.scripted import ASKED, Clock, Seen, held, never, settle
from tests.stages.house import STAGES, house

Mood = Literal["wait", "hurry"]
Fate = Literal[
    "nothing", "raise", "break", "refuse", "cancel itself", "leave", "hang", "generator exit", "illegal", "surrogate"
]
Farewell = Literal["polite", "slow", "hanging", "raising", "stubborn", "talking"]

FATES: tuple[Fate, ...] = (
    "nothing", "raise", "break", "refuse", "cancel itself", "leave", "hang", "generator exit", "illegal", "surrogate",
)  # fmt: skip
FAREWELLS: tuple[Farewell, ...] = ("polite", "slow", "hanging", "raising", "stubborn", "talking")
ILLEGAL: list[Event] = [Started("x", "m", 0), Delta(99, "x"), Chunk(0, b"x"), Closed(99), Opened(0, "text")]


class Unruly:
    """A source that says `events` until its fate overtakes it, and then closes in its own way."""

    def __init__(self, events: list[Event], moods: list[Mood], fate: Fate, farewell: Farewell):
        self.events = events
        self.moods = moods
        self.fate = fate
        self.farewell = farewell
        self.asked = self.closed = 0

    def __repr__(self) -> str:
        return f"Unruly({self.events}, {self.moods}, {self.fate!r}, {self.farewell!r})"

    async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        self.asked += 1
        try:
            for number, event in enumerate(self.events):
                if self.moods[number % len(self.moods)] == "wait":
                    await self._wait()
                yield event
            await self._wait()
            if self.fate == "illegal":
                for event in ILLEGAL:
                    yield event
            if self.fate == "surrogate":
                yield Note("\ud800", None)
            await self._meet_fate()
        finally:
            try:
                await self._bid_farewell()
                if self.farewell == "talking":
                    yield Note("one more", "thing")
            finally:
                self.closed += 1

    async def _wait(self) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.farewell != "stubborn":
                raise
            await never()

    async def _meet_fate(self) -> None:
        match self.fate:
            case "raise":
                raise ValueError("a surprise")
            case "break":
                raise Broken("provider_error")
            case "refuse":
                raise Refused("content_refused")
            case "cancel itself":
                raise asyncio.CancelledError
            case "generator exit":
                raise GeneratorExit
            case "hang":
                await never()
            case "nothing" | "leave" | "illegal" | "surrogate":
                pass

    async def _bid_farewell(self) -> None:
        match self.farewell:
            case "slow":
                for _ in range(5):
                    await asyncio.sleep(0)
            case "hanging":
                await never()
            case "raising":
                raise RuntimeError("in the clean-up")
            case "polite" | "stubborn" | "talking":
                pass


@st.composite
def sources(draw: st.DrawFn) -> Unruly:
    """A legal answer, or the beginning of one, and what becomes of it."""
    events = [entry.event for entry in draw(runs(steps=12))]
    fate = draw(st.sampled_from(FATES))
    if fate != "nothing":
        events = events[: draw(st.integers(0, len(events) - 1))]
    moods: list[Mood] = draw(st.lists(st.sampled_from(["wait", "hurry"]), min_size=1, max_size=4))
    return Unruly(events, moods, fate, draw(st.sampled_from(FAREWELLS)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """What readers may do to a run, bounds small enough to be met."""
    slow_reader: SlowReader = draw(st.sampled_from(["pause", "coalesce", "disconnect"]))
    what: Literal["cancel", "grace", "finish"] = draw(st.sampled_from(["cancel", "grace", "finish"]))
    high = draw(st.sampled_from([100, 500, 10_000]))
    limits = Bounds(high=high, low=high // 2, detached_bytes=high, max_run_bytes=high * 2)
    return Policy(slow_reader=slow_reader, on_disconnect=OnDisconnect(what, 5), bounds=limits)


Act = Literal["cancel", "fail", "attach", "leave", "take", "input", "turn", "later", "abandon"]
ACTS: tuple[Act, ...] = (
    "cancel",
    "fail",
    "attach",
    "leave",
    "take",
    "take",
    "input",
    "turn",
    "turn",
    "turn",
    "later",
    "abandon",
)


@given(source=sources(), policy=policies(), acts=st.lists(st.sampled_from(ACTS), max_size=20))
def test_every_run_ends_once_with_everything_closed(source: Unruly, policy: Policy, acts: list[Act]) -> None:
    asyncio.run(_live(source, [source], policy, acts))


@given(
    targets=st.lists(sources(), min_size=1, max_size=3),
    order=st.lists(st.sampled_from(sorted(STAGES)), max_size=6),
    policy=policies(),
    acts=st.lists(st.sampled_from(ACTS), max_size=20),
)
def test_every_run_ends_once_whatever_stages_stand_before_however_many_targets(
    targets: list[Unruly], order: list[str], policy: Policy, acts: list[Act]
) -> None:
    home = house(None, **{f"t{number}": target for number, target in enumerate(targets)})
    for health in home.health.values():
        for _ in range(10):
            health.first(0.0)  # so that whoever is not there at once is late
    source = compose(switch(home), [STAGES[name](home) for name in order])
    asyncio.run(_live(source, targets, policy, acts))
    assert {name: health.in_flight for name, health in home.health.items()} == dict.fromkeys(home.targets, 0)


async def _live(source: Source, targets: list[Unruly], policy: Policy, acts: list[Act]) -> None:
    before = asyncio.all_tasks()
    unheard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(str(context)))
    clock, seen = Clock(), Seen()
    flow = Runs(MemoryStore(clock=clock), observer=seen, clock=clock)
    dog = Watchdog(flow)
    handle = await flow.start(ASKED, source, policy, principal=Principal())

    def leave() -> None:
        for reader in handle.log.readers[:1]:
            reader.detach()

    deeds: dict[Act, Callable[[], object]] = {
        "cancel": lambda: flow.cancel(handle),
        "fail": lambda: flow.end(handle, Failed(fault("gap_timeout"))),
        "attach": lambda: flow.attach(handle, handle.log.first - 1),
        "leave": leave,
        "take": lambda: [reader.poll(200) for reader in handle.log.readers],
        "input": lambda: handle.pump.note(Note("input", 1)),
        "later": lambda: dog.tick(clock.turn(4)),
        "abandon": flow.abandon,
        "turn": lambda: None,
    }
    for act in acts:
        deeds[act]()
        await asyncio.sleep(0)
    await settle()
    for _ in range(200):
        # Nothing but time passes: some limit ends every run.
        dog.tick(clock.turn(10))
        await settle()
        if handle.state is Phase.ENDED:
            break
    dog.tick(clock.turn(CLOSING + 1))
    await settle()
    _judge([entry.event for entry in held(handle.log)], whole=handle.log.first == 1)
    assert handle.log.sealed
    assert seen.ended == [handle.pump.terminal] == [held(handle.log)[-1].event]
    if any(target.farewell == "talking" for target in targets):
        # Python closes a generator that yields while it is closed only when nobody holds it any more, not even a traceback.
        seen.raised.clear()
        gc.collect()
    assert [target.closed for target in targets] == [target.asked for target in targets]
    if len(targets) == 1 and source is targets[0]:
        assert targets[0].asked <= 1
    assert not handle.pump.closing
    assert asyncio.all_tasks() == before
    await flow.close()
    assert unheard == []


def _judge(events: list[Event], *, whole: bool) -> None:
    *earlier, last = events
    assert isinstance(last, TERMINAL)
    assert not any(isinstance(event, TERMINAL) for event in earlier)
    assert isinstance(last, Finished | Failed | Cancelled)
    if whole:
        check_order(events)
        begun = any(isinstance(event, Started) for event in earlier)
        accounts = [event for event in earlier if isinstance(event, Usage)]
        assert not begun or last.usage == (accounts[-1] if accounts else msgspec.UNSET)
