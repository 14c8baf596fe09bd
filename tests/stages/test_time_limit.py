"""A time limit of the run breaks off what stands within, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from penstock.core.errors import Broken, fault
from penstock.core.events import Closed, Delta, Event, Finished, Opened
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.target import switch
from penstock.flow.policy import Policy
from penstock.flow.pump import BATCH
from penstock.flow.runs import Runs
from penstock.stages.continuation import build
from penstock.stages.time_limit import TimeLimit
from penstock.stores.memory import MemoryStore
from penstock.testing.sources import SoloRun
from tests.flow.scripted import ASKED, STARTED, Clock, settle
from tests.stages.house import Scripted, house, saying

LATE = fault("gap_timeout")


async def within(run: SoloRun, limit: TimeLimit) -> None:
    with limit:
        await asyncio.Event().wait()


async def test_what_is_overdue_is_broken_off_with_the_fault_of_the_limit() -> None:
    run = SoloRun()
    waiting = asyncio.ensure_future(within(run, TimeLimit(run)))
    await settle()
    (overdue,) = run.overdue
    assert [overdue(LATE), overdue(LATE)] == [True, False]
    with pytest.raises(Broken) as broken:
        await waiting
    assert (broken.value.fault, run.overdue) == (LATE, [])
    assert overdue(LATE) is False


async def test_a_limit_that_is_not_taken_is_somebody_elses() -> None:
    run = SoloRun()
    waiting = asyncio.ensure_future(within(run, TimeLimit(run, takes=lambda fault: fault.code != LATE.code)))
    await settle()
    assert run.overdue[0](LATE) is False
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_a_cancel_by_somebody_else_goes_through_though_a_limit_is_overdue() -> None:
    run = SoloRun()
    waiting = asyncio.ensure_future(within(run, TimeLimit(run)))
    await settle()
    assert run.overdue[0](LATE) is True
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert run.overdue == []


async def test_a_clean_up_that_raises_hides_the_limit_and_leaves_no_cancel_behind() -> None:
    async def raising(run: SoloRun) -> None:
        with TimeLimit(run):
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("the connection would not close")

    async def again(run: SoloRun) -> None:
        with pytest.raises(ValueError, match="would not close"):
            await raising(run)
        await within(run, TimeLimit(run))

    run = SoloRun()
    waiting = asyncio.ensure_future(again(run))
    for _ in range(2):
        await settle()
        assert run.overdue[0](LATE) is True
    with pytest.raises(Broken) as broken:
        await waiting
    assert (broken.value.fault, waiting.cancelling()) == (LATE, 0)


async def test_no_attempt_is_broken_off_while_the_loop_has_its_turn_for_that_would_end_the_run() -> None:
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())

    async def says(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield STARTED
        yield Opened(0, "text")
        for count in range(3, 2 * BATCH):
            if count == BATCH:
                asyncio.get_running_loop().call_soon(runs.active[run.id].pump.late, fault("throughput_timeout"))
            yield Delta(0, "x")
        yield Closed(0)
        yield Finished("stop")

    home = house(a=says, b=Scripted(saying("b")))
    handle = await runs.start(ASKED, build(home)(switch(home)), Policy(), principal=Principal(), detached=True)
    await settle()
    assert isinstance(handle.pump.terminal, Finished)
    await runs.close()
