"""Asks the same target again when it failed before its first word: with full jitter, a budget, and the provider's own wish.

After the first word nothing is asked again: that would be another answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import msgspec

from penstock.core.budget import Budget
from penstock.core.errors import TABLE, Broken
from penstock.core.events import Event, Fault, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House
from penstock.stages.attempt import Attempt

Sleep = Callable[[float], Awaitable[None]]


class Retrying(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how patiently."""

    attempts: int = 3
    """In all, the first included."""
    base: float = 0.25
    """Seconds; the n-th pause is a random time of up to `base` × 2ⁿ."""
    longest: float = 4.0
    """No pause is drawn longer than so many seconds."""
    patience: float = 30.0
    """A provider that wants to be left alone for longer is not asked again; another target may be."""
    budget: float = 0.2
    """Retries for each request, on the average: while a provider is down, retries must not double its load. What is saved up
    is the target's (`Health.retries`), whichever models name it."""


def build(house: House, how: Retrying = Retrying(), *, sleep: Sleep = asyncio.sleep) -> Stage:  # noqa: B008 - frozen
    """The stage for one model."""
    first = next(iter(house.targets), "")

    def stage(source: Source) -> Source:
        def retrying(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            name = request.targets[0] if request.targets else first
            return Relay(_ask(source, request, run, budget=house.health[name].retries, name=name))

        return retrying

    async def _ask(
        source: Source, request: ChatRequest, run: Run, *, budget: Budget, name: str
    ) -> AsyncGenerator[Event | Rest, None]:
        budget.earn(how.budget)
        for count in range(1, how.attempts + 1):
            attempt = Attempt(house, source, request, run)
            async with aclosing(attempt.events) as events:
                try:
                    held = await attempt.opening()
                except Broken as problem:
                    failure = problem
                else:
                    for event in held:
                        yield event
                    yield Rest(events)
                    return
            pause = pause_before(count, failure.fault, how, draw=house.random.random())
            if count == how.attempts or pause is None or not budget.spend():
                raise failure
            yield Note(
                "retry", {"target": name, "attempt": count + 1, "after": failure.fault.code, "wait": round(pause, 3)}
            )
            await sleep(pause)

    return stage


def pause_before(count: int, fault: Fault, how: Retrying, *, draw: float) -> float | None:
    """Seconds to wait after the `count`-th failure; None where it is not worth asking again. `draw` is random, from 0 to 1."""
    row = TABLE.get(fault.code)
    patient = (
        fault.code.endswith("_timeout") or fault.code == "target_busy"
    )  # it was waited for, or others wait already
    if not fault.retryable or row is None or row.blame != "provider" or patient:
        return None
    if fault.retry_after is not None:
        return fault.retry_after if fault.retry_after <= how.patience else None
    return draw * min(how.longest, how.base * 2.0**count)
