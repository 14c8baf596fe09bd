"""The bounded queue between generator and socket: counts bytes, keeps positions, serves any number of readers.

One pump appends; everybody else reads. Two quantities are never confused: *owed* is what lies after a reader's cursor,
*kept* is what the run holds. Single-threaded: every method runs on the event loop and none but `room` waits.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right

from penstock.core.cursor import Entry
from penstock.core.errors import Broken, fault
from penstock.core.events import TERMINAL, Event, Opened
from penstock.core.snapshot import Snapshot
from penstock.flow.history import History, weight
from penstock.flow.policy import Bounds, SlowReader
from penstock.flow.reader import Reader

FRESH = 32
"""Entries that are folded into the history at a time, as soon as twice as many are held as they are."""

UNBOUNDED = 1 << 62


class Statistics:
    """How full a log is, at the moment it was asked."""

    __slots__ = ("kept", "last", "owed", "readers", "said", "waiting")

    def __init__(self, log: Log):
        self.last = log.last
        self.said = log.said
        self.kept = log.kept
        self.readers = len(log.readers)
        self.owed = [reader.owed for reader in log.readers]
        self.waiting = log.waiting_for_room


class Log:
    """The entries of one run. `hold` keeps new entries invisible until `reveal`, for a store that must have them first."""

    __slots__ = (
        "_ahead",
        "_base",
        "_dropped",
        "_ends",
        "_finish",
        "_history",
        "_hold",
        "_pace",
        "_resume",
        "_room",
        "_slow_reader",
        "_tail",
        "bounds",
        "epoch",
        "last",
        "opened",
        "readers",
        "said",
        "sealed",
        "shown",
        "spoken",
    )

    def __init__(
        self, *, epoch: str, slow_reader: SlowReader = "pause", bounds: Bounds | None = None, hold: bool = False
    ):
        self.epoch = epoch
        self.bounds = bounds or Bounds()
        self.readers: list[Reader] = []
        self.last = 0
        """The last offset given."""
        self.shown = 0
        """The last offset readers may see."""
        self.said = 0
        """Bytes said in the run so far."""
        self.spoken = False
        """Whether a part was opened or the run has ended: there is something to show."""
        self.opened = False
        """Whether a part was opened."""
        self.sealed = False
        self._slow_reader = slow_reader
        self._hold = hold
        self._history = History(self.bounds.max_run_bytes // 2)
        self._tail: list[Entry] = []
        self._ends: list[int] = []
        self._base = 0
        """The offset before the first entry of the tail."""
        self._dropped = 0
        """Bytes said in entries that are no longer kept."""
        self._pace = 0
        """Bytes into the run that the fastest attached reader has taken; with none attached, what the fastest ever took."""
        self._ahead = self._resume = self.bounds.detached_bytes
        """How far the source may be ahead of the pace; and, once it waits, how far when it goes on."""
        self._finish = False
        self._room: asyncio.Future[None] | None = None

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, event: Event, at: int) -> bool:
        """Give an event the next offset and show it. Returns whether there is room for another; if not, await `room` first.

        Raises what `weight` raises, and leaves the log as it was.
        """
        said = self.said = self.said + weight(event)
        offset = self.last = self.last + 1
        tail = self._tail
        tail.append(Entry(offset, offset, at, event))
        self._ends.append(said)
        if not self.spoken and isinstance(event, (Opened, *TERMINAL)):
            self.spoken = True
            self.opened = isinstance(event, Opened)
        if not self._hold:
            self.shown = offset
            for reader in self.readers:
                reader.notify()
        if len(tail) >= 2 * FRESH and self.shown - self._base >= FRESH:
            self._compact(FRESH)
        if self._slow_reader == "disconnect":
            self._drop_slow()
            if self.sealed:
                return False
        if said - self._pace <= self._ahead and said - self._dropped <= self.bounds.max_run_bytes:
            return True
        return self._make_room()

    async def room(self) -> None:
        """Wait until the fastest reader owes no more than `low`, and the run keeps no more than its cap.

        Raises `Broken(answer_too_large)` where that cannot be: every reader has everything, and what is left cannot be dropped.
        """
        while not self._has_room():
            if self._stuck():
                raise Broken(
                    "answer_too_large",
                    "the notes and tool results of the run outgrew what the server keeps of a run (max_run_bytes)",
                )
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def reveal(self, through: int) -> None:
        """Show what was held back, up to and including offset `through`."""
        self.shown = max(self.shown, min(through, self.last))
        for reader in self.readers:
            reader.notify()
        if self._slow_reader == "disconnect":
            self._drop_slow()

    def seal(self) -> None:
        """Nothing follows. Readers read out what there is."""
        self.sealed = True
        self._wake_writer()
        for reader in self.readers:
            reader.notify()

    def fold(self) -> None:
        """Put everything shown into the compact form, now that nobody waits for more of it."""
        self._compact(self.shown - self._base)

    @property
    def waiting_for_room(self) -> bool:
        """Whether the writer is waiting for readers: then silence is not the source's."""
        return self._room is not None

    @property
    def kept(self) -> int:
        """Bytes held: all entries not dropped, and what the dropped ones added up to."""
        return self.said - self._dropped

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The first offset that can still be given."""
        return self._history.first

    def attach(self, after: int) -> Reader:
        """A reader of everything after offset `after`. Raises `ValueError` for one that does not lie between `first - 1` and `shown`."""
        if not self.first - 1 <= after <= self.shown:
            raise ValueError(f"offset {after} is not held: {self.first - 1} to {self.shown} are")
        reader = Reader(self, after, self.said_through(after))
        self.readers.append(reader)
        self._repace()
        return reader

    def read(self, after: int, budget: int) -> list[Entry]:
        """Visible entries after offset `after`: about `budget` bytes of them and at least one; empty where there are none."""
        if after >= self.shown:
            return []
        if after < self._base:
            return self._history.read(after, budget)
        start = after - self._base
        stop = self.shown - self._base
        if stop - start > 1:
            limit = (self._ends[start - 1] if start else self._history.size) + budget
            while stop > start + 1 and self._ends[stop - 1] > limit:
                stop = start + 1 + (stop - start - 1) // 2
        return self._tail[start:stop]

    def snapshot(self, through: int | None = None) -> Snapshot:
        """What was said up to and including offset `through` (default: all that is visible), which is held."""
        through = self.shown if through is None else through
        folder = self._history.past()
        self._history.fold_to(folder, through)
        for entry in self._tail[: max(0, through - self._base)]:
            folder.add(entry)
        return folder.snapshot()

    def statistics(self) -> Statistics:
        return Statistics(self)

    def said_through(self, offset: int) -> int:
        """Bytes said in the run up to and including `offset`, which is held, or is the last one dropped."""
        if offset > self._base:
            return self._ends[offset - self._base - 1]
        return self._history.size_at(offset)

    # -- what readers tell the log -----------------------------------------------------------------------------------

    def taken(self, reader: Reader) -> None:
        """A reader has taken more."""
        if reader.taken > self._pace:
            self._pace = reader.taken
        if self._room is not None:
            self._reconsider()

    def left(self, reader: Reader) -> None:
        """A reader is gone. The rest of its bookkeeping is the run's."""
        self.readers.remove(reader)
        self._repace()

    def unattended(self, *, finish: bool) -> None:
        """How far to go with nobody attached: to the cap where the run is to finish, else `detached_bytes`."""
        self._finish = finish
        self._repace()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _repace(self) -> None:
        if not self.readers:
            self._ahead = self._resume = self.bounds.max_run_bytes if self._finish else self.bounds.detached_bytes
        else:
            self._pace = max(reader.taken for reader in self.readers)
            self._ahead, self._resume = UNBOUNDED, UNBOUNDED
            if self._slow_reader == "pause":
                self._ahead, self._resume = self.bounds.high, self.bounds.low
        if self._room is not None:
            self._reconsider()

    def _reconsider(self) -> None:
        if self._has_room() or self._stuck():
            self._wake_writer()

    def _has_room(self) -> bool:
        if self.sealed:
            return True
        return self.said - self._pace <= self._resume and (self.kept <= self.bounds.max_run_bytes or self._make_room())

    def _stuck(self) -> bool:
        return (
            self.kept > self.bounds.max_run_bytes
            and bool(self.readers)
            and all(reader.taken == self.said for reader in self.readers)
        )

    def _make_room(self) -> bool:
        """Drop the oldest that every attached reader has, down to the cap; whether the source may go on."""
        surplus = self.kept - self.bounds.max_run_bytes
        if surplus > 0 and self.readers:
            taken = min(reader.taken for reader in self.readers)
            freed = self._history.drop(taken, surplus)
            if freed < surplus:
                self._compact(bisect_right(self._ends, taken))
                freed += self._history.drop(taken, surplus - freed)
            self._dropped += freed
        return self.said - self._pace <= self._ahead and self.kept <= self.bounds.max_run_bytes

    def _compact(self, count: int) -> None:
        self._history.fold(self._tail[:count], self._ends[:count])
        del self._tail[:count], self._ends[:count]
        self._base += count

    def _drop_slow(self) -> None:
        limit = self.said_through(self.shown) - self.bounds.high
        for reader in [reader for reader in self.readers if reader.taken < limit]:
            reader.drop(fault("slow_reader"), "slow")

    def _wake_writer(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
