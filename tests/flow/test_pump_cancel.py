"""The pump is stopped: a cancel at any moment, and a source that takes its time to close."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Closed, Delta, Event, Failed, Fault, Finished, Note
from penstock.flow.policy import Bounds
from penstock.flow.pump import CLOSING
from tests.flow.scripted import OPENED, STARTED, Played, answer, never, settle, sized
from tests.flow.stand import Stand, unheard_exceptions

# -- cancel ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said_before",
    [[], [STARTED], [STARTED, Note("n", 1)], [STARTED, OPENED], [STARTED, OPENED, Delta(0, "x")]],
    ids=["idle", "waiting", "noting", "opened", "speaking"],
)
async def test_a_cancel_is_the_last_word_at_once_and_closes_the_source(said_before: list[Event]) -> None:
    source = Played(*said_before)
    stand = Stand(source)
    await settle()
    stand.pump.finish(Cancelled("client"))
    assert stand.ended_well() == Cancelled("client")
    await settle()
    assert (source.closed, source.interrupted) == (1, 1)
    assert not stand.pump.closing


async def test_a_run_cancelled_before_its_task_ever_ran_asks_no_source() -> None:
    source = Played(*answer("x"))
    stand = Stand(source)
    stand.pump.finish(Cancelled("client"))
    await settle()
    assert stand.ended_well() == Cancelled("client")
    assert source.asked == 0
    assert not stand.pump.closing
    stand.pump.closing_overdue(stand.clock.turn(CLOSING + 1))
    assert stand.seen.abandoned == []


async def test_a_cancel_reaches_a_source_that_waits_for_room() -> None:
    source = Played(STARTED, OPENED, *[sized(100)] * 100)
    stand = Stand(source, bounds=Bounds(high=1000, low=500))
    stand.log.attach(0)
    await settle()
    assert stand.log.waiting_for_room
    stand.pump.finish(Cancelled("client"))
    await settle()
    assert stand.ended_well() == Cancelled("client")
    assert source.closed == 1
    assert not stand.log.waiting_for_room


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    stand = Stand(Played(*answer("x")))
    await settle()
    before = stand.events
    stand.pump.finish(Cancelled("client"))
    stand.pump.note(Note("input", 1))
    assert stand.events == before
    assert stand.ended_well() == Finished()


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_that_races_with_the_end_leaves_one_last_word(turns: int) -> None:
    source = Played(*answer("x"))
    stand = Stand(source)
    for _ in range(turns):
        await asyncio.sleep(0)
    stand.pump.finish(Cancelled("client"))
    await settle()
    assert stand.ended_well() in (Finished(), Cancelled("client"))
    assert source.closed == source.asked


async def test_a_source_that_takes_no_notice_of_a_cancel_is_closed_with_its_next_word() -> None:
    source = Played(STARTED, OPENED, stubborn=True)
    stand = Stand(source)
    await settle()
    stand.pump.finish(Cancelled("client"))
    await settle()
    assert source.closed == 0
    source.say(Delta(0, "too late"))
    await settle()
    assert source.closed == 1
    assert stand.ended_well() == Cancelled("client")


async def test_a_loop_that_goes_down_leaves_an_interrupted_run() -> None:
    source = Played(STARTED, OPENED)
    stand = Stand(source)
    await settle()
    task = next(task for task in asyncio.all_tasks() if task.get_name() == "pump st_solo")
    task.cancel()
    await settle()
    assert task.cancelled()
    assert stand.ended_well() == Failed(fault("interrupted"))
    assert source.closed == 1


# -- clean-up ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cancelled", "finished"])
async def test_the_last_word_never_waits_for_a_source_that_hangs_in_its_clean_up(way: str) -> None:
    source = Played(STARTED, OPENED, clean_up=never)
    stand = Stand(source)
    await settle()
    if way == "cancelled":
        stand.pump.finish(Cancelled("client"))
    else:
        source.say(Closed(0), Finished())
    await settle()
    stand.ended_well()
    stand.pump.closing_overdue(stand.clock.turn(CLOSING))
    assert stand.seen.abandoned == []
    stand.pump.closing_overdue(stand.clock.turn(0.1))
    stand.pump.closing_overdue(stand.clock.turn(0.1))
    assert (stand.seen.abandoned, stand.pump.closing) == (["st_solo"], False)
    await settle()
    assert source.closed == 1, "cancelled once more, the clean-up ended"
    stand.ended_well()


async def test_a_clean_up_has_time_to_say_goodbye() -> None:
    goodbye = asyncio.Event()
    source = Played(STARTED, OPENED, clean_up=goodbye.wait)
    stand = Stand(source)
    await settle()
    stand.pump.finish(Cancelled("client"))
    await settle()
    assert (source.closed, stand.pump.closing) == (0, True)
    goodbye.set()
    await stand.pump.closed()
    assert (source.closed, stand.pump.closing) == (1, False)
    stand.pump.closing_overdue(stand.clock.turn(100))
    assert stand.seen.abandoned == []


async def test_nothing_is_left_behind_that_nobody_hears_of() -> None:
    with unheard_exceptions() as told:
        for error in (ValueError("x"), GeneratorExit(), asyncio.CancelledError()):
            source = Played(STARTED)
            source.fail(error)
            Stand(source)
        await settle()
    assert told == []
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pump")] == []


# -- a time limit ------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_is_given_up_has_time_to_make_way_for_another() -> None:
    stand = Stand(Played(STARTED, OPENED))
    await settle()
    late, told = fault("gap_timeout"), list[Fault]()

    def once(problem: Fault) -> bool:
        told.append(problem)
        return len(told) == 1

    stand.pump.attempt(once)
    stand.pump.late(late)
    stand.clock.turn(CLOSING - 0.1)
    stand.pump.late(late)
    assert (told, stand.pump.terminal) == ([late], None)

    stand.pump.attempt(lambda problem: False)
    stand.pump.late(late)
    assert told == [late, late]
    assert stand.ended_well() == Failed(late)
    await settle()


async def test_one_that_never_makes_way_is_waited_for_no_longer() -> None:
    stand = Stand(Played(STARTED, OPENED))
    await settle()
    taken = iter([True, False])
    stand.pump.attempt(lambda problem: next(taken))
    stand.pump.late(fault("gap_timeout"))
    stand.clock.turn(CLOSING)
    stand.pump.late(fault("gap_timeout"))
    assert stand.ended_well() == Failed(fault("gap_timeout"))
    await settle()
