"""Starts a second target when the first word is later than usual, keeps whichever speaks first, and cancels the other at once.

Usual is what the target itself has shown: nine of ten answers and a half more began sooner. A budget keeps hedges from
becoming load: they cost tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from penstock.core.budget import Budget
from penstock.core.errors import Broken
from penstock.core.events import Event, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House
from penstock.stages.attempt import Attempt

CLOSING = 0.1
"""Seconds that losers have to close once the winner has ended."""
_LEFT_BEHIND: set[asyncio.Future[None]] = set()
"""Losers that had not closed by then: tasks that nobody holds vanish."""


class Hedging(msgspec.Struct, frozen=True, kw_only=True):
    """When, and how often."""

    share: float = 0.95
    """Of the target's last answers that began in so short a time; later than that is late."""
    least: float = 0.05
    """Seconds: no target is given less time."""
    budget: float = 0.1
    """Hedges for each request, on the average."""
    reserve: float = 5.0
    """Hedges that are allowed at once."""


def build(house: House, how: Hedging = Hedging()) -> Stage:  # noqa: B008 - frozen
    """The stage for one model."""
    budget = Budget(how.reserve)
    every = tuple(house.targets)

    def stage(source: Source) -> Source:
        def hedging(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            budget.earn(how.budget)
            names = request.targets or every
            usual = house.health[names[0]].slow_first(how.share)
            if len(names) < 2 or usual is None:
                return source(request, run)
            return Relay(_race(source, request, run, names, after=max(usual, how.least)))

        return hedging

    async def _race(
        source: Source, request: ChatRequest, run: Run, names: tuple[str, ...], *, after: float
    ) -> AsyncGenerator[Event | Rest, None]:
        racers: dict[asyncio.Task[list[Event]], Attempt] = {}

        def start(targets: tuple[str, ...]) -> None:
            asked = msgspec.structs.replace(request, targets=targets)
            attempt = Attempt(house, source, asked, run)
            racers[asyncio.ensure_future(attempt.opening())] = attempt

        start(names)
        leaving: asyncio.Future[None] | None = None
        winner: asyncio.Task[list[Event]] | None = None
        try:
            done, _ = await asyncio.wait(racers, timeout=after)
            late = run.target if run.target in names else names[0]
            behind = names[names.index(late) + 1 :]
            if not done and behind and budget.spend():
                # Before it is told, which may take readers long: whoever fails meanwhile leaves them to it.
                house.hedged[run.id] = behind[0]
                start(behind)
                yield Note("hedge", {"late": late, "also": behind[0], "after": round(after, 3)})
            failures: dict[str, Broken] = {}
            while True:
                for task in done:
                    problem = task.exception()
                    if problem is None:
                        winner = winner or task
                    elif not isinstance(problem, Broken):
                        raise problem
                    else:
                        failures[racers[task].target] = problem
                        await racers.pop(task).events.aclose()
                if winner is not None:
                    break
                if not racers:
                    raise _both(failures[names[0]], failures.get(behind[0]) if behind else None)
                done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            attempt = racers.pop(winner)
            for loser in racers.values():
                loser.unheard()
            if attempt.target != names[0] and names[0] not in failures:
                house.health[late].beaten(house.clock())
            # The words do not wait for a loser that hangs in its clean-up; the end of the run does, as for any source.
            leaving = asyncio.ensure_future(_leave(racers)) if racers else None
            async with aclosing(attempt.events) as events:
                held = winner.result()
                speaker = _speaker(held, attempt.target)
                run.speaks(speaker, f"{late} was late" if attempt.target != names[0] else "")
                for event in held:
                    yield event
                yield Rest(events)
        finally:
            house.hedged.pop(run.id, None)
            if racers:
                await (_leave(racers) if leaving is None else _left(leaving))

    return stage


def _both(first: Broken, second: Broken | None) -> Broken:
    """How both failed, the first and those it was hedged with: to be asked again if one of them is."""
    if second is None:
        return first
    told, other = first.fault, second.fault
    if other.retryable and not told.retryable:
        told, other = other, told
    return Broken.of(msgspec.structs.replace(told, message=f"{told.message}; {other.message}"))


def _speaker(held: list[Event], first: str) -> str:
    """Who it is that spoke: the target that was asked first, or the one it was followed by."""
    for event in reversed(held):
        if isinstance(event, Note) and event.topic == "fallback" and isinstance(event.body, dict):
            return str(event.body["to"])
    return first


async def _left(leaving: asyncio.Future[None]) -> None:
    """Wait for the losers, not for long: the winner may have died, and whoever goes on is not to wait for them."""
    try:
        await asyncio.wait([leaving], timeout=CLOSING)
    finally:
        if not leaving.done():
            leaving.cancel()  # and everybody it waits for: that ends most clean-ups that hang
            _LEFT_BEHIND.add(leaving)
            leaving.add_done_callback(_LEFT_BEHIND.discard)


async def _leave(racers: dict[asyncio.Task[list[Event]], Attempt]) -> None:
    """Cancel whoever did not speak first, and wait until it has closed. How it failed to close is nobody's business here."""
    for task in racers:
        task.cancel()
    # A second cancel, while this waits, reaches them all: it ends most clean-ups that hang.
    await asyncio.gather(*racers, return_exceptions=True)
    await asyncio.gather(*(attempt.events.aclose() for attempt in racers.values()), return_exceptions=True)
