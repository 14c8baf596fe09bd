"""How one target is doing, from live traffic: time to its first token, its pace, and whether it is given a rest.

Pure: whoever asks says what time it is, in seconds of one monotonic clock. Nothing here is called per token.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import msgspec

from penstock.core.budget import Budget
from penstock.core.errors import TABLE
from penstock.core.events import Fault

RETRIES = 10.0
"""Retries of one target that are allowed at once."""
WINDOW = 64
"""Answers whose first token is remembered."""
SMOOTHING = 0.2
"""The weight of the newest answer in a running mean."""
STALE = 30.0
"""Seconds after which what was measured may no longer be so: whoever was slow is tried once more."""


class Breaking(msgspec.Struct, frozen=True, kw_only=True):
    """When a target is given a rest, and for how long."""

    failures: int = 5
    """In a row."""
    share: float = 0.5
    """Of its last `of` answers that failed, be there answers between."""
    of: int = 20
    rest: float = 5.0
    """Seconds; twice as long after every probe that fails, up to `longest`."""
    longest: float = 60.0


class Circuit(Enum):
    """Whether a target is asked; the value is what metrics show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Health:
    """One target. Every attempt is told here once when it begins (`asked`) and once when it is over."""

    __slots__ = (
        "_anew",
        "_asked_at",
        "_first",
        "_open_until",
        "_past",
        "_probing",
        "_rest",
        "_row",
        "breaking",
        "failures",
        "in_flight",
        "outcomes",
        "pace",
        "retries",
        "throttled_until",
        "wait",
    )

    def __init__(self, breaking: Breaking = Breaking()):  # noqa: B008 - frozen
        self.breaking = breaking
        self.in_flight = 0
        self.failures = 0
        self.outcomes = {"answered": 0, "failed": 0, "given_up": 0}
        """How its attempts ended."""
        self.wait: float | None = None
        """Seconds to the first token, a running mean; None before there was one."""
        self.pace: float | None = None
        """Tokens a second, a running mean."""
        self.retries = Budget(RETRIES)
        """What is saved up for asking it again."""
        self.throttled_until = 0.0
        """The provider said when it wants to be asked again."""
        self._first: deque[float] = deque(maxlen=WINDOW)
        self._asked_at: float | None = None
        self._anew = False
        """The answer that is on its way is measured without regard to those before it."""
        self._past: deque[bool] = deque(maxlen=breaking.of)
        self._row = 0
        self._rest = breaking.rest
        self._open_until: float | None = None
        self._probing = False

    def circuit(self, now: float) -> Circuit:
        """Open while it rests; half open when one probe may find out whether it is well again."""
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self._open_until or self._probing else Circuit.HALF_OPEN

    def admits(self, now: float) -> bool:
        """Whether it is worth asking now."""
        return now >= self.throttled_until and (self._open_until is None or self.circuit(now) is not Circuit.OPEN)

    def back(self, now: float) -> float:
        """Seconds until it is asked again."""
        return max(self.throttled_until - now, (self._open_until or now) - now, 0.0)

    def due(self, now: float) -> bool:
        """Whether it was measured once, and nobody has asked it for a while: one request may find out how it does now."""
        if self.wait is None or self.in_flight or self._asked_at is None:
            return False
        return now - self._asked_at >= STALE

    @property
    def usual(self) -> float | None:
        """Seconds to a hundred tokens, with those that are on their way to the same target; None where nobody has measured it."""
        if self.wait is None:
            return None
        return (self.wait + (100 / self.pace if self.pace else 0.0)) * (1 + 0.1 * self.in_flight)

    def expected(self, now: float) -> float:
        """The same, but one that nobody has measured yet, or not for a while, is expected at once, to be measured."""
        if (usual := self.usual) is None:
            return float(self.in_flight)
        return 0.0 if self.due(now) else usual

    def asked(self, now: float) -> bool:
        """An attempt begins. Whether it is the probe of a target that rested; of one, whoever tells how it went says so."""
        self._anew = self._anew or self.due(now)
        self._asked_at = now
        self.in_flight += 1
        probe = self.circuit(now) is Circuit.HALF_OPEN
        self._probing = self._probing or probe
        return probe

    def left(self, *, probe: bool = False) -> None:
        """An attempt was given up by us, which says nothing of the target."""
        self.in_flight -= 1
        self.outcomes["given_up"] += 1
        self._probing = self._probing and not probe

    def first(self, seconds: float, *, probe: bool = False) -> None:
        """The first token came, so long after it was asked. Of a probe that is enough: an answer may take minutes."""
        self._first.append(seconds)
        self.wait = seconds if self._anew else _mean(self.wait, seconds)
        if probe:
            self._close()

    def answered(self, tokens: int, seconds: float, *, probe: bool = False) -> None:
        """An attempt ended well, after so many tokens in so many seconds since the first."""
        self.in_flight -= 1
        self.outcomes["answered"] += 1
        if tokens > 1 and seconds > 0:
            pace = (tokens - 1) / seconds
            self.pace = pace if self._anew else _mean(self.pace, pace)
        self._anew = False
        self._past.append(True)
        self._row = 0
        if probe or self._open_until is None:
            # What began before a rest says nothing of the time after it.
            self._rest = self.breaking.rest
            self._close()

    def _close(self) -> None:
        self._open_until = None
        self._probing = False

    def failed(self, fault: Fault, now: float, *, probe: bool = False) -> None:
        """An attempt failed, or took too long so that we gave it up. What the client is to blame for says nothing of the target."""
        self.in_flight -= 1
        self.outcomes["failed"] += 1
        self._probing = self._probing and not probe
        row = TABLE.get(fault.code)
        if row is None or row.blame != "provider" or row.status in (400, 404) or fault.code == "target_busy":
            return
        if row.status == 429:
            self.throttled_until = max(self.throttled_until, now + (fault.retry_after or 1.0))
            return
        self._failing(now, probe=probe)

    def beaten(self, now: float) -> None:
        """It was late, and another that was asked because of it spoke first. Its attempt is given up besides; now and then that
        happens to anyone, time after time only to one that hangs."""
        self._failing(now, probe=self._open_until is not None and now >= self._open_until)

    def _failing(self, now: float, *, probe: bool) -> None:
        self.failures += 1
        self._past.append(False)
        self._row += 1
        breaking = self.breaking
        full = len(self._past) == breaking.of
        if probe:
            self._rest = min(self._rest * 2, breaking.longest)
            self._open_until = now + self._rest
        elif self._row >= breaking.failures or (full and self._past.count(False) >= breaking.share * breaking.of):
            self._open_until = now + self._rest
            self._past.clear()

    def slow_first(self, share: float = 0.95) -> float | None:
        """The time to the first token that so many of the last answers kept; None while there are fewer than ten."""
        if len(self._first) < 10:
            return None
        return sorted(self._first)[min(len(self._first) - 1, int(share * len(self._first)))]


def _mean(so_far: float | None, newest: float) -> float:
    return newest if so_far is None else so_far + SMOOTHING * (newest - so_far)
