"""One ticker per loop enforces every time limit of every run and gives every heartbeat, so that no token needs a timer."""

from __future__ import annotations

import asyncio

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Failed
from penstock.core.lifecycle import Phase
from penstock.flow.handle import Pace, RunHandle
from penstock.flow.reader import Reader
from penstock.flow.runs import Runs

WINDOW = 10.0
"""Seconds over which the pace of a source is measured."""
HEARTBEAT = 15.0
"""Seconds of silence after which a reader's connection needs a sign of life."""


class Watchdog:
    """`tick(now)` looks at every run once; `run` does so `1 / interval` times a second."""

    def __init__(self, runs: Runs, *, heartbeat: float = HEARTBEAT, interval: float | None = None):
        self._runs = runs
        self.beat_every(heartbeat)
        if interval is not None:
            self._interval = interval

    def beat_every(self, heartbeat: float) -> None:
        """So many seconds of silence before a heartbeat, from now on."""
        self._heartbeat = heartbeat
        self._interval = min(0.5, heartbeat / 2)

    async def run(self) -> None:
        """Tick for ever."""
        now = asyncio.get_running_loop().time
        while True:
            due = now() + self._interval
            await asyncio.sleep(self._interval)
            self._runs.admission.late(now() - due)
            try:
                self.tick(self._runs.now())
            except Exception as problem:  # noqa: BLE001 - without a ticker no limit of any run would hold
                self._runs.observer.background_failed(problem)
            await self._runs.settle()

    def tick(self, now: float) -> None:
        """Enforce what is due at `now`, in the seconds of the runs' clock."""
        for handle in list(self._runs.active.values()):
            try:
                self._look(handle, now)
            except Exception as problem:  # noqa: BLE001 - one that makes trouble at every look is not to hide those behind it
                self._runs.observer.background_failed(problem)
        self._runs.look(now)

    def _look(self, handle: RunHandle, now: float) -> None:
        for reader in list(handle.log.readers):
            self._reader(handle, reader, now)
        if handle.state is not Phase.ENDED:
            self._live(handle, now)
        else:
            handle.pump.closing_overdue(now)
            if not handle.log.readers and not handle.pump.closing:
                self._runs.rest(handle)
            elif handle.expires < now:
                self._runs.forget(handle)

    def _live(self, handle: RunHandle, now: float) -> None:
        pump, limits = handle.pump, handle.policy.limits
        if now - pump.began > limits.total:
            self._fail(handle, "total_timeout", f"the run took longer than {limits.total:g} s")
        elif handle.unattended_since is not None and now - handle.unattended_since > handle.on_disconnect.grace:
            self._runs.end(handle, Cancelled("grace"))
        elif handle.log.waiting_for_room:
            return
        elif pump.phase is Phase.SPEAKING:
            if now - pump.moved > limits.gap:
                self._late(handle, "gap_timeout", f"the provider fell silent for {limits.gap:g} s in mid-answer")
            elif limits.floor:
                self._pace(handle, now)
        elif now - pump.asked > limits.first_token:
            self._late(handle, "first_token_timeout", f"the provider said nothing for {limits.first_token:g} s")

    def _pace(self, handle: RunHandle, now: float) -> None:
        """Whether a source that speaks is quick enough, the time not counted in which it waited for its readers."""
        pump, floor = handle.pump, handle.policy.limits.floor
        since = handle.pace
        if since is None or pump.asked > since.at:
            handle.pace = Pace(now, handle.log.last, pump.held)
        elif (seconds := now - since.at - (pump.held - since.held)) >= WINDOW:
            rate = (handle.log.last - since.offset) / seconds
            handle.pace = Pace(now, handle.log.last, pump.held)
            if rate < floor:
                self._late(
                    handle,
                    "throughput_timeout",
                    f"the provider spoke {rate:.3g} tokens a second, and {floor:g} are waited for",
                )

    def _late(self, handle: RunHandle, code: str, message: str) -> None:
        handle.pump.late(fault(code, message))

    def _fail(self, handle: RunHandle, code: str, message: str) -> None:
        self._runs.end(handle, Failed(fault(code, message)))

    def _reader(self, handle: RunHandle, reader: Reader, now: float) -> None:
        if reader.alarm is not None and now >= reader.alarm:
            reader.alarm = None
            reader.notify()
        if reader.wrote:
            reader.wrote = False
            reader.quiet_since = now
        elif now - reader.quiet_since >= self._heartbeat:
            reader.quiet_since = now
            reader.beat = True
            reader.notify()
        told = reader.progress() if reader.progress is not None and handle.log.shown > reader.offset else reader.told
        if reader.offset != reader.seen or told != reader.told or handle.log.shown <= reader.offset:
            # One turn may take a slow client longer than `stall`, and on a shared socket it waits for the turns of others.
            reader.seen, reader.told = reader.offset, told
            reader.owing_since = now
        elif now - reader.owing_since > handle.policy.limits.stall:
            reader.drop(fault("slow_reader", "the connection made no progress; come back with the cursor"), "stalled")
