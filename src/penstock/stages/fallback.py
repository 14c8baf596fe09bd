"""Asks the next target when one failed before its first word: invisible to readers but for a note."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from penstock.core.errors import TABLE, Broken
from penstock.core.events import Event, Fault, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House
from penstock.stages.attempt import Attempt


def build(house: House) -> Stage:
    """The stage for one model; targets are asked in the order the request names them, else in that of the configuration."""
    every = tuple(house.targets)

    def stage(source: Source) -> Source:
        def falling_back(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            names = request.targets or every
            if len(names) == 1:
                return source(request, run)
            return Relay(_ask(source, request, run, names))

        return falling_back

    async def _ask(
        source: Source, request: ChatRequest, run: Run, names: tuple[str, ...]
    ) -> AsyncGenerator[Event | Rest, None]:
        failures: list[tuple[str, Fault]] = []
        for place, name in enumerate(names):
            attempt = Attempt(source, msgspec.structs.replace(request, targets=names[place:]), run)
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
            failures.append((name, failure.fault))
            if not elsewhere(failure.fault):
                raise failure
            if place + 1 < len(names):
                run.speaks(names[place + 1], f"{name} failed")
                yield Note("fallback", {"from": name, "to": names[place + 1], "after": failure.fault.code})
        raise exhausted(house.model, failures)

    return stage


def elsewhere(fault: Fault) -> bool:
    """Whether another target may answer what this one did not."""
    row = TABLE.get(fault.code)
    return row is None or row.blame == "provider" or fault.code in ("not_carried", "source_failed", "extra_missing")


def exhausted(model: str, failures: list[tuple[str, Fault]]) -> Broken:
    """Every target failed: what was tried, by name, and how each failed; the first that may be asked again says when."""
    said = "; ".join(f"{name}: {fault.code}" for name, fault in failures)
    waits = [fault.retry_after for _, fault in failures if fault.retry_after is not None]
    return Broken(
        "providers_exhausted", f"no target of {model!r} could answer ({said})", retry_after=min(waits, default=1.0)
    )
