"""The law of sources, for the tests of whoever writes one: legal events, one last word, and nothing left open.

Needs nothing but the standard library. `SoloRun` is a run with nobody around it, for calling a source by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from penstock.core.errors import Broken
from penstock.core.events import TERMINAL, Event, Fault, Json, Spent, Usage
from penstock.core.lifecycle import IllegalEvent, Parts, Phase, step
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.snapshot import Folder, Snapshot
from penstock.core.source import Source

CLOSING = 5.0
"""Seconds a source has to close."""
MOMENTS = 12
"""After how many different events a long answer is closed and cancelled."""


_watched = ContextVar("_watched", default=False)


class LawBroken(AssertionError):
    """The source did what a source must not; the message says when and what."""


class SoloInbox:
    """Input that was put there beforehand, or is put while the source runs."""

    def __init__(self, *inputs: Json):
        self.opened = False
        self._waiting: list[Json] = list(inputs)
        self._arrived = asyncio.Event()

    def open(self) -> None:
        self.opened = True

    def waiting(self) -> Json:
        return self._waiting.pop(0) if self._waiting else None

    def put(self, said: Json) -> None:
        """Hand an input to the source."""
        self._waiting.append(said)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Json]:
        self.open()
        while True:
            while self._waiting:
                yield self._waiting.pop(0)
            self._arrived.clear()
            await self._arrived.wait()


class SoloRun:
    """A run outside any server."""

    def __init__(self, *inputs: Json, run: str = "st_solo", created: int = 1_700_000_000):
        self.id = run
        self.created = created
        self.principal = Principal()
        self.inbox = SoloInbox(*inputs)
        self.targets: list[str] = []
        self.misses: list[tuple[str, str]] = []
        """The targets that failed, each with its code."""
        self.account: Callable[[Usage | None], Usage] | None = None
        self.used: list[Spent] = []
        self.problems: list[Exception] = []
        self.overdue: list[Callable[[Fault], bool]] = []
        self.connect = 5.0
        self.held = 0.0
        """Seconds that readers kept the source waiting; a test's to say."""
        self.folder = Folder()
        """What the source has said; whoever reads it adds to it."""

    @property
    def target(self) -> str:
        return self.targets[-1] if self.targets else ""

    @property
    def spoke(self) -> bool:
        return bool(self.folder.snapshot().parts)

    def said(self) -> Snapshot:
        return self.folder.snapshot()

    def meter(self, account: Callable[[Usage | None], Usage]) -> None:
        """Nobody adds up what a run outside any server costs but a test: it calls `account`."""
        self.account = account

    def spent(self, target: str, usage: Usage) -> None:
        """Remembered: what was used by whom, in their order."""
        self.used.append(Spent(target, usage))

    @property
    def over(self) -> bool:
        return False

    def settle(self, usage: Usage) -> None:
        """Never called: such a run is never over."""

    def speaks(self, target: str, why: str = "") -> None:
        """Remembered: the targets that were asked, in their order. Why is said before they are."""
        if not why:
            self.targets.append(target)

    def impatient(self, fault: Fault) -> bool:
        return False

    def raised(self, problem: Exception) -> None:
        """Remembered in `problems`."""
        self.problems.append(problem)

    def missed(self, target: str, code: str) -> None:
        """Remembered."""
        self.misses.append((target, code))

    def attempt(self, overdue: Callable[[Fault], bool]) -> Callable[[], None]:
        """Nothing but a test limits the time of a run outside any server: it calls what stands in `overdue`."""
        self.overdue.append(overdue)
        return lambda: self.overdue.remove(overdue)


async def check_source(
    source: Source,
    request: ChatRequest,
    *,
    run: Callable[[], Run] = SoloRun,
    at_rest: Callable[[], Awaitable[None]] | None = None,
) -> tuple[list[Event], Broken | None]:
    """Run a source to its end, then close it and cancel it after several of its events. Raises `LawBroken`.

    `run` makes a fresh run for each time the source is called. `at_rest` is awaited after each: it returns once the source
    holds nothing any more (connections, slots) and raises where that does not happen. Returns the events of the whole
    answer and the `Broken` it ended with, if it did.
    """
    events, broken = await _whole(source, request, run)
    await _rested(at_rest)
    count = len(events)
    for moment in sorted({count * step_ // MOMENTS for step_ in range(MOMENTS)} | {0}):
        for leave in (_close, _cancel):
            await _leave_after(moment, leave, source(request, run()))
            await _rested(at_rest)
    return events, broken


async def _whole(source: Source, request: ChatRequest, run: Callable[[], Run]) -> tuple[list[Event], Broken | None]:
    events: list[Event] = []
    phase, parts = Phase.IDLE, Parts()
    stream = source(request, run())
    try:
        async for event in stream:
            if phase is Phase.ENDED:
                raise LawBroken(f"{event!r} came after the last word {events[-1]!r}")
            try:
                phase = step(phase, event)
                parts.admit(event)
            except IllegalEvent as problem:
                raise LawBroken(f"event {len(events)}: {problem}") from None
            events.append(event)
    except Broken as problem:
        if phase is Phase.ENDED:
            raise LawBroken(f"it broke after the last word {events[-1]!r}: {problem}") from problem
        return events, problem
    finally:
        await stream.aclose()
    if not events or not isinstance(events[-1], TERMINAL):
        raise LawBroken(f"it ended without a last word, after {events[-1]!r}" if events else "it said nothing at all")
    if parts.open:
        raise LawBroken(f"it ended with open parts: {sorted(parts.open)}")
    return events, None


async def _leave_after(
    moment: int, leave: Callable[[AsyncGenerator[Event, None]], Awaitable[None]], stream: AsyncGenerator[Event, None]
) -> None:
    with _watching() as tasks:
        try:
            for _ in range(moment):
                await anext(stream)
        except (Broken, StopAsyncIteration):
            return  # an answer need not be as long every time
        try:
            async with asyncio.timeout(CLOSING):
                await leave(stream)
        except TimeoutError:
            raise LawBroken(f"after {moment} events it did not close within {CLOSING:g} s") from None
        await asyncio.sleep(0)  # a task that was cancelled needs a turn to end
        if left := [task.get_name() for task in tasks if not task.done()]:
            raise LawBroken(f"after {moment} events it left tasks behind: {', '.join(left)}")


@contextmanager
def _watching() -> Iterator[set[asyncio.Task[Any]]]:
    """The tasks that are made on behalf of the code inside; a server in the same loop that makes its own is not meant."""
    loop = asyncio.get_running_loop()
    usual = loop.get_task_factory()
    made: set[asyncio.Task[Any]] = set()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> Any:
        task = usual(loop, coroutine, **more) if usual else asyncio.Task(coroutine, loop=loop, **more)
        if _watched.get() and isinstance(task, asyncio.Task):
            made.add(task)
        return task

    loop.set_task_factory(factory)
    before = _watched.set(True)
    try:
        yield made
    finally:
        _watched.reset(before)
        loop.set_task_factory(usual)


async def _close(stream: AsyncGenerator[Event, None]) -> None:
    """Stop between two events."""
    await stream.aclose()


async def _cancel(stream: AsyncGenerator[Event, None]) -> None:
    """Stop while it waits for its next event."""
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await stream.aclose()
    problem = None if waiting.cancelled() else waiting.exception()
    if problem is not None and not isinstance(problem, Broken | StopAsyncIteration):
        raise LawBroken(f"cancelled, it raised {problem!r}") from problem


async def _rested(at_rest: Callable[[], Awaitable[None]] | None) -> None:
    if at_rest is not None:
        await at_rest()
