from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from penstock.core.errors import Broken
from penstock.core.events import Closed, Delta, Event, Finished, Note, Opened
from penstock.core.snapshot import fold
from penstock.flow.log import FRESH, Log
from penstock.flow.policy import Bounds, SlowReader
from penstock.flow.reader import Reader
from tests.flow.scripted import OPENED, STARTED, answer, block, drained, entries, held, settle, sized

TIGHT = Bounds(high=1000, low=400, detached_bytes=3000, max_run_bytes=10_000)


def log_of(*events: Event, slow_reader: SlowReader = "pause", bounds: Bounds = TIGHT, hold: bool = False) -> Log:
    log = Log(epoch="a1", slow_reader=slow_reader, bounds=bounds, hold=hold)
    for event in events:
        log.append(event, log.last + 1)
    return log


def fill(log: Log, *, most: int = 10_000) -> int:
    """Append entries of 100 bytes until there is no room; how many it took."""
    for count in range(1, most + 1):
        if not log.append(sized(100), log.last + 1):
            return count
    raise AssertionError(f"there was room for {most}")


async def writer(log: Log) -> asyncio.Task[None]:
    """Somebody who waits for room."""
    task = asyncio.ensure_future(log.room())
    await settle()
    return task


# -- positions ---------------------------------------------------------------------------------------------------------


def test_offsets_are_given_from_one_without_gaps() -> None:
    log = log_of(*answer("a", "b"))
    assert [(entry.first, entry.last) for entry in held(log)] == [(n, n) for n in range(1, 7)]
    assert held(log) == entries(answer("a", "b"))


def test_every_entry_can_be_given_again_whether_folded_or_fresh() -> None:
    events = answer(*(f"{n} " for n in range(FRESH * 5)))
    log = log_of(*events, bounds=Bounds())
    for after in (0, 1, FRESH - 1, FRESH, FRESH + 1, FRESH * 4, log.last - 1, log.last):
        found = log.read(after, 1 << 30)
        while found and found[-1].last < log.last:
            found += log.read(found[-1].last, 1 << 30)
        assert found == entries(events)[after:]


def test_a_reading_holds_about_as_many_bytes_as_were_asked_for_and_at_least_one_entry() -> None:
    log = log_of(STARTED, OPENED, *[sized(100)] * 50, bounds=Bounds())
    assert log.read(2, 1) == entries([STARTED, OPENED, sized(100)])[2:]
    assert 2 <= len(log.read(2, 500)) <= 5
    assert len(log.read(2, 5000)) == 50


def test_an_event_that_cannot_be_weighed_leaves_the_log_as_it_was() -> None:
    log = log_of(*answer("a"))
    before = held(log), log.last, log.said
    with pytest.raises(UnicodeEncodeError):
        log.append(Delta(0, "\ud800"), 9)
    assert (held(log), log.last, log.said) == before


@pytest.mark.parametrize("after", [-1, 7])
def test_a_reader_cannot_begin_where_nothing_is(after: int) -> None:
    with pytest.raises(ValueError, match="is not held"):
        log_of(*answer("a", "b")).attach(after)


def test_the_first_part_or_the_end_is_what_makes_a_log_say_something() -> None:
    log = log_of(STARTED, Note("progress", None))
    assert (log.spoken, log.opened) == (False, False)
    log.append(OPENED, 3)
    assert (log.spoken, log.opened) == (True, True)
    ended = log_of(STARTED, Finished())
    assert (ended.spoken, ended.opened) == (True, False)


# -- snapshots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, FRESH, FRESH * 2, FRESH * 3 + 7])
def test_the_snapshot_at_any_offset_is_the_fold_of_the_entries_up_to_there(count: int) -> None:
    events = answer(*(f"{n} " for n in range(count)))
    log = log_of(*events, bounds=Bounds())
    for through in {*range(0, log.last + 1, 37), log.last}:
        assert log.snapshot(through) == fold(entries(events)[:through])
    assert log.snapshot() == fold(entries(events))


def test_a_snapshot_forgets_nothing_that_is_held() -> None:
    log = log_of(*answer("x" * 4000, "y" * 4000), bounds=TIGHT)
    assert log.kept < TIGHT.max_run_bytes
    assert not log.snapshot().elided
    assert log.snapshot().text() == "x" * 4000 + "y" * 4000


def test_a_snapshot_of_a_trimmed_log_says_what_is_missing_and_no_more_is() -> None:
    log = log_of(STARTED, OPENED)
    reader = log.attach(0)
    text = "".join(str(n % 10) for n in range(40_000))
    for start in range(0, len(text), 80):
        log.append(Delta(0, text[start : start + 80]), 1)
        drained(reader)
    assert log.first > 1
    for through in (log.first - 1, log.first, log.first + 10, log.last):
        part = log.snapshot(through).parts[0]
        assert part.elided > 0
        assert part.text == text[part.elided : (through - 2) * 80]
        assert part.deltas == through - 2


