"""Numbers for whoever watches: a histogram that costs little to add to, what was delivered, and how things stand at one moment.

Plain numbers without locks: one loop adds to them, and asks for them. Times are seconds, sizes are bytes as `weight` counts them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import msgspec

MOMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper edges of the buckets of short times."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a model has answered lately: medians of its last `answers`, by this server's clock."""

    answers: int
    time_to_first_token: float
    tokens_per_second: float | None = None
    """Of answers that were finished and accounted for, from the first token on, without the time that readers held them back."""


class Histogram:
    """How many values were at most each of `edges`, and what all came to. `counts` has one place more, for what lies beyond."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float] = MOMENTS):
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value


class Delivered:
    """What the readers over one transport were given so far. `clock` is the one all limits are measured by."""

    __slots__ = ("clock", "events", "firsts", "gaps", "merged", "replayed", "transport")

    def __init__(self, transport: str, clock: Callable[[], float]):
        self.transport = transport
        self.clock = clock
        self.firsts = Histogram()
        """From joining to the first events."""
        self.gaps = Histogram()
        """From one batch of events to the next."""
        self.merged = 0
        """Deltas that were joined to the one before them."""
        self.replayed = 0
        """Bytes that had been said before their reader joined, of readers that have left."""
        self.events = 0
        """Events taken by readers that have left."""


class Attendance(msgspec.Struct):
    """The readers that are attached over one transport."""

    readers: int = 0
    taken: int = 0
    """Events they have taken."""
    owed_events: int = 0
    owed_bytes: int = 0
    most_owed: int = 0
    """Bytes owed to the one that is furthest behind."""


class Levels(msgspec.Struct, kw_only=True):
    """How things stand, at the moment of asking."""

    live: Mapping[str, int]
    """Runs that have not ended, by the transport they were begun over."""
    held: int
    """Runs that can be read, ended ones included."""
    kept: int
    """Bytes those keep."""
    events: int
    """Events said by all runs so far, those that are gone included."""
    said: int
    """Bytes of them."""
    attending: Mapping[str, Attendance]
    """By transport."""
    delivered: Mapping[str, Delivered]
    """By transport."""
    leaving: bool = False
    """The server was told to go."""
    shedding: bool = False
    """New runs are refused because memory is short."""
    memory: tuple[int, int] | None = None
    """Bytes used, and how many may be, where there is a limit."""
    connections: int | None = None
    """Open connections, where the server knows them."""
    tasks: int = 0
