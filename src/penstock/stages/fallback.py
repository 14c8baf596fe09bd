"""Asks the next target when one failed before its first word: invisible to readers but for a note."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec

from penstock.core.asked import Asked
from penstock.core.errors import TABLE, Broken
from penstock.core.events import Event, Fault, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House, unable
from penstock.stages.attempt import Attempt

RESTS = "rests"


def build(house: House) -> Stage:
    """The stage for one model; targets are asked in the order the request names them, else in that of the configuration."""
    every = tuple(house.targets)

    def stage(source: Source) -> Source:
        def falling_back(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            if len(every) == 1:
                return source(request, run)
            return Relay(_ask(source, request, run, request.targets or every))

        return falling_back

    async def _ask(
        source: Source, request: ChatRequest, run: Run, names: tuple[str, ...]
    ) -> AsyncGenerator[Event | Rest, None]:
        failures: list[tuple[str, Fault]] = []
        for place, name in enumerate(names):
            attempt = Attempt(house, source, msgspec.structs.replace(request, targets=names[place:]), run)
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
            if not elsewhere(failure.fault) or run.said().parts:
                raise failure  # to the client, or to the continuation, which asks one target at a time and names them all
            run.missed(name, failure.fault.code)
            failures.append((name, failure.fault))
            if names[place + 1 : place + 2] == (house.hedged.get(run.id),):
                break  # it is being asked already, for having been late
            if place + 1 < len(names):
                how = "was busy" if failure.fault.code == "target_busy" else "failed"
                run.speaks(names[place + 1], f"{name} {how}")
                yield Note("fallback", {"from": name, "to": names[place + 1], "after": failure.fault.code})
        raise exhausted(house.model, failures, _not_asked(house, names, request))

    return stage


def _not_asked(house: House, names: tuple[str, ...], request: ChatRequest) -> dict[str, str]:
    """The targets that were left out, and why."""
    now, asked = house.clock(), Asked(request)
    why: dict[str, str] = {}
    for name, target in house.targets.items():
        if name not in names:
            if cannot := unable(target, asked):
                why[name] = cannot
            elif not house.health[name].admits(now):
                why[name] = RESTS
    return why


def elsewhere(fault: Fault) -> bool:
    """Whether another target may answer what this one did not."""
    row = TABLE.get(fault.code)
    return row is None or row.blame == "provider" or fault.code in ("not_carried", "source_failed", "extra_missing")


def exhausted(model: str, failures: list[tuple[str, Fault]], not_asked: Mapping[str, str]) -> Broken:
    """No target answered: who was tried, by name, and how each failed, and who was left out, because it failed too often before
    or cannot do what is asked; the first that may be asked again says when. Where asking again would help nowhere, the question
    is to blame, or the operator: then it is the failure itself that is told."""
    said = "; ".join(
        [*(f"{name}: {fault.code}" for name, fault in failures), *(f"{name}: {why}" for name, why in not_asked.items())]
    )
    if RESTS not in not_asked.values() and not any(fault.retryable for _, fault in failures):
        told = min((fault for _, fault in failures), key=lambda fault: _status(fault) >= 500)
        message = f"{told.message} (no target of {model!r} could answer: {said})"
        return Broken.of(msgspec.structs.replace(told, message=message))
    waits = [fault.retry_after for _, fault in failures if fault.retry_after is not None]
    return Broken(
        "providers_exhausted", f"no target of {model!r} could answer ({said})", retry_after=min(waits, default=1.0)
    )


def _status(fault: Fault) -> int:
    return TABLE[fault.code].status if fault.code in TABLE else 502
