"""A time limit of the run that breaks off what a stage waits for, instead of ending the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from penstock.core.errors import Broken
from penstock.core.events import Fault
from penstock.core.request import Run


class TimeLimit:
    """What stands in its `with` is an attempt of the run: a limit that is overdue, and that this stage `takes`, cancels it, and it
    ends in `Broken` with the fault of the limit. A cancel by anybody else goes through."""

    __slots__ = ("_before", "_fault", "_run", "_settled", "_takes", "_task")

    def __init__(self, run: Run, *, takes: Callable[[Fault], bool] = lambda fault: True):
        self._run = run
        self._takes = takes
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        """Cancels of the task that were not over when this began."""
        self._fault: Fault | None = None

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        self._before = task.cancelling() if task is not None else 0
        self._settled: Callable[[], None] = self._run.attempt(self._expire)

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._settled()
        del self._settled  # it holds this one: a circle that only the collector would break, with the request in it
        if self._fault is None or task is None:
            return
        # Taken back whatever became of it within: the next limit is not to take it for a cancel by somebody else.
        if task.uncancel() <= self._before and isinstance(problem, asyncio.CancelledError):
            raise Broken.of(self._fault) from None

    def _expire(self, fault: Fault) -> bool:
        if self._task is None or self._fault is not None or not self._takes(fault):
            return False
        self._fault = fault
        self._task.cancel()
        return True
