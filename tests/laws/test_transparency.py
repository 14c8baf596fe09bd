"""Law 9: an idle stage in any position leaves the events unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal, get_args

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.errors import Broken
from penstock.core.events import Event, Json, Note, Usage
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.source import Source, Stage, compose
from penstock.core.target import switch
from penstock.flow.policy import OnDisconnect, Policy
from penstock.flow.runs import Runs
from penstock.stages.attempt import FIRST
from penstock.stores.memory import MemoryStore
from penstock.testing.sources import check_source
from penstock.testing.strategies import runs
from tests.flow.scripted import ASKED, Clock, Seen, held, never, settle
from tests.stages.house import STAGES, house

End = Literal["whole", "cut", "break", "raise", "hang"]


CHOSEN: Json = {
    "target": "only",
    "why": "short and simple: the cheapest",
    "candidates": ["only"],
}
"""What routing says of every run; nothing else is added."""


def idle(source: Source) -> Source:
    """The stage that does nothing, written as every stage is."""

    async def wrapped(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        async with aclosing(source(request, run)) as events:
            async for event in events:
                yield event

    return wrapped


def marking(source: Source) -> Source:
    """A stage that does something, so that the order of stages matters."""

    async def wrapped(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        async with aclosing(source(request, run)) as events:
            async for event in events:
                yield msgspec.structs.replace(event, topic=event.topic + "'") if isinstance(event, Note) else event

    return wrapped


def doubling(source: Source) -> Source:
    """Another one: it says every note twice."""

    async def wrapped(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        async with aclosing(source(request, run)) as events:
            async for event in events:
                yield event
                if isinstance(event, Note):
                    yield event

    return wrapped


def telling(events: Sequence[Event], end: End) -> Source:
    async def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        for event in events:
            await asyncio.sleep(0)
            yield event
        if end == "break":
            raise Broken("provider_error")
        if end == "raise":
            raise ValueError("a surprise")
        if end == "hang":
            await never()

    return source


@st.composite
def placed(draw: st.DrawFn) -> tuple[list[Stage], list[Stage]]:
    """A list of stages, and the same with idle ones put in between."""
    stages: list[Stage] = draw(st.lists(st.sampled_from([marking, doubling]), max_size=3))
    among = list(stages)
    for _ in range(draw(st.integers(1, 3))):
        among.insert(draw(st.integers(0, len(among))), idle)
    return stages, among


@given(entries=runs(steps=12), kept=st.integers(0, 20), stages=placed(), end=st.sampled_from(get_args(End)))
def test_an_idle_stage_in_any_position_leaves_the_events_unchanged(
    entries: list[Entry], kept: int, stages: tuple[list[Stage], list[Stage]], end: End
) -> None:
    source = telling([entry.event for entry in entries[: None if end == "whole" else kept]], end)
    without, among = stages
    assert asyncio.run(_said(compose(source, among))) == asyncio.run(_said(compose(source, without)))


@given(
    entries=runs(steps=12),
    order=st.lists(st.sampled_from(sorted(STAGES)), min_size=1, max_size=8),
    end=st.sampled_from(["whole", "break", "raise"]),
)
def test_the_stages_of_a_model_say_what_its_target_says_once_it_has_begun_to_speak(
    entries: list[Entry], order: list[str], end: End
) -> None:
    events: list[Event] = [entry.event for entry in entries if not isinstance(entry.event, Usage)]
    spoken = next((place for place, event in enumerate(events) if isinstance(event, FIRST)), 0)
    assume(spoken)
    events.insert(spoken, Usage(3, 1000, "reported"))  # an account that is whole: else the account is the stage's
    source = telling(events if end == "whole" else events[: spoken + 2], end)
    home = house(None, only=source)
    stages = [STAGES[name](home) for name in order]
    said = asyncio.run(_said(compose(switch(home), stages)))
    chosen = [event for event in said if isinstance(event, Note) and event.body == CHOSEN]
    assert len(chosen) == order.count("routing")
    assert [event for event in said if event not in chosen] == asyncio.run(_said(source))


async def _said(source: Source) -> list[Event]:
    """What a whole run of a source says; cancelled where the source says no more."""
    clock, seen = Clock(), Seen()
    house = Runs(MemoryStore(clock=clock), observer=seen, clock=clock)
    handle = await house.start(ASKED, source, Policy(on_disconnect=OnDisconnect("finish", 0)), principal=Principal())
    await settle()
    house.cancel(handle)
    await settle()
    said = [entry.event for entry in held(handle.log)]
    assert handle.log.sealed
    await house.close()
    return said


@given(entries=runs(steps=6))
def test_a_source_behind_idle_stages_keeps_the_law_of_sources(entries: list[Entry]) -> None:
    source = telling([entry.event for entry in entries], "whole")
    events, broken = asyncio.run(check_source(compose(source, [idle, idle]), ASKED))
    assert events == [entry.event for entry in entries]
    assert broken is None
