"""What a client makes of a run, whatever the dialect: the messages added up, so that two ways of telling it can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, assert_never

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.testing.wire import Received


class Part(msgspec.Struct):
    """One part of a reading; `key` tells what it is and of which choice."""

    key: tuple[Any, ...]
    text: str = ""
    data: bytes = b""
    logprobs: list[Any] = []
    closed: Any = None


class Reading(msgspec.Struct):
    """Everything a client has, in a form in which equal answers are equal."""

    parts: dict[Any, Part] = {}
    others: list[Any] = []
    """Whatever is not part of a part: notes, tool results, usage."""
    ending: Any = None
    """The last message; None while there is more to come."""

    def text(self, choice: int = 0, kind: str = "text") -> str:
        """The words of one choice."""
        said = (p.text for p in self.parts.values() if p.key[:2] == (choice, kind))
        return "\n\n".join(text for text in said if text)

    def words(self) -> str:
        """Every character of every part, in no order that matters."""
        return "".join(part.text for part in self.parts.values())

    def part(self, name: Any, *key: Any) -> Part:
        return self.parts.setdefault(name, Part(key))


class Illegal(AssertionError):
    """Messages came in an order, or with members, that the dialect does not allow."""


Read = Callable[[Iterable[Received]], Reading]
"""Reads a whole telling. Raises `Illegal` for one that is none of its dialect."""


def read_events(entries: Iterable[Entry]) -> Reading:
    """What there was to read, from the entries themselves: one part each, none left out."""
    reading = Reading()
    for entry in entries:
        match entry.event:
            case Opened() as opened:
                reading.part(opened.part, opened.choice, opened.kind)
            case Delta(part=part, text=text):
                reading.parts[part].text += text
            case Chunk(part=part, data=data):
                reading.parts[part].data += data
            case Started() | Closed():
                pass
            case Note() | ToolReturned() | Usage() as other:
                reading.others.append(other)
            case Finished() | Failed() | Cancelled() as terminal:
                reading.ending = terminal
            case _ as never:
                assert_never(never)
    return reading
