"""A pump on a stand: what the tests of the pump start from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.core.events import TERMINAL, Closed, Event, Opened, Terminal
from penstock.core.lifecycle import Phase
from penstock.core.source import Source
from penstock.flow.log import Log
from penstock.flow.policy import Bounds
from penstock.flow.pump import Pump
from penstock.testing.sources import SoloRun
from tests.flow.scripted import ASKED, Clock, Seen, held

CUT = Closed(0, {"cut": True})
"""What is said of a part that was open when the run broke."""


class Stand:
    """A pump between a source and a log, with a clock and an observer."""

    def __init__(self, source: Source, *, bounds: Bounds | None = None):
        self.clock = Clock()
        self.seen = Seen()
        self.log = Log(epoch="a1", bounds=bounds)
        self.ends = 0
        self.pump = Pump(self.log, SoloRun(), clock=self.clock, observer=self.seen, on_end=self._ended)
        self.pump.start(source, ASKED)

    def _ended(self) -> None:
        self.ends += 1

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in held(self.log)]

    def ended_well(self) -> Terminal:
        """Check what must hold of every run that has ended; its last word."""
        *before, last = self.events
        assert isinstance(last, TERMINAL)
        assert not any(isinstance(event, TERMINAL) for event in before)
        opened = [event.part for event in before if isinstance(event, Opened)]
        assert sorted(event.part for event in before if isinstance(event, Closed)) == sorted(opened)
        assert self.log.sealed
        assert self.pump.phase is Phase.ENDED
        assert self.seen.ended == [last] == [self.pump.terminal]
        assert self.ends == 1
        return last


@contextmanager
def unheard_exceptions() -> Iterator[list[str]]:
    """What the loop was told of tasks whose exception nobody took."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(str(context["message"])))
    yield told
    loop.set_exception_handler(None)
