"""The event loop is watched from beside it. What blocks it here does so until it was noticed, never for a time."""

import asyncio
import threading
import time
from collections.abc import Sequence

from penstock.telemetry.loop_lag import BEAT, HELD, LoopWatch
from tests.waiting import CEILING, until


class Noted:
    """What a watch has said, with a flag that a blocked loop can wait for."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.holds: list[tuple[float, Sequence[str]]] = []
        self.noticed = threading.Event()
        self.watch = LoopWatch(on_lag=self.lags.append, on_hold=self.held)

    def held(self, seconds: float, places: Sequence[str]) -> None:
        self.holds.append((seconds, places))
        self.noticed.set()

    @property
    def found(self) -> list[float]:
        """How long the loop had been held when it was held by `hold`, and not by a busy machine."""
        return [seconds for seconds, places in self.holds if any(place.endswith(NAME) for place in places)]


async def held_until_noticed(noted: Noted) -> int:
    """Hold the loop until that was noticed; how often it took.

    One time is enough, unless the machine itself has just held the loop up: that was told then, and this belongs to it.
    """
    before, times = len(noted.found), 0
    while len(noted.found) == before:
        assert times < CEILING / BOUT
        times += 1
        hold(noted, before)
        for _ in range(3):
            await asyncio.sleep(0)  # lets the late beat come
    return times


def hold(noted: Noted, before: int) -> None:
    """What no handler should do."""
    until = time.monotonic() + BOUT
    while len(noted.found) == before and time.monotonic() < until:
        noted.noticed.wait(0.01)


BOUT = 2.0
NAME = " in hold"


async def test_whoever_holds_the_loop_is_named_while_he_does_and_once() -> None:
    noted = Noted()
    noted.watch.start()
    times = await held_until_noticed(noted)
    await until("the late beat came", lambda: any(seconds > HELD for seconds in noted.lags))
    noted.watch.stop()
    assert 1 <= len(noted.found) <= times
    assert min(noted.found) > HELD


async def test_a_second_hold_is_told_too() -> None:
    noted = Noted()
    noted.watch.start()
    times = await held_until_noticed(noted)
    await until("the late beat came", lambda: any(seconds > HELD for seconds in noted.lags))
    times += await held_until_noticed(noted)
    noted.watch.stop()
    assert 2 <= len(noted.found) <= times


async def test_a_loop_that_turns_has_its_lag_measured_with_every_beat() -> None:
    noted = Noted()
    noted.watch.start()
    await until("three beats came", lambda: len(noted.lags) >= 3)
    noted.watch.stop()
    assert min(noted.lags) >= 0


async def test_a_hold_that_the_thread_could_not_see_is_told_by_the_late_beat() -> None:
    """As when an extension kept the interpreter for itself: here the thread is stopped, and the clock jumps."""
    now = [1000.0]
    noted = Noted()
    watch = LoopWatch(on_lag=noted.lags.append, on_hold=noted.held, clock=lambda: now[0])
    loop = asyncio.get_running_loop()
    watch._next(loop)
    now[0] += BEAT + 2 * HELD
    await until("the beat came", lambda: bool(noted.lags))
    watch.stop()
    assert [(round(seconds, 6), places) for seconds, places in noted.holds] == [(2 * HELD, ())]
    assert [round(seconds, 6) for seconds in noted.lags] == [2 * HELD]


async def test_a_watch_that_is_stopped_leaves_no_thread_and_can_start_again() -> None:
    noted = Noted()
    for _ in range(2):
        noted.watch.start()
        assert "penstock loop watch" in [thread.name for thread in threading.enumerate()]
        noted.watch.stop()
        noted.watch.stop()
        assert "penstock loop watch" not in [thread.name for thread in threading.enumerate()]
