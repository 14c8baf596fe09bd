from __future__ import annotations

import asyncio

from penstock.core.errors import fault
from penstock.flow.log import Log
from penstock.flow.policy import Bounds
from penstock.flow.reader import Reader
from tests.flow.scripted import OPENED, STARTED, answer, drained, entries, held, settle, sized

PLENTY = 1 << 30


def log_of_answer(*texts: str) -> Log:
    log = Log(epoch="a1")
    for offset, event in enumerate(answer(*texts), 1):
        log.append(event, offset)
    return log


def test_a_reader_begins_after_its_offset_and_owes_the_rest() -> None:
    log = log_of_answer("a", "b")
    reader = log.attach(2)
    assert reader.owed == log.said - log.said_through(2)
    assert reader.poll(PLENTY) == entries(answer("a", "b"))[2:]
    assert (reader.offset, reader.owed) == (6, 0)
    assert reader.poll(PLENTY) == []


def test_any_turns_add_up_to_everything() -> None:
    for budget in (1, 17, 40, 100, PLENTY):
        log = log_of_answer(*(f"word {n} " for n in range(300)))
        reader = log.attach(0)
        assert drained(reader, budget) == held(log)
        assert reader.taken == log.said


async def test_take_waits_for_what_is_not_there_yet() -> None:
    log = Log(epoch="a1")
    reader = log.attach(0)
    taking = asyncio.ensure_future(reader.take(PLENTY))
    await settle()
    assert not taking.done()
    log.append(STARTED, 1)
    log.append(OPENED, 2)
    assert await taking == entries([STARTED, OPENED])


async def test_take_is_empty_once_a_sealed_log_was_read_out() -> None:
    log = log_of_answer("a")
    reader = log.attach(0)
    await reader.take(PLENTY)
    taking = asyncio.ensure_future(reader.take(PLENTY))
    await settle()
    assert not taking.done(), "more may follow"
    log.seal()
    assert await taking == []
    assert reader.finished


async def test_take_is_empty_for_a_reader_that_is_dropped_while_it_waits() -> None:
    log = Log(epoch="a1")
    reader = log.attach(0)
    taking = asyncio.ensure_future(reader.take(PLENTY))
    await settle()
    reader.drop(fault("slow_reader"), "slow")
    assert await taking == []


async def test_a_heartbeat_does_not_end_a_take() -> None:
    log = Log(epoch="a1")
    reader = log.attach(0)
    taking = asyncio.ensure_future(reader.take(PLENTY))
    for _ in range(3):
        await settle()
        reader.notify()
    await settle()
    assert not taking.done()
    log.append(STARTED, 1)
    assert len(await taking) == 1


async def test_a_waiter_that_was_cancelled_may_wait_again() -> None:
    log = Log(epoch="a1")
    reader = log.attach(0)
    first = asyncio.ensure_future(reader.take(PLENTY))
    await settle()
    first.cancel()
    await asyncio.wait([first])
    log.append(STARTED, 1)
    assert await reader.take(PLENTY) == entries([STARTED])


def test_a_reader_that_is_gone_takes_nothing_more_and_paces_nobody() -> None:
    log = Log(epoch="a1", bounds=Bounds(high=1000, low=500, detached_bytes=2000))
    reader, other = log.attach(0), log.attach(0)
    for _ in range(5):
        log.append(sized(100), 1)
    reader.detach()
    assert reader.poll(PLENTY) == []
    assert (reader.offset, other.offset) == (0, 0)
    for _ in range(5):
        assert log.append(sized(100), 1)
    assert not log.append(sized(100), 1)


def test_leaving_is_told_once_whatever_follows() -> None:
    log = log_of_answer("a")
    reader = log.attach(0)
    told: list[str] = []
    reader.on_gone = lambda gone, reason: told.append(reason)
    reader.detach("done")
    reader.detach("left")
    reader.drop(fault("slow_reader"), "slow")
    assert told == ["done"]
    assert log.readers == []


def test_a_drop_reaches_a_transport_that_is_stuck_in_a_write() -> None:
    reader = log_of_answer("a").attach(0)
    told: list[str] = []
    reader.on_gone = lambda gone, reason: told.append(reason)
    reader.on_drop = lambda: told.append("cut")
    reader.drop(fault("slow_reader"), "stalled")
    assert told == ["stalled", "cut"]
    assert reader.dropped == fault("slow_reader")
    assert not reader.attached


def test_a_shared_writer_is_called_instead_of_a_waiter_being_woken() -> None:
    log = Log(epoch="a1")
    reader = log.attach(0)
    calls: list[int] = []
    reader.on_ready = lambda: calls.append(log.last)
    log.append(STARTED, 1)
    log.seal()
    reader.detach()
    assert calls == [1, 1, 1]


def test_readers_at_different_paces_see_the_same() -> None:
    log = log_of_answer(*(f"{n}," for n in range(1000)))
    readers: dict[int, Reader] = {budget: log.attach(0) for budget in (1, 50, 333, PLENTY)}
    found = {budget: drained(reader, budget) for budget, reader in readers.items()}
    assert all(one == held(log) for one in found.values())
