"""Whether anything new may begin, whatever it is: not while the server goes, is behind with its work, or has no memory left.

What runs goes on in all of these.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.errors import Refused
from penstock.flow.memory import SHED_SECONDS


class Admission:
    """The answer to whoever wants to begin something. `max_lag` is how late the event loop may be, in seconds."""

    def __init__(self, *, max_lag: float):
        self.max_lag = max_lag
        self.shedding = False
        """Nothing new begins, because memory is short."""
        self.lagging = False
        """Nothing new begins, because the event loop is behind with its work."""
        self.leaving = False
        """The server was told to go: whoever has the choice should ask another one."""
        self.draining = False
        """Nothing new begins any more."""
        self.farewells: set[Callable[[], None]] = set()
        """Called when nothing new begins any more: what outlives a run, as a WebSocket does, takes its leave."""
        self._was_late = False

    def check(self) -> None:
        """Raise `Refused` where nothing can begin now: to be asked before a request is read."""
        if self.draining:
            raise Refused("interrupted", "the server is shutting down; try again", retry_after=1)
        if self.lagging:
            raise Refused(
                "overloaded", "the server is behind with its work; what runs goes on, try again shortly", retry_after=2
            )
        if self.shedding:
            raise Refused(
                "overloaded",
                "the server's memory is nearly used up; what runs goes on, try again shortly",
                retry_after=SHED_SECONDS,
            )

    def late(self, seconds: float) -> None:
        """The ticker came so late. Twice in a row is no accident: then what has begun comes first."""
        behind = seconds > self.max_lag
        self.lagging = behind and self._was_late
        self._was_late = behind

    def close(self) -> None:
        """Nothing begins from now on."""
        self.leaving = self.draining = True
        farewells, self.farewells = self.farewells, set()
        for farewell in farewells:
            farewell()
