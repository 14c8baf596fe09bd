"""What each principal has in use, live runs and readers, and how many runs of a model live. Counted when one begins and when it
ends, so that asking costs nothing."""

from __future__ import annotations

from typing import TypeVar

from penstock.core.errors import Refused
from penstock.core.request import Principal

T = TypeVar("T")


class Shares:
    """Two counts for each principal that has anything in use. A bound of 0 is none."""

    def __init__(self) -> None:
        self._runs: dict[Principal, int] = {}
        self._readers: dict[Principal, int] = {}
        self._models: dict[str, int] = {}

    def begin(self, principal: Principal, model: str, *, most: int, most_of_model: int = 0) -> None:
        """One more run, live from now until `end`. Raises `Refused`: `too_many_runs`, or `overloaded` where the model has enough."""
        if most and self._runs.get(principal, 0) >= most:
            raise Refused(
                "too_many_runs",
                f"{most} runs of this key are live, as many as may be; wait for one to end",
                retry_after=1,
            )
        if most_of_model and self._models.get(model, 0) >= most_of_model:
            raise Refused(
                "overloaded",
                f"{most_of_model} runs of {model!r} are live, as many as may be; try again shortly",
                retry_after=1,
            )
        _add(self._runs, principal, 1)
        _add(self._models, model, 1)

    def end(self, principal: Principal, model: str) -> None:
        """One run less."""
        _add(self._runs, principal, -1)
        _add(self._models, model, -1)

    def check_reader(self, principal: Principal, *, most: int, more: int = 1) -> None:
        """Raise `Refused(too_many_readers)` where there is no place for so many more readers of this principal's runs."""
        if most and self._readers.get(principal, 0) + more > most:
            raise Refused(
                "too_many_readers",
                f"{most} streams of this key are being read, as many as may be; close one first",
                retry_after=1,
            )

    def join(self, principal: Principal) -> None:
        """One more reader, until `leave`."""
        _add(self._readers, principal, 1)

    def leave(self, principal: Principal) -> None:
        """One reader less."""
        _add(self._readers, principal, -1)

    def principals(self) -> set[Principal]:
        """Who has anything in use."""
        return {*self._runs, *self._readers}


def _add(counts: dict[T, int], who: T, number: int) -> None:
    now = counts.get(who, 0) + number
    if now:
        counts[who] = now
    else:
        del counts[who]
