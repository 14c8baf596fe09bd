"""One way of telling a run, shared by the readers that keep pace: what was made for one of them, the others get for nothing.

A telling is a stream and the offset through which it was fed. Readers in the same dialect, view and encoder that stand at
that offset need no renderer of their own. One that falls behind leaves with a stream of its own, primed as for a client
that comes back, and joins the others again when it has caught up. That all of them write the same bytes is the law of resume.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar, cast

from penstock.core.cursor import Entry
from penstock.core.events import Terminal
from penstock.core.frame import Wire_co
from penstock.encoders.coalesce import coalesce
from penstock.encoders.stream import Stream
from penstock.flow.handle import RunHandle
from penstock.flow.policy import Bounds
from penstock.flow.reader import Reader

W = TypeVar("W", bytes, str | bytes)
Packed = TypeVar("Packed")

RECENT = 8
"""Turns of a telling that are held for the readers that come after the first of them."""


def ready(reader: Reader, bounds: Bounds) -> list[Entry]:
    """What is ready for a reader, merged where it is behind."""
    behind = reader.owed > bounds.merge_above
    entries = reader.poll(bounds.turn_bytes)
    if not behind or len(entries) < 2:
        return entries
    merged = coalesce(entries)
    if reader.delivery is not None:
        reader.delivery.merged += len(entries) - len(merged)
    return merged


class Telling(Generic[W, Packed]):
    """A stream, how far it was fed, how many read it, and what it made of the last turns: offset before → offset after, packed."""

    __slots__ = ("at", "readers", "recent", "stream")

    def __init__(self, stream: Stream[W], at: int):
        self.stream: Stream[W] = stream
        self.at = at
        self.readers = 1
        self.recent: dict[int, tuple[int, Packed]] | None = None
        """None as long as there is one reader."""

    def keep(self, after: int, packed: Packed) -> None:
        """Hold what was made of the entries after offset `after`, for the others."""
        recent = self.recent
        if recent is None:
            recent = self.recent = {}
        elif len(recent) >= RECENT:
            del recent[next(iter(recent))]
        recent[after] = self.at, packed


class Manner(Hashable, Protocol[Wire_co]):
    """How readers are told a run: equal for those that are told the same."""

    def stream(self, handle: RunHandle, after: int) -> Stream[Wire_co]:
        """A stream for a reader that has everything up to offset `after`, and has been told what each is told once."""


class Teller(Generic[W, Packed]):
    """Tells one reader its run, which begins with `stream`. `pack` joins what a stream made of one turn.

    Without a `manner` it shares with nobody.
    """

    __slots__ = ("_joined", "_manner", "_pack", "_telling", "handle", "reader")

    def __init__(
        self,
        handle: RunHandle,
        reader: Reader,
        stream: Stream[W],
        *,
        manner: Manner[W] | None,
        pack: Callable[[list[W]], Packed],
    ):
        self.handle = handle
        self.reader = reader
        self._telling: Telling[W, Packed] = Telling(stream, reader.offset)
        self._joined = manner is None
        self._manner: Manner[W] | None = manner
        self._pack: Callable[[list[W]], Packed] = pack

    @property
    def stream(self) -> Stream[W]:
        """The stream this reader is told by, at the moment."""
        return self._telling.stream

    @property
    def terminal(self) -> Terminal | None:
        """The terminal event, once this reader was told of it."""
        telling = self._telling
        return telling.stream.terminal if self.reader.offset == telling.at else None

    def take(self) -> Packed | None:
        """What is ready for this reader; None where nothing is. Entries of which the dialect says nothing are taken, and packed."""
        reader = self.reader
        telling = self._telling
        after = reader.offset
        if telling.at != after:
            if telling.recent is not None and (made := telling.recent.get(after)) is not None:
                through, packed = made
                return packed if reader.advance(through) else None
            telling = self._part()
        entries = ready(reader, self.handle.policy.bounds)
        if not entries:
            return None
        packed = self._pack(telling.stream.feed(entries))
        telling.at = reader.offset
        if telling.readers > 1:
            telling.keep(after, packed)
        elif packed and not self._joined and reader.offset == self.handle.log.shown:
            self._join()  # after its first words: an encoder may have something to say once, to each reader
        return packed

    def leave(self) -> None:
        """This reader needs no more."""
        if self._joined and self._manner is not None:
            self._joined = False
            telling = self._telling
            telling.readers -= 1
            if telling.readers == 0:
                del self.handle.tellings[self._manner]
            elif telling.readers == 1:
                telling.recent = None

    def _join(self) -> None:
        """Share with those who are told the same, if they are here too; be the first of them where there are none."""
        tellings = cast("dict[Hashable, Telling[W, Packed]]", self.handle.tellings)
        theirs = tellings.setdefault(self._manner, self._telling)
        if theirs is not self._telling:
            if theirs.at != self.reader.offset:
                return
            theirs.readers += 1
            self._telling = theirs
        self._joined = True

    def _part(self) -> Telling[W, Packed]:
        assert self._manner is not None  # noqa: S101 - who shares with nobody is always where its stream is
        self.leave()
        at = self.reader.offset
        self._telling = Telling(self._manner.stream(self.handle, at), at)
        return self._telling
