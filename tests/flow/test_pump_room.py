"""The pump holds a source back, and leaves the loop to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

from penstock.core.events import Cancelled, Closed, Delta, Event, Finished
from penstock.core.lifecycle import Phase
from penstock.core.request import ChatRequest, Run
from penstock.flow.policy import Bounds
from penstock.flow.pump import BATCH
from tests.flow.scripted import OPENED, STARTED, Played, drained, settle, sized
from tests.flow.stand import Stand


async def test_a_source_that_never_suspends_lets_the_others_have_the_loop() -> None:
    async def floods(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield STARTED
        yield OPENED
        for _ in range(BATCH * 20):
            yield Delta(0, "x")
        yield Closed(0)
        yield Finished()

    stand = Stand(floods)
    seen: list[int] = []
    while stand.pump.phase is not Phase.ENDED:
        await asyncio.sleep(0)
        seen.append(stand.log.last)
    assert max(after - before for before, after in pairwise(seen)) <= BATCH + 1
    assert len(seen) >= 20


async def test_a_flood_at_the_cap_lets_the_others_have_the_loop() -> None:
    async def floods(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield STARTED
        yield OPENED
        while True:
            yield sized(300)

    stand = Stand(floods, bounds=Bounds(max_run_bytes=5000))
    reader = stand.log.attach(0)

    def takes() -> None:
        drained(reader)

    reader.on_ready = takes
    seen: list[int] = []
    for _ in range(50):
        await asyncio.sleep(0)
        seen.append(stand.log.last)
    assert max(after - before for before, after in pairwise(seen)) <= BATCH + 1
    assert stand.log.first > 1
    stand.pump.finish(Cancelled("client"))
    await settle()


async def test_a_source_is_not_asked_for_more_than_there_is_room_for() -> None:
    source = Played(STARTED, OPENED, *[sized(100)] * 200, Closed(0), Finished())
    stand = Stand(source, bounds=Bounds(high=1000, low=500))
    reader = stand.log.attach(0)
    owed: list[int] = []
    while stand.pump.phase is not Phase.ENDED:
        await settle()
        owed.append(reader.owed)
        reader.poll(100)
    assert max(owed) <= 1100
    assert len([event for event in stand.events if isinstance(event, Delta)]) == 200
    assert source.closed == 1


async def test_waiting_for_room_is_not_the_silence_of_the_source() -> None:
    source = Played(STARTED, OPENED, *[sized(100)] * 30)
    stand = Stand(source, bounds=Bounds(high=1000, low=500))
    reader = stand.log.attach(0)
    await settle()
    assert stand.log.waiting_for_room
    stand.clock.turn(500)
    drained(reader)
    await settle()
    assert stand.pump.moved == stand.clock.now
