"""How fast each model of the configuration answers: the last answers it gave, a bounded number of them, added up when somebody asks.

Nothing is done per token, and only names of the configuration are kept, so clients cannot make it grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from statistics import median

from penstock.core.events import Finished, Terminal, Usage
from penstock.core.measure import Speed
from penstock.core.observer import Observer, Origin
from penstock.core.request import ChatRequest, Principal

REMEMBERED = 50
"""Answers of each model that are remembered; the oldest gives way."""


class _Live:
    """A run of a model that is measured."""

    __slots__ = ("first", "model", "paused", "tokens")

    def __init__(self, model: str):
        self.model = model
        self.first: float | None = None
        self.paused = 0.0
        self.tokens = 0


class _Recent:
    """The last answers of one model."""

    __slots__ = ("firsts", "rates")

    def __init__(self) -> None:
        self.firsts: deque[float] = deque(maxlen=REMEMBERED)
        self.rates: deque[float] = deque(maxlen=REMEMBERED)


class Pace(Observer):
    """Measures live traffic. `models` are the names that are measured."""

    def __init__(self, models: Collection[str] = ()):
        self._live: dict[str, _Live] = {}
        self._recent: dict[str, _Recent] = {}
        self.follow(models)

    @property
    def models(self) -> Collection[str]:
        """What is measured."""
        return self._recent.keys()

    def follow(self, models: Collection[str]) -> None:
        """Measure these models from now on; what is known of others is forgotten."""
        self._recent = {model: self._recent.get(model) or _Recent() for model in models}

    def of(self, model: str) -> Speed | None:
        """What is known of a model; None where it has answered nothing yet."""
        recent = self._recent.get(model)
        if recent is None or not recent.firsts:
            return None
        return Speed(
            answers=len(recent.firsts),
            time_to_first_token=median(recent.firsts),
            tokens_per_second=median(recent.rates) if recent.rates else None,
        )

    def run_started(self, run: str, request: ChatRequest, principal: Principal, origin: Origin) -> None:
        if request.model in self._recent:
            self._live[run] = _Live(request.model)

    def first_word(self, run: str, seconds: float) -> None:
        if (live := self._live.get(run)) is not None:
            live.first = seconds

    def source_paused(self, run: str, seconds: float) -> None:
        if (live := self._live.get(run)) is not None:
            live.paused += seconds

    def tokens_counted(self, run: str, usage: Usage) -> None:
        if usage.grade != "drained" and (live := self._live.get(run)) is not None:
            live.tokens = usage.output

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        live = self._live.pop(run, None)
        if live is None or live.first is None or (recent := self._recent.get(live.model)) is None:
            return
        recent.firsts.append(live.first)
        speaking = seconds - live.first - live.paused
        if isinstance(terminal, Finished) and live.tokens > 1 and speaking > 0:
            recent.rates.append((live.tokens - 1) / speaking)
