"""What has been said so far: one value that serves `stream=false`, the status page, resume in stateful dialects and trimming.

`fold` reads a list of entries; `Folder` does the same one entry at a time. Both give the same snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import AnyStr, assert_never

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Finished,
    Json,
    Kind,
    Note,
    Opened,
    Started,
    Terminal,
    ToolReturned,
    Usage,
)
from penstock.core.finish_reason import FinishReason

PIECE = 16 * 1024
"""Characters, or bytes, of what was said before that are told again at once."""


def pieces(said: AnyStr) -> list[AnyStr]:
    """A text, or bytes, in pieces of at most `PIECE`."""
    return [said[at : at + PIECE] for at in range(0, len(said), PIECE)]


class PartSoFar(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part up to some offset. `deltas` counts its unmerged deltas; `elided` the leading characters or bytes no longer held."""

    part: int
    kind: Kind
    choice: int = 0
    author: str | None = None
    name: str | None = None
    call_id: str | None = None
    media_type: str | None = None
    text: str = ""
    data: bytes = b""
    logprobs: tuple[msgspec.Raw, ...] = ()
    deltas: int = 0
    elided: int = 0
    closed: bool = False
    meta: dict[str, Json] | None = None
    begun: dict[str, Json] | None = None
    """The `meta` it was opened with; `meta` is what it was closed with."""
    beside: tuple[tuple[int, int], ...] = ()
    """The parts of its choice that were open when it was opened, with the characters or bytes each had said by then: what a
    dialect in which one part ends where the next begins has to know."""

    def opening(self) -> Opened:
        """The event that opened this part."""
        return Opened(
            self.part, self.kind, self.choice, self.author, self.name, self.call_id, self.media_type, self.begun
        )

    def retold(self) -> list[Delta]:
        """Its text again, for a reader that has nothing of it."""
        return [Delta(self.part, text) for text in pieces(self.text)]


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything said up to and including offset `through`, in the order in which parts were opened."""

    through: int = 0
    at: int = 0
    """Milliseconds since the run began, of the last entry."""
    started: Started | None = None
    parts: tuple[PartSoFar, ...] = ()
    tools: tuple[ToolReturned, ...] = ()
    notes: tuple[Note, ...] = ()
    usage: Usage | None = None
    end: Terminal | None = None

    @property
    def elided(self) -> bool:
        """Whether something said is no longer held, so that this is not the whole answer."""
        return any(part.elided for part in self.parts)

    def text(self, choice: int = 0, kind: Kind = "text") -> str:
        """The text of one choice, its parts joined by a blank line; parts that say nothing do not count."""
        return "\n\n".join(p.text for p in self.parts if p.choice == choice and p.kind == kind and p.text)

    def finish_reason(self, choice: int = 0) -> str:
        """Why a choice ended: as its parts have it, else as the run has, else `stop`."""
        reason = FinishReason()
        for part in self.parts:
            if part.choice == choice:
                reason.closed(part.part, part.meta)
        return reason.word(self.end.reason if isinstance(self.end, Finished) else "stop")


class _Growing:
    """A part while it grows: pieces are joined only when somebody asks."""

    __slots__ = ("beside", "closed", "data", "deltas", "elided", "logprobs", "meta", "opened", "said", "size", "texts")

    def __init__(self, opened: Opened, beside: tuple[tuple[int, int], ...]):
        self.opened = opened
        self.beside = beside
        self.texts: list[str] = []
        self.data = bytearray()
        self.logprobs: list[msgspec.Raw] = []
        self.deltas = self.elided = self.said = self.size = 0
        self.closed = False
        self.meta: dict[str, Json] | None = None

    def elide(self, count: int) -> int:
        """Forget the log probabilities and leading characters or bytes, up to `count` of them all; say how many were forgotten."""
        beside = sum(len(memoryview(raw)) for raw in self.logprobs)
        self.logprobs.clear()
        # At least one character goes with the log probabilities: `elided` is what says that something is missing.
        count = max(count - beside, 1)
        if self.opened.kind == "binary":
            gone = min(count, len(self.data))
            del self.data[:gone]
        else:
            text = "".join(self.texts)
            gone = min(count, len(text))
            self.texts = [text[gone:]]
        self.elided += gone
        self.size -= gone + beside
        return gone + beside

    def frozen(self) -> PartSoFar:
        o = self.opened
        self.texts = ["".join(self.texts)]
        return PartSoFar(
            o.part, o.kind, o.choice, o.author, o.name, o.call_id, o.media_type,
            self.texts[0], bytes(self.data), tuple(self.logprobs), self.deltas, self.elided, self.closed, self.meta,
            o.meta, self.beside,
        )  # fmt: skip


class Folder:
    """Gathers entries into a snapshot. Never keeps more than `limit` of the characters, bytes and log probabilities of parts,
    forgetting the oldest."""

    def __init__(self, limit: int | None = None):
        self._limit = limit
        self._parts: dict[int, _Growing] = {}
        self._open: dict[int, _Growing] = {}
        self._tools: list[ToolReturned] = []
        self._notes: list[Note] = []
        self._started: Started | None = None
        self._usage: Usage | None = None
        self._end: Terminal | None = None
        self.through = 0
        self.at = 0
        self.size = 0
        """Characters, bytes of data and bytes of log probabilities of parts held."""

    def add(self, entry: Entry) -> None:
        """Take the next entry; entries come in order and without holes."""
        event = entry.event
        match event:
            case Delta():
                self.add_text(event.part, event.text, entry.last, entry.at, count=entry.last - entry.first + 1)
                if event.logprobs is not None:
                    growing = self._parts[event.part]
                    growing.logprobs.append(event.logprobs)
                    self._grown(growing, len(memoryview(event.logprobs)))
                return
            case Chunk():
                growing = self._parts[event.part]
                growing.data += event.data
                growing.deltas += 1
                growing.said += len(event.data)
                self._grown(growing, len(event.data))
            case Opened():
                growing = _Growing(event, self._beside(event))
                self._parts[event.part] = self._open[event.part] = growing
            case Closed():
                growing = self._open.pop(event.part)
                growing.closed = True
                growing.meta = event.meta
            case Started():
                self._started = event
            case ToolReturned():
                self._tools.append(event)
            case Note():
                self._notes.append(event)
            case Usage():
                self._usage = event
            case Finished() | Failed() | Cancelled():
                self._end = event
            case _:
                assert_never(event)
        self.through = entry.last
        self.at = entry.at

    def add_text(self, part: int, text: str, last: int, at: int, *, count: int) -> None:
        """Take `count` adjacent deltas of one part at once; the last has offset `last`."""
        growing = self._parts[part]
        growing.texts.append(text)
        growing.deltas += count
        growing.said += len(text)
        self._grown(growing, len(text))
        self.through = last
        self.at = at

    def _beside(self, opened: Opened) -> tuple[tuple[int, int], ...]:
        return tuple(
            (part, growing.said) for part, growing in self._open.items() if growing.opened.choice == opened.choice
        )

    def _grown(self, growing: _Growing, by: int) -> None:
        growing.size += by
        self.size += by
        if self._limit is not None and self.size > self._limit:
            # Half of the limit is forgotten at once: forgetting exactly enough would copy the text at every token.
            surplus = self.size - self._limit // 2
            for part in self._parts.values():
                gone = part.elide(surplus) if part.size else 0
                self.size -= gone
                surplus -= gone
                if surplus <= 0:
                    break

    def copy(self) -> Folder:
        """The same again, to go on from on its own, without a limit."""
        copy = deepcopy(self)
        copy._limit = None
        return copy

    def snapshot(self) -> Snapshot:
        """What was said up to `through`."""
        return Snapshot(
            self.through, self.at, self._started, tuple(part.frozen() for part in self._parts.values()),
            tuple(self._tools), tuple(self._notes), self._usage, self._end,
        )  # fmt: skip


def fold(entries: Iterable[Entry]) -> Snapshot:
    """The snapshot after a whole list of entries."""
    folder = Folder()
    for entry in entries:
        folder.add(entry)
    return folder.snapshot()
