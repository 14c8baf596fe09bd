"""The older entries of a run in a compact form from which every single entry can be given again, exactly.

Adjacent plain deltas of one part become a `Passage`: their text joined, with an end and a time for each, eight bytes a token.
Everything else is kept as it is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Delta, Event
from penstock.core.snapshot import Folder

OVERHEAD = 16
"""Bytes counted for an entry beside its payload."""

_encode = msgspec.json.Encoder().encode


def weight(event: Event) -> int:
    """Bytes an event counts for in every bound: its text in UTF-8, its data or its JSON, and `OVERHEAD`.

    Raises what the encoder raises for an event that no transport could carry: lone surrogates, objects that are no JSON.
    """
    if type(event) is Delta:
        text = event.text
        size = (len(text) if text.isascii() else len(text.encode())) + OVERHEAD
        return size if event.logprobs is None else size + len(memoryview(event.logprobs))
    if type(event) is Chunk:
        return len(event.data) + OVERHEAD
    return len(_encode(event)) + OVERHEAD


MOST = 512
LARGEST = 4096
"""Deltas and characters up to which a passage takes more: enough that what it costs beside its text is little per token, and
little enough to copy when it grows, and to drop at once."""


class Passage:
    """Adjacent plain deltas of one part, from offset `first` on."""

    __slots__ = ("ats", "ends", "first", "part", "text")

    def __init__(self, first: int, part: int):
        self.first = first
        self.part = part
        self.text = ""
        self.ends = array("I")
        self.ats = array("I")

    def extend(self, entries: Sequence[Entry], texts: list[str]) -> None:
        """Take the next deltas, whose texts are `texts`."""
        lengths = list(map(len, texts))
        lengths[0] += len(self.text)
        self.text += "".join(texts)
        self.ats.extend([entry.at for entry in entries])
        self.ends.extend(accumulate(lengths))

    @property
    def last(self) -> int:
        return self.first + len(self.ends) - 1

    def entries(self, after: int) -> Iterator[Entry]:
        """Its entries with offsets greater than `after`."""
        skip = max(0, after + 1 - self.first)
        start = self.ends[skip - 1] if skip else 0
        for index in range(skip, len(self.ends)):
            end = self.ends[index]
            offset = self.first + index
            yield Entry(offset, offset, self.ats[index], Delta(self.part, self.text[start:end]))
            start = end

    def fold_into(self, folder: Folder, through: int) -> None:
        """Add what it says up to and including offset `through`."""
        count = min(through, self.last) - self.first + 1
        text = self.text if count == len(self.ends) else self.text[: self.ends[count - 1]]
        folder.add_text(self.part, text, self.first + count - 1, self.ats[count - 1], count=count)


class History:
    """The compact form of the entries up to `last`, the oldest of which may have been dropped into a folder of that limit."""

    __slots__ = ("_dropped", "_ends", "_folder", "_lasts", "_limit", "_segments", "last", "size")

    def __init__(self, limit: int):
        self._limit = limit
        self._folder: Folder | None = None
        self._segments: list[Passage | Entry] = []
        self._lasts: list[int] = []
        self._ends: list[int] = []
        """Bytes said in the run up to the end of each segment."""
        self.last = 0
        self.size = 0
        """Bytes said in the run up to offset `last`, dropped ones included."""
        self._dropped = 0
        """Bytes said in the entries that were dropped."""

    @property
    def first(self) -> int:
        """The first offset that can still be given."""
        return self._folder.through + 1 if self._folder is not None else 1

    def past(self) -> Folder:
        """A folder of its own that holds what the dropped entries added up to."""
        return self._folder.copy() if self._folder is not None else Folder()

    def fold(self, entries: Sequence[Entry], ends: Sequence[int]) -> None:
        """Take over the next entries, in order and without holes; `ends` are the bytes said in the run up to the end of each."""
        start = 0
        while start < len(entries):
            stop = start + 1
            event = entries[start].event
            if type(event) is Delta and event.logprobs is None:
                texts = [event.text]
                while stop < len(entries):
                    following = entries[stop].event
                    if type(following) is not Delta or following.part != event.part or following.logprobs is not None:
                        break
                    texts.append(following.text)
                    stop += 1
                self._passage(entries[start].first, event.part).extend(entries[start:stop], texts)
            else:
                self._add(entries[start])
            self.last = self._lasts[-1] = entries[stop - 1].last
            self.size = self._ends[-1] = ends[stop - 1]
            start = stop

    def _passage(self, first: int, part: int) -> Passage:
        """The passage that the next deltas of a part belong to."""
        latest = self._segments[-1] if self._segments else None
        if (
            isinstance(latest, Passage)
            and latest.part == part
            and len(latest.ends) < MOST
            and len(latest.text) < LARGEST
        ):
            return latest
        fresh = Passage(first, part)
        self._add(fresh)
        return fresh

    def _add(self, segment: Passage | Entry) -> None:
        self._segments.append(segment)
        self._lasts.append(0)
        self._ends.append(0)

    def drop(self, taken: int, surplus: int) -> int:
        """Drop whole segments from the front while every reader has them (their end is at most `taken` bytes into the run)
        and less than `surplus` bytes were freed. Returns the bytes freed: what the folder goes on holding is not among them."""
        count = freed = 0
        if self._folder is None:
            self._folder = Folder(self._limit)
        folder = self._folder
        while count < len(self._segments) and self._ends[count] <= taken and freed < surplus:
            segment = self._segments[count]
            said = self._ends[count] - self._dropped
            held = folder.size
            if isinstance(segment, Passage):
                segment.fold_into(folder, segment.last)
            else:
                folder.add(segment)
            if isinstance(segment, Passage) or isinstance(segment.event, Delta | Chunk):
                freed += said - (folder.size - held)
            self._dropped = self._ends[count]
            count += 1
        del self._segments[:count], self._lasts[:count], self._ends[:count]
        return freed

    def size_at(self, offset: int) -> int:
        """Bytes said in the run up to and including `offset`, which is held."""
        index = bisect_right(self._lasts, offset)
        if index == len(self._segments):
            return self.size
        return self._ends[index] - sum(weight(entry.event) for entry in _entries(self._segments[index], offset))

    def read(self, after: int, budget: int) -> list[Entry]:
        """Entries after offset `after`, about `budget` bytes of them and at least one; empty where there are none."""
        out: list[Entry] = []
        index = bisect_right(self._lasts, after)
        while index < len(self._segments) and budget > 0:
            for entry in _entries(self._segments[index], after):
                out.append(entry)
                budget -= weight(entry.event)
                if budget <= 0:
                    break
            index += 1
        return out

    def fold_to(self, folder: Folder, through: int) -> None:
        """Add everything held up to and including offset `through` to a folder that holds what was dropped."""
        for segment in self._segments[: bisect_right(self._lasts, through - 1) + 1]:
            if isinstance(segment, Passage):
                if segment.first <= through:
                    segment.fold_into(folder, through)
            elif segment.first <= through:
                folder.add(segment)


def _entries(segment: Passage | Entry, after: int) -> Iterator[Entry]:
    if isinstance(segment, Passage):
        return segment.entries(after)
    return iter((segment,) if segment.first > after else ())
