"""Law 4: under `pause` the least owed among attached readers is at most `high` plus one event; a log keeps at most its cap plus one."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.errors import Broken
from penstock.core.snapshot import fold
from penstock.flow import log as log_module
from penstock.flow.history import weight
from penstock.flow.log import Log
from penstock.flow.policy import Bounds, SlowReader
from penstock.flow.reader import Reader
from penstock.testing.strategies import runs
from tests.flow.scripted import held, settle

Step = tuple[str, int, int]

STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("attach"), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(1, 600)),
        st.tuples(st.just("leave"), st.integers(0, 3), st.just(0)),
    ),
    max_size=40,
)
POLICIES: list[SlowReader] = ["pause", "coalesce", "disconnect"]


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    """Small ones, so that every one of them is met."""
    high = draw(st.integers(1, 400))
    return Bounds(
        high=high,
        low=draw(st.integers(0, high)),
        detached_bytes=draw(st.integers(0, 600)),
        max_run_bytes=draw(st.integers(high, 2000)),
    )


class Bounded:
    """A log, a writer that waits for room as the pump does, and readers; the law is checked at every append."""

    def __init__(self, slow_reader: SlowReader, limits: Bounds, entries: list[Entry]):
        self.log = Log(epoch="a1", slow_reader=slow_reader, bounds=limits)
        self.paced = slow_reader == "pause"
        self.limits = limits
        self.entries = entries
        self.told = 0
        self.found: dict[Reader, list[Entry]] = {}
        self.broken = False
        self.excused = True
        """Somebody joined or left, so that the pace may be slower than it was when the source was let go on: it may say one more."""
        self._turns = asyncio.Semaphore(0)
        self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        log = self.log
        try:
            for entry in self.entries:
                await self._turns.acquire()
                assert log.kept <= self.limits.max_run_bytes
                if self.paced and log.readers and not self.excused:
                    assert min(reader.owed for reader in log.readers) <= self.limits.high
                self.excused = False
                self.told += 1
                room = log.append(entry.event, entry.at)
                assert log.kept <= self.limits.max_run_bytes + weight(entry.event)
                if not room:
                    await log.room()
        except Broken:
            self.broken = True
        log.seal()

    async def play(self, steps: list[Step]) -> None:
        for step in steps:
            self._step(*step)
            await settle()
        await self._read_out()
        self._writing.result()

    def _step(self, kind: str, number: int, budget: int) -> None:
        readers = self.log.readers
        if kind == "say":
            for _ in range(number):
                self._turns.release()
        elif kind == "attach":
            first = self.log.first - 1
            self.found[self.log.attach(first + number % (self.log.shown - first + 1))] = []
            self.excused = True
        elif readers:
            reader = readers[number % len(readers)]
            if kind == "take":
                self.found[reader] += reader.poll(budget)
            else:
                reader.detach()
                self.excused = True

    async def _read_out(self) -> None:
        """Nobody is left waiting for ever: with readers that read, the source comes to its end."""
        for _ in self.entries:
            self._turns.release()
        for _ in range(len(self.entries) + 2):
            if not self.log.readers:
                self._step("attach", 0, 0)
            for reader in list(self.log.readers):
                self.found[reader] += reader.poll(1 << 30)
            await settle()
        assert self._writing.done(), (
            f"{self.told} of {len(self.entries)} said, {self.log.kept} kept, nobody owes anything"
        )

    def check(self) -> None:
        """What was read is what was said, and what is held is the end of it."""
        told = self.entries[: self.told]
        for reader, found in self.found.items():
            start = reader.offset - len(found)
            assert found == told[start : reader.offset]
            assert not reader.attached or reader.finished
        assert held(self.log) == told[self.log.first - 1 :]
        assert self.log.said == sum(weight(entry.event) for entry in told)
        for through in (self.log.first - 1, self.log.last):
            snapshot = self.log.snapshot(through)
            if not snapshot.elided:
                assert snapshot == fold(told[:through])


@given(
    slow_reader=st.sampled_from(POLICIES),
    limits=bounds(),
    entries=runs(steps=60),
    steps=STEPS,
    fresh=st.sampled_from([1, 2, 8, 128]),
)
def test_what_is_owed_and_what_is_kept_are_bounded_and_nobody_waits_for_ever(
    slow_reader: SlowReader, limits: Bounds, entries: list[Entry], steps: list[Step], fresh: int
) -> None:
    async def play() -> None:
        bounded = Bounded(slow_reader, limits, entries)
        await bounded.play(steps)
        bounded.check()
        assert bounded.broken or bounded.told == len(entries)

    with patch.object(log_module, "FRESH", fresh):
        asyncio.run(play())
