"""Short memory: ended runs go first, then new ones are refused, and what runs goes on."""

from collections.abc import Iterable

import pytest

from penstock.core.errors import Refused
from penstock.core.events import Finished, Started
from penstock.core.request import ChatRequest, Principal
from penstock.flow.handle import RunHandle
from penstock.flow.memory import FEW, SHED_ABOVE, SHED_SECONDS, short
from penstock.flow.policy import Policy
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import Clock, Played
from tests.waiting import until

MOST = 1000
ENOUGH, TOO_MUCH = 900, 901


class Reading:
    """Memory whose use a test sets; what `release` gives back is the next of `after`."""

    def __init__(self, used: int, after: Iterable[int] = ()):
        self.used = used
        self.released = 0
        self._after = list(after)

    def reading(self) -> tuple[int, int]:
        return self.used, MOST

    def release(self) -> None:
        self.released += 1
        if self._after:
            self.used = self._after.pop(0)


class House:
    """Runs under such a memory, and a ticker that comes when it is called."""

    def __init__(self, memory: Reading):
        self.clock = Clock()
        self.memory = memory
        self.runs = Runs(MemoryStore(clock=self.clock), clock=self.clock, memory=memory)
        self._watchdog = Watchdog(self.runs)

    async def start(self, *events: Started | Finished) -> RunHandle:
        source = Played(*events)
        handle = await self.runs.start(
            ChatRequest(model="m", messages=()), source, Policy(), principal=Principal(), detached=True
        )
        await until("the source said it all", lambda: handle.log.last == len(events))
        return handle

    def tick(self) -> None:
        self._watchdog.tick(self.clock.now)


STARTED = Started("st_x", "m", 0)


async def test_up_to_nine_tenths_nothing_happens() -> None:
    house = House(Reading(ENOUGH))
    assert ENOUGH == SHED_ABOVE * MOST
    house.tick()
    await house.start(STARTED)
    assert (house.runs.admission.shedding, house.memory.released) == (False, 0)
    await house.runs.close()


async def test_beyond_that_new_runs_are_refused_and_told_when_to_come_back_while_live_ones_go_on() -> None:
    house = House(Reading(ENOUGH))
    live = await house.start(STARTED)
    house.memory.used = TOO_MUCH
    house.tick()
    with pytest.raises(Refused) as refused:
        await house.start(STARTED)
    assert (refused.value.fault.code, refused.value.fault.retryable) == ("overloaded", True)
    assert refused.value.fault.retry_after == SHED_SECONDS
    assert live.pump.ended is None
    house.memory.used = ENOUGH
    house.tick()
    await house.start(STARTED)
    await house.runs.close()


async def test_ended_runs_make_room_first_and_who_comes_then_is_not_refused() -> None:
    house = House(Reading(ENOUGH, after=[ENOUGH]))
    ended = await house.start(STARTED, Finished())
    live = await house.start(STARTED)
    house.tick()  # puts the ended one to rest
    house.memory.used = TOO_MUCH
    house.tick()
    assert (house.runs.admission.shedding, house.memory.released) == (False, 1)
    assert (ended.id in house.runs.by_id, live.id in house.runs.by_id) == (False, True)
    await house.runs.close()


def test_the_older_half_of_many_is_dropped_at_a_time() -> None:
    ended = list(range(4 * FEW))
    dropped: list[int] = []
    assert short(Reading(TOO_MUCH), ended, dropped.append) is True
    assert dropped == ended[: 2 * FEW]


def test_where_nothing_has_ended_nothing_is_released() -> None:
    memory = Reading(TOO_MUCH)
    assert (short(memory, [], lambda _: None), memory.released) == (True, 0)
