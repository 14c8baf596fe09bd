"""One reader of a log: a cursor and a policy. It owns no queue, so a slow reader costs nothing but its place.

Two ways to use it: `take` waits and returns entries; or `poll` for what is ready and `changed` to be woken, which also
tells of heartbeats and of the end. A writer that serves many readers sets `on_ready` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.cursor import Entry
from penstock.core.events import Fault
from penstock.core.measure import Delivered, Histogram

if TYPE_CHECKING:
    from penstock.flow.log import Log


class Reader:
    """Made by `Log.attach`. Ended by `detach`, by `drop`, or by reading out a sealed log."""

    __slots__ = (
        "_changed",
        "_log",
        "_loop",
        "_times",
        "alarm",
        "attached",
        "beat",
        "behind",
        "came",
        "delivery",
        "dropped",
        "joined",
        "offset",
        "on_drop",
        "on_gone",
        "on_ready",
        "owing_since",
        "progress",
        "quiet_since",
        "seen",
        "since",
        "start",
        "taken",
        "told",
        "wrote",
    )

    def __init__(self, log: Log, after: int, taken: int):
        self._log = log
        self._changed: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.offset = self.start = after
        """The last offset taken, and the one before the first."""
        self.taken = self.joined = taken
        """Bytes into the run that were taken, now and when this reader joined."""
        self.behind = log.said
        """Bytes that had been said when it joined."""
        self.delivery: Delivered | None = None
        """Where what it is given is counted."""
        self._times: Histogram | None = None
        self.came = self.since = 0.0
        """When it joined, and when it last took something."""
        self.attached = True
        """Whether this reader counts: for pacing, for trimming, for who is still listening."""
        self.dropped: Fault | None = None
        """Why the server let this reader go."""
        self.beat = False
        """The ticker wants a sign of life sent; clear it when it was."""
        self.wrote = False
        """Set it whenever something was written: what was taken may have said nothing in this reader's dialect."""
        self.alarm: float | None = None
        """Loop time at which the ticker is to wake this reader once."""
        self.on_ready: Callable[[], None] | None = None
        """Called instead of waking `changed`, whenever there may be something to do."""
        self.on_drop: Callable[[], None] | None = None
        """Called when the server lets this reader go while its transport may be stuck in a write."""
        self.on_gone: Callable[[Reader, str], None] | None = None
        """Called once when this reader is gone, with the reason; the run's."""
        self.progress: Callable[[], int] | None = None
        """A number that is another one whenever the client has taken a byte since; its transport's, where it can tell."""
        self.seen = after
        """For the ticker: the offset at its last look, since when nothing was written, and since when something waits to be taken."""
        self.told = 0
        """… and what `progress` said then."""
        self.quiet_since = self.owing_since = 0.0

    @property
    def owed(self) -> int:
        """Bytes after this reader's cursor."""
        return self._log.said - self.taken

    @property
    def finished(self) -> bool:
        """Whether the run has ended and everything was taken."""
        return self._log.sealed and self.offset >= self._log.last

    def poll(self, budget: int) -> list[Entry]:
        """What is ready, about `budget` bytes of it and at least one entry; empty where there is nothing. Never waits.

        Empty also when this reader is no longer attached: what it has not taken may be trimmed by now.
        """
        if not self.attached:
            return []
        log = self._log
        entries = log.read(self.offset, budget)
        if entries:
            self.offset = entries[-1].last
            self.taken = log.said_through(self.offset)
            log.taken(self)
            if self._times is not None:
                self._time(self._times)
        return entries

    def count(self, delivery: Delivered) -> None:
        """Count what this reader is given, from now on."""
        self.delivery = delivery
        self._times = delivery.firsts
        self.came = self.since = delivery.clock()

    def _time(self, times: Histogram) -> None:
        """Once per batch: how long it was in coming."""
        delivery = self.delivery
        assert delivery is not None  # noqa: S101 - there are times since there is a delivery
        now = delivery.clock()
        times.add(now - self.since)
        self._times, self.since = delivery.gaps, now

    def advance(self, through: int) -> bool:
        """Pass over what lies up to offset `through`, which somebody else has read for this reader. Whether it is still attached."""
        if not self.attached:
            return False
        self.offset = through
        self.taken = self._log.said_through(through)
        self._log.taken(self)
        if self._times is not None:
            self._time(self._times)
        return True

    async def take(self, budget: int) -> list[Entry]:
        """Wait for what is ready; empty when the run was read out or this reader was dropped or detached."""
        while not (entries := self.poll(budget)):
            if self.finished or self.dropped is not None or not self.attached:
                return []
            await self.changed()
        return entries

    async def changed(self) -> None:
        """Wait until something happens: an entry, the end, a heartbeat due, an alarm, a drop. Poll first, or a wake-up is missed."""
        loop = self._loop
        if loop is None:
            # Kept: before Python 3.12 every look-up of the running loop is a system call.
            loop = self._loop = asyncio.get_running_loop()
        self._changed = loop.create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def notify(self) -> None:
        """Wake whoever waits for this reader."""
        if self.on_ready is not None:
            self.on_ready()
        elif self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def detach(self, reason: str = "left") -> None:
        """The client is gone, or has everything. Idempotent."""
        if self.attached:
            self.attached = False
            self._log.left(self)
            if self.on_gone is not None:
                self.on_gone(self, reason)
            self.notify()

    def drop(self, why: Fault, reason: str) -> None:
        """Let this reader go from the server's side; it may come back with its cursor."""
        self.dropped = why
        self.detach(reason)
        if self.on_drop is not None:
            self.on_drop()
