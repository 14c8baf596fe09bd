"""The law of sharing: readers that share a telling are each written what a stream of their own would have written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.flow.handle import Place, RunHandle
from penstock.flow.log import Log
from penstock.flow.policy import Bounds, MiB
from penstock.server.joining import pipeline
from penstock.server.telling import Teller
from penstock.testing.strategies import RUN, runs
from tests.laws.pairs import BARE, PAIRS, Pair, laws, naming

ROOMY = Bounds(high=4 * MiB, low=4 * MiB, turn_bytes=4 * MiB, merge_above=4 * MiB)
"""So large that nothing is merged: then what is written is the same to the byte."""


class Handle(SimpleNamespace):
    """As much of a run as a teller looks at."""

    def __init__(self) -> None:
        log = Log(epoch="a1", bounds=ROOMY)
        super().__init__(id=RUN, log=log, policy=SimpleNamespace(bounds=ROOMY), tellings={})


class Alike:
    """A manner that notes at which offsets a reader got a stream of its own. `name` says who is told the same."""

    def __init__(self, pair: Pair, name: str):
        self.apart: list[int] = []
        self._pair = pair
        self._name = name

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and other._name == self._name

    def stream(self, handle: RunHandle, after: int) -> Stream[Any]:
        self.apart.append(after)
        encoder = SseEncoder(retry_ms=None) if self._pair.transport == "sse" else self._pair.encoder()
        return pipeline(self._pair.dialect, self._pair.view(), encoder, handle, Place(after))


class Told:
    """One reader: what it was written, and what it should have been."""

    def __init__(self, pair: Pair, handle: Handle, name: str = "alike"):
        self._pair = pair
        self._handle = cast("RunHandle", handle)
        self.reader = handle.log.attach(0)
        self.written: list[Any] = []
        self.manner = Alike(pair, name)
        self.teller: Teller[Any, list[Any]] = Teller(
            self._handle, self.reader, self._stream(), manner=self.manner, pack=list
        )

    def _stream(self) -> Stream[Any]:
        return pipeline(self._pair.dialect, self._pair.view(), self._pair.encoder(), self._handle, Place(0))

    def turn(self) -> None:
        if (packed := self.teller.take()) is not None:
            self.written += packed

    def due(self) -> list[Any]:
        return self._stream().feed(self._handle.log.read(0, 4 * MiB))


@laws
@given(entries=runs(), data=st.data())
def test_readers_that_share_are_written_what_they_would_be_alone(entries: list[Entry], data: st.DataObject) -> None:
    turns = data.draw(st.lists(st.integers(0, 3), max_size=4 * len(entries)), label="whose turn; 0: one more is said")
    for pair in [*PAIRS, BARE]:
        with naming(pair):
            handle = Handle()
            readers = [Told(pair, handle) for _ in range(3)]
            said = iter(entries)
            for turn in turns:
                if turn:
                    readers[turn - 1].turn()
                elif (entry := next(said, None)) is not None:
                    handle.log.append(entry.event, entry.at)
            for entry in said:
                handle.log.append(entry.event, entry.at)
            for told in readers:
                while told.reader.offset < handle.log.last:
                    told.turn()
                assert told.written == told.due()
                assert told.teller.terminal == entries[-1].event


def test_those_who_keep_pace_have_one_telling_and_the_last_to_leave_ends_it() -> None:
    pair = PAIRS[0]
    handle = Handle()
    readers = [Told(pair, handle) for _ in range(5)]
    other = Told(pair, handle, "another likeness")
    for entry in placed_run():
        handle.log.append(entry.event, entry.at)
        for told in [*readers, other]:
            told.turn()
    assert len({id(told.teller.stream) for told in readers}) == 1
    assert other.teller.stream is not readers[0].teller.stream
    for told in readers:
        assert len(handle.tellings) == 2
        told.teller.leave()
    assert list(handle.tellings) == [other.manner]


def test_one_that_falls_behind_is_told_apart_and_joins_again_when_it_has_caught_up() -> None:
    handle = Handle()
    fast, slow = (Told(PAIRS[0], handle) for _ in range(2))
    for entry in placed_run(texts=40):
        handle.log.append(entry.event, entry.at)
        fast.turn()
        if not 5 < entry.last <= 30:
            slow.turn()
    assert (fast.manner.apart, slow.manner.apart) == ([], [5])
    assert slow.teller.stream is fast.teller.stream
    assert slow.written == fast.written == fast.due()


def placed_run(texts: int = 3) -> list[Entry]:
    events: list[Event] = [
        Started(RUN, "demo", 1_750_000_000),
        Opened(0, "text"),
        *(Delta(0, f"token {number} ") for number in range(texts)),
        Closed(0),
        Finished("stop"),
    ]
    return [Entry(offset, offset, offset, event) for offset, event in enumerate(events, 1)]
