"""Every time limit of a run, enforced by a ticker that the test drives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from penstock.core.events import Cancelled, Delta, Failed, Finished
from penstock.core.request import Principal
from penstock.flow.handle import RunHandle
from penstock.flow.policy import Bounds, OnDisconnect, Policy, TimeLimits
from penstock.flow.pump import CLOSING
from penstock.flow.reader import Reader
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import ASKED, OPENED, STARTED, Clock, Played, Seen, answer, drained, never, settle, sized

LIMITS = TimeLimits(first_token=30, gap=10, total=100, stall=5, retention=50)
POLICY = Policy(limits=LIMITS, bounds=Bounds(high=1000, low=500), on_disconnect=OnDisconnect("grace", 7))


class Watch:
    """Runs under a watchdog that ticks when a test says so."""

    def __init__(self, *, heartbeat: float = 3.0):
        self.clock = Clock()
        self.seen = Seen()
        self.runs = Runs(MemoryStore(clock=self.clock), observer=self.seen, clock=self.clock)
        self.dog = Watchdog(self.runs, heartbeat=heartbeat)

    async def run(self, source: Played, policy: Policy = POLICY) -> RunHandle:
        handle = await self.runs.start(ASKED, source, policy, principal=Principal())
        await settle()
        return handle

    async def pass_(self, seconds: float, *, step: float = 0.5) -> None:
        """Let time pass, with a tick every `step` seconds."""
        for _ in range(int(seconds / step)):
            self.dog.tick(self.clock.turn(step))
            await settle()


def failure(handle: RunHandle) -> str:
    assert isinstance(handle.pump.terminal, Failed)
    return handle.pump.terminal.error.code


async def test_a_source_that_says_nothing_fails_in_time() -> None:
    watch = Watch()
    source = Played(STARTED)
    handle = await watch.run(source)
    drained(watch.runs.attach(handle, 0))
    await watch.pass_(30)
    assert handle.pump.terminal is None
    await watch.pass_(0.5)
    assert failure(handle) == "first_token_timeout"
    assert source.closed == 1


async def test_a_source_that_falls_silent_in_mid_answer_fails_in_time() -> None:
    watch = Watch()
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    drained(watch.runs.attach(handle, 0))
    await watch.pass_(9.5)
    source.say(Delta(0, "still here"))
    await watch.pass_(10)
    assert handle.pump.terminal is None
    await watch.pass_(1)
    assert failure(handle) == "gap_timeout"


async def test_a_run_that_goes_on_and_on_fails_in_time() -> None:
    watch = Watch()
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    reader = watch.runs.attach(handle, 0)
    for _ in range(20):
        source.say(Delta(0, "more"))
        drained(reader)
        await watch.pass_(5)
    assert handle.pump.terminal is None
    await watch.pass_(1)
    assert failure(handle) == "total_timeout"


async def test_a_source_that_waits_for_its_readers_is_not_silent() -> None:
    watch = Watch()
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    reader = watch.runs.attach(handle, 0)
    source.say(*[sized(100)] * 30)
    await settle()
    assert handle.log.waiting_for_room
    for _ in range(4):
        reader.poll(1)
        await watch.pass_(4)
    assert handle.pump.terminal is None


async def test_a_source_that_speaks_too_slowly_fails_and_one_that_keeps_the_floor_does_not() -> None:
    floor = msgspec.structs.replace(POLICY, limits=msgspec.structs.replace(LIMITS, floor=1.0))
    for each, code in ((2, None), (5, "throughput_timeout")):
        watch = Watch()
        source = Played(STARTED, OPENED)
        handle = await watch.run(source, floor)
        reader = watch.runs.attach(handle, 0)
        for _ in range(12):
            source.say(*[Delta(0, "x")] * 3)
            drained(reader)
            await watch.pass_(each)
        assert (failure(handle) if isinstance(handle.pump.terminal, Failed) else None) == code


async def test_time_in_which_a_source_was_held_up_by_its_readers_is_not_slowness() -> None:
    floor = msgspec.structs.replace(POLICY, limits=msgspec.structs.replace(LIMITS, floor=1.0, stall=1000))
    watch = Watch()
    source = Played(STARTED, OPENED)
    handle = await watch.run(source, floor)
    reader = watch.runs.attach(handle, 0)
    for _ in range(4):
        source.say(*[sized(100)] * 30)
        await watch.pass_(8)
        assert handle.log.waiting_for_room
        drained(reader)
        await settle()
    assert handle.pump.terminal is None


async def test_a_deserted_run_is_cancelled_when_its_grace_is_over() -> None:
    watch = Watch()
    handle = await watch.run(Played(STARTED, OPENED))
    watch.runs.attach(handle, 0).detach()
    await watch.pass_(7)
    assert handle.pump.terminal is None
    await watch.pass_(0.5)
    assert handle.pump.terminal == Cancelled("grace")


async def test_whoever_comes_back_within_the_grace_keeps_the_run() -> None:
    watch = Watch()
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    watch.runs.attach(handle, 0).detach()
    await watch.pass_(6)
    reader = watch.runs.attach(handle, 0)
    drained(reader)
    await watch.pass_(3)
    assert handle.pump.terminal is None
    source.say(Delta(0, "still here"))
    await settle()
    reader.detach()
    await watch.pass_(6)
    assert handle.pump.terminal is None, "the grace begins anew"


async def test_a_run_whose_client_was_gone_before_it_attached_does_not_live_on() -> None:
    watch = Watch()
    handle = await watch.run(Played(STARTED, OPENED))
    await watch.pass_(8)
    assert handle.pump.terminal == Cancelled("grace")


# -- readers -------------------------------------------------------------------------------------------------------------


async def test_a_reader_that_owes_and_makes_no_progress_is_dropped_with_its_cursor() -> None:
    watch = Watch()
    handle = await watch.run(Played(STARTED, OPENED, Delta(0, "x")))
    reader = watch.runs.attach(handle, 0)
    reader.poll(1)
    await watch.pass_(5)
    assert watch.seen.left == []
    await watch.pass_(1)
    assert reader.dropped is not None
    assert (reader.dropped.code, reader.dropped.retryable, reader.offset) == ("slow_reader", True, 1)
    assert watch.seen.left == ["stalled"]


async def test_a_reader_that_takes_a_little_at_a_time_is_not_stalled() -> None:
    watch = Watch()
    handle = await watch.run(Played(STARTED, OPENED, *[sized(50)] * 10))
    reader = watch.runs.attach(handle, 0)
    for _ in range(10):
        reader.poll(1)
        await watch.pass_(4)
        assert reader.attached


async def test_a_reader_whose_client_takes_bytes_of_a_long_turn_is_not_stalled_until_it_takes_none() -> None:
    watch = Watch()
    handle = await watch.run(Played(STARTED, OPENED, *[sized(50)] * 10))
    reader = watch.runs.attach(handle, 0)
    acknowledged = 0
    reader.progress = lambda: acknowledged
    for _ in range(10):
        acknowledged += 1
        await watch.pass_(4)
        assert reader.attached
    await watch.pass_(6)
    assert watch.seen.left == ["stalled"]


@pytest.mark.parametrize("heartbeat", [1.0, 3.0, 1000.0])
async def test_a_stall_is_counted_from_when_something_waits_not_from_the_silence_before(heartbeat: float) -> None:
    watch = Watch(heartbeat=heartbeat)
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    reader = watch.runs.attach(handle, 0)
    drained(reader)
    await watch.pass_(9)
    source.say(Delta(0, "x"))
    await watch.pass_(4.5)
    assert watch.seen.left == []
    await watch.pass_(1.5)
    assert watch.seen.left == ["stalled"]


async def beats_in(watch: Watch, reader: Reader, seconds: float) -> int:
    beats = 0
    for _ in range(int(seconds * 2)):
        await watch.pass_(0.5)
        beats += reader.beat
        reader.beat = False
    return beats


async def test_a_reader_to_whom_nothing_was_written_gets_a_sign_of_life() -> None:
    watch = Watch(heartbeat=3.0)
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    reader = watch.runs.attach(handle, 0)
    drained(reader)
    assert await beats_in(watch, reader, 9) == 3
    reader.wrote = True
    assert await beats_in(watch, reader, 3) == 0
    assert await beats_in(watch, reader, 1) == 1


async def test_words_that_a_dialect_does_not_show_are_no_sign_of_life() -> None:
    watch = Watch(heartbeat=3.0)
    source = Played(STARTED, OPENED)
    handle = await watch.run(source)
    reader = watch.runs.attach(handle, 0)
    beats = 0
    for _ in range(18):
        source.say(Delta(0, "hidden"))
        await settle()
        drained(reader)
        beats += await beats_in(watch, reader, 0.5)
    assert beats == 3


async def test_a_heartbeat_wakes_whoever_waits() -> None:
    watch = Watch(heartbeat=3.0)
    reader = watch.runs.attach(await watch.run(Played(STARTED)), 0)
    drained(reader)
    waiting = asyncio.ensure_future(reader.changed())
    await watch.pass_(4)
    assert waiting.done()
    assert reader.beat


async def test_an_alarm_wakes_a_reader_once() -> None:
    watch = Watch()
    reader = watch.runs.attach(await watch.run(Played()), 0)
    reader.alarm = watch.clock.now + 1
    waiting = asyncio.ensure_future(reader.changed())
    await watch.pass_(0.5)
    assert not waiting.done()
    await watch.pass_(0.5)
    assert waiting.done()
    assert reader.alarm is None


# -- the end -------------------------------------------------------------------------------------------------------------


async def test_an_ended_run_is_kept_for_its_retention_and_then_forgotten() -> None:
    watch = Watch()
    handle = await watch.run(Played(*answer("x")))
    await watch.pass_(50)
    assert watch.runs.by_id == {handle.id: handle}
    await watch.pass_(0.5)
    assert watch.runs.by_id == {}


async def test_a_source_that_hangs_in_its_clean_up_is_left_behind_and_told_of() -> None:
    watch = Watch()
    handle = await watch.run(Played(*answer("x"), clean_up=never))
    assert handle.pump.terminal == Finished()
    await watch.pass_(CLOSING)
    assert watch.seen.abandoned == []
    await watch.pass_(0.5)
    assert watch.seen.abandoned == [handle.id]


async def purged(watch: Watch, handle: RunHandle) -> None:
    watch.runs.forget(handle)


async def crowded_out(watch: Watch, handle: RunHandle) -> None:
    watch.runs.max_runs = 1
    await watch.run(Played(STARTED))


@pytest.mark.parametrize("dropped", [purged, crowded_out])
async def test_so_is_one_whose_run_was_dropped_before(
    dropped: Callable[[Watch, RunHandle], Awaitable[None]],
) -> None:
    watch = Watch()
    handle = await watch.run(Played(*answer("x"), clean_up=never))
    await dropped(watch, handle)
    assert (handle.id in watch.runs.by_id, handle.pump.closing) == (False, True)
    await watch.pass_(CLOSING + 1)
    assert (watch.seen.abandoned, handle.id in watch.runs.active) == ([handle.id], False)
    await watch.runs.close()


async def test_what_all_runs_keep_is_known() -> None:
    watch = Watch()
    one = await watch.run(Played(*answer("x" * 500)))
    two = await watch.run(Played(STARTED, OPENED, sized(300)))
    watch.dog.tick(watch.clock.now)
    assert watch.runs.kept == one.log.kept + two.log.kept


# -- the ticker itself -----------------------------------------------------------------------------------------------------


def ticking(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """The ticker on a clock the test turns. Returns what lets it tick once."""
    beats: asyncio.Queue[None] = asyncio.Queue()

    async def interval(seconds: float) -> None:
        if seconds == 0:
            await real(0)
        else:
            await beats.get()
            watch.clock.turn(seconds)

    async def tick() -> None:
        beats.put_nowait(None)
        await settle()

    real = asyncio.sleep
    monkeypatch.setattr("penstock.flow.watchdog.asyncio.sleep", interval)
    return tick


async def test_the_ticker_goes_on_where_a_run_makes_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    tick = ticking(watch, monkeypatch)
    running = asyncio.ensure_future(watch.dog.run())
    reader: Reader = watch.runs.attach(await watch.run(Played(STARTED)), 0)
    trouble = RuntimeError("in a callback")

    def fails() -> None:
        raise trouble

    reader.on_ready = fails
    reader.alarm = watch.clock.now
    await tick()
    assert watch.seen.failures == [trouble]
    handle = await watch.run(Played(STARTED, OPENED))
    watch.runs.attach(handle, 0).detach()
    for _ in range(20):
        await tick()
    assert handle.pump.terminal == Cancelled("grace")
    running.cancel()
    await asyncio.wait([running])


async def test_a_run_that_makes_trouble_at_every_look_keeps_no_other_from_its_limits() -> None:
    watch = Watch()
    reader = watch.runs.attach(await watch.run(Played(STARTED)), 0)

    def fails() -> int:
        raise RuntimeError("in a transport")

    reader.progress = fails
    handle = await watch.run(Played(STARTED, OPENED))
    watch.runs.attach(handle, 0).detach()
    await watch.pass_(8)
    assert handle.pump.terminal == Cancelled("grace")
    assert {str(problem) for problem in watch.seen.failures} == {"in a transport"}


async def test_the_ticker_tells_the_store_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    tick = ticking(watch, monkeypatch)
    running = asyncio.ensure_future(watch.dog.run())
    handle = await watch.run(Played(*answer("x")))
    await tick()
    claim = await watch.runs.store.claim(handle.id, "somebody else", 1.0)
    assert claim.fence == 2
    running.cancel()
    await asyncio.wait([running])