def test_taking_a_snapshot_changes_nothing() -> None:
    told = msgspec.Raw(b'{"content":[]}')
    log = log_of(STARTED, OPENED, Delta(0, "a", told), *[sized(300)] * 8)
    reader = log.attach(0)
    for _ in range(40):
        log.append(sized(300), 1)
        drained(reader)
    assert log.first > 1
    assert log.snapshot() == log.snapshot()
    assert log.kept <= TIGHT.max_run_bytes


# -- room: pause -------------------------------------------------------------------------------------------------------------


async def test_the_source_waits_while_the_reader_owes_more_than_high_and_goes_on_at_low() -> None:
    log = log_of()
    reader = log.attach(0)
    assert fill(log) == 11, "ten entries of 100 bytes are exactly `high`"
    waiting = await writer(log)
    assert log.waiting_for_room
    while reader.owed > TIGHT.low:
        assert not waiting.done(), f"it went on at {reader.owed}"
        reader.poll(1)
        await settle()
    assert reader.owed == TIGHT.low
    await waiting
    assert not log.waiting_for_room


async def test_the_fastest_reader_paces_the_source_and_the_slow_one_loses_nothing() -> None:
    log = log_of()
    slow, fast = log.attach(0), log.attach(0)
    for _ in range(8):
        log.append(sized(100), 1)
    drained(fast)
    assert fill(log) == 11
    waiting = await writer(log)
    drained(fast)
    await settle()
    assert waiting.done()
    assert slow.owed == 1900
    assert drained(slow) == held(log)


async def test_when_the_fastest_reader_leaves_the_next_one_paces_the_source() -> None:
    log = log_of()
    slow, fast = log.attach(0), log.attach(0)
    for _ in range(15):
        log.append(sized(100), 1)
        drained(fast)
    fast.detach()
    assert not log.append(sized(100), 1)
    waiting = await writer(log)
    drained(slow)
    await waiting


async def test_a_reader_that_joins_at_the_end_lets_a_waiting_source_go_on() -> None:
    log = log_of()
    log.attach(0)
    fill(log)
    waiting = await writer(log)
    log.attach(log.last)
    await waiting


async def test_with_nobody_attached_the_source_goes_as_far_as_detached_bytes() -> None:
    log = log_of()
    assert fill(log) == 31
    waiting = await writer(log)
    assert not waiting.done()
    reader = log.attach(0)
    await settle()
    assert not waiting.done(), "the reader owes more than `high`"
    drained(reader)
    await waiting


async def test_a_run_that_is_to_finish_goes_to_its_cap_with_nobody_attached() -> None:
    log = log_of()
    log.unattended(finish=True)
    assert fill(log) == 101
    waiting = await writer(log)
    log.unattended(finish=True)
    await settle()
    assert not waiting.done()
    log.seal()
    await waiting


async def test_letting_a_run_finish_wakes_a_source_that_waited_for_readers() -> None:
    log = log_of()
    fill(log)
    waiting = await writer(log)
    log.unattended(finish=True)
    await waiting


async def test_sealing_lets_a_waiting_writer_go() -> None:
    log = log_of()
    log.attach(0)
    fill(log)
    waiting = await writer(log)
    log.seal()
    await waiting


async def test_a_writer_that_was_cancelled_while_it_waited_leaves_no_trace() -> None:
    log = log_of()
    reader = log.attach(0)
    fill(log)
    waiting = await writer(log)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not log.waiting_for_room
    drained(reader)
    assert log.append(sized(100), 1)


# -- room: coalesce and disconnect ---------------------------------------------------------------------------------------


def test_under_coalesce_the_source_goes_on_until_the_cap() -> None:
    log = log_of(slow_reader="coalesce")
    log.attach(0)
    assert fill(log) == 101


async def test_under_coalesce_the_source_waits_at_the_cap_for_whoever_still_needs_the_oldest() -> None:
    log = log_of(STARTED, OPENED, slow_reader="coalesce")
    slow, fast = log.attach(0), log.attach(0)
    fill(log)
    drained(fast)
    waiting = await writer(log)
    assert not waiting.done()
    everything = held(log)
    assert drained(slow) == everything
    await waiting
    assert log.first > 1


def test_under_coalesce_with_nobody_attached_the_source_stops_at_detached_bytes_all_the_same() -> None:
    log = log_of(slow_reader="coalesce")
    log.attach(0).detach()
    assert fill(log) == 31


def test_under_disconnect_a_reader_that_owes_more_than_high_is_dropped_with_its_place() -> None:
    log = log_of(slow_reader="disconnect")
    slow, fast = log.attach(0), log.attach(0)
    slow.poll(1)
    for _ in range(12):
        assert log.append(sized(100), 1)
        drained(fast)
    assert (slow.attached, fast.attached) == (False, True)
    assert slow.dropped is not None
    assert (slow.dropped.code, slow.dropped.retryable) == ("slow_reader", True)
    assert slow.offset == 0
    assert len(drained(log.attach(slow.offset))) == 12


