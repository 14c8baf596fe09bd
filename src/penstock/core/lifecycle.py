"""The states of a run and the one table of what may follow what.

    idle → waiting → speaking → ended

*Waiting* is exactly the time in which a retry or a fallback is invisible to readers. After the first `Opened`
a failure can only be continued, and noted, or confessed.
"""

from __future__ import annotations

from enum import Enum

from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)


class Phase(Enum):
    """Where a run stands; the value is what the status endpoint shows."""

    IDLE = "idle"
    WAITING = "waiting"
    SPEAKING = "speaking"
    ENDED = "ended"

    __hash__ = object.__hash__  # an enumeration's own is written in Python, and the table is asked for every event


class IllegalEvent(Exception):
    """A source said something that cannot be said now."""


TRANSITIONS: dict[Phase, dict[type, Phase]] = {
    Phase.IDLE: {
        Started: Phase.WAITING,
        Note: Phase.IDLE,
        Failed: Phase.ENDED,
        Cancelled: Phase.ENDED,
    },
    Phase.WAITING: {
        Opened: Phase.SPEAKING,
        ToolReturned: Phase.WAITING,
        Note: Phase.WAITING,
        Usage: Phase.WAITING,
        Finished: Phase.ENDED,
        Failed: Phase.ENDED,
        Cancelled: Phase.ENDED,
    },
    Phase.SPEAKING: {
        Opened: Phase.SPEAKING,
        Delta: Phase.SPEAKING,
        Chunk: Phase.SPEAKING,
        Closed: Phase.SPEAKING,
        ToolReturned: Phase.SPEAKING,
        Note: Phase.SPEAKING,
        Usage: Phase.SPEAKING,
        Finished: Phase.ENDED,
        Failed: Phase.ENDED,
        Cancelled: Phase.ENDED,
    },
    Phase.ENDED: {},
}


def step(phase: Phase, event: Event) -> Phase:
    """The state after `event`. Raises `IllegalEvent` where the table has no row. Call before the event is appended."""
    try:
        return TRANSITIONS[phase][type(event)]
    except KeyError:
        raise IllegalEvent(f"{type(event).__name__} is not allowed while the run is {phase.value}") from None


class Parts:
    """Which parts are open. A part is opened once, added to while open, and closed once."""

    __slots__ = ("open", "seen")

    def __init__(self) -> None:
        self.open: dict[int, str] = {}
        self.seen: set[int] = set()

    def admit(self, event: Event) -> None:
        """Check one event against the open parts and remember it. Raises `IllegalEvent`."""
        if isinstance(event, Delta | Chunk):
            kind = self.open.get(event.part)
            if kind is None or (kind == "binary") != isinstance(event, Chunk):
                raise IllegalEvent(f"{type(event).__name__} for part {event.part}, which is {kind or 'not open'}")
        elif isinstance(event, Opened):
            if event.part in self.seen:
                raise IllegalEvent(f"part {event.part} was opened twice")
            self.seen.add(event.part)
            self.open[event.part] = event.kind
        elif isinstance(event, Closed) and self.open.pop(event.part, None) is None:
            raise IllegalEvent(f"part {event.part} was closed without being open")