def test_a_reader_is_not_dropped_for_what_it_cannot_see_yet() -> None:
    log = log_of(slow_reader="disconnect", hold=True)
    reader = log.attach(0)
    for _ in range(15):
        log.append(sized(100), 1)
    assert reader.attached
    log.reveal(5)
    assert reader.attached
    log.reveal(15)
    assert not reader.attached


# -- trimming ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [sized, block], ids=["text", "bytes"])
@pytest.mark.parametrize("size", [40, 700, 4000, 12_000])
def test_what_every_reader_has_is_dropped_at_the_cap_whatever_the_size_of_the_entries(
    size: int, event: Callable[[int], Event]
) -> None:
    log = log_of(STARTED, OPENED, Opened(1, "binary"))
    one, two = log.attach(0), log.attach(0)
    for _ in range(60_000 // size + 30):
        room = log.append(event(size) if event is sized else block(size, 1), 1)
        drained(one)
        drained(two)
        assert room or log._has_room(), f"nobody owes anything, and still {log.kept} bytes are kept"
        assert log.kept <= TIGHT.max_run_bytes
    assert log.first > 1


async def test_the_oldest_stays_while_an_attached_reader_needs_it() -> None:
    log = log_of(STARTED, OPENED)
    slow, fast = log.attach(0), log.attach(0)
    count = 0
    while log.append(sized(100), 1):
        drained(fast)
        count += 1
    assert log.kept > TIGHT.max_run_bytes - 200
    assert log.first == 1
    waiting = await writer(log)
    drained(fast)
    await settle()
    assert not waiting.done(), "the slow one still needs what could be dropped"
    slow.detach()
    await waiting
    assert log.first > 1


def test_a_reader_that_joins_after_trimming_gets_everything_that_is_held() -> None:
    log = log_of(STARTED, OPENED)
    reader = log.attach(0)
    for _ in range(500):
        log.append(sized(100), 1)
        drained(reader)
    late = log.attach(log.first - 1)
    assert [entry.first for entry in drained(late)] == list(range(log.first, log.last + 1))
    with pytest.raises(ValueError, match="is not held"):
        log.attach(log.first - 2)


async def test_a_run_whose_notes_outgrow_the_cap_is_told_so_rather_than_left_waiting() -> None:
    log = log_of()
    reader = log.attach(0)
    while log.append(Note("progress", "x" * 500), 1):
        drained(reader)
    waiting = await writer(log)
    assert not waiting.done(), "the last note could still be taken"
    drained(reader)
    with pytest.raises(Broken) as problem:
        await waiting
    assert problem.value.fault.code == "answer_too_large"


def test_owed_and_kept_are_never_confused() -> None:
    log = log_of(STARTED, OPENED, bounds=Bounds())
    early, late = log.attach(0), log.attach(0)
    drained(late)
    for _ in range(10):
        log.append(sized(100), 1)
    statistics = log.statistics()
    assert statistics.owed == [early.owed, late.owed] == [log.said, 1000]
    assert statistics.kept == statistics.said == log.said
    assert (statistics.last, statistics.readers, statistics.waiting) == (12, 2, False)


# -- hold and seal -------------------------------------------------------------------------------------------------------


async def test_what_is_held_back_is_seen_only_when_revealed() -> None:
    log = log_of(*answer("a", "b"), hold=True)
    reader = log.attach(0)
    assert drained(reader) == []
    taking = asyncio.ensure_future(reader.take(1 << 30))
    await settle()
    log.reveal(3)
    assert await taking == entries(answer("a", "b"))[:3]
    assert log.snapshot() == fold(entries(answer("a", "b"))[:3])
    log.reveal(1)
    log.reveal(99)
    assert drained(reader) == entries(answer("a", "b"))[3:]


def test_a_sealed_log_is_not_read_out_before_all_of_it_was_revealed() -> None:
    log = log_of(*answer("a"), hold=True)
    reader = log.attach(0)
    log.seal()
    log.reveal(4)
    drained(reader)
    assert not reader.finished
    log.reveal(5)
    drained(reader)
    assert reader.finished


def test_what_is_held_back_is_not_folded_away() -> None:
    events = answer(*["x"] * FRESH * 4)
    log = log_of(*events, bounds=Bounds(), hold=True)
    reader = log.attach(0)
    found = []
    for through in (FRESH // 2, FRESH + 3, FRESH * 3, len(events)):
        log.reveal(through)
        found += drained(reader)
        assert len(found) == through
    assert found == entries(events)


def test_interleaved_choices_survive_folding() -> None:
    events: list[Event] = [STARTED, OPENED, Opened(1, "text", 1)]
    events += [Delta(n % 2, f"{n} ") for n in range(FRESH * 3)]
    events += [Closed(0), Closed(1), Finished()]
    assert held(log_of(*events, bounds=Bounds())) == entries(events)


def test_readers_may_be_attached_to_a_sealed_log() -> None:
    log = log_of(*answer("a"))
    log.seal()
    readers: list[Reader] = [log.attach(after) for after in range(log.last + 1)]
    assert [len(drained(reader)) for reader in readers] == [5, 4, 3, 2, 1, 0]
    assert all(reader.finished for reader in readers)
