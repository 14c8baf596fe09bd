"""One model at one provider, as stages see it, and the house of a model: its targets, how they are doing, and the clock."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Literal

import msgspec

from penstock.core.account import DIGITS
from penstock.core.asked import Asked
from penstock.core.errors import Broken, Refused
from penstock.core.events import TERMINAL, Delta, Event, Failed, Fault, Opened, Usage
from penstock.core.health import Health
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source

Continues = Literal["exact", "prefill", "instructed", "no"]
"""How a target goes on with an answer another one began: from the very token, from words put into its mouth, because it is
told to, or not at all."""

Feature = str
"""A name of `[models.NAME.features]` in the configuration, such as `tools` or `images`."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens cost, in one currency for all targets."""

    input: float
    output: float
    cached: float | None = None
    """Of input read from the provider's cache; as other input where it is None."""
    cache_written: float | None = None
    """Of input put into the provider's cache; as other input where it is None."""

    def of(self, usage: Usage) -> float:
        """What so many tokens cost."""
        cached, written = usage.cached or 0, usage.cache_written or 0
        spent = (
            (usage.input - cached - written) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + written * (self.input if self.cache_written is None else self.cache_written)
            + usage.output * self.output
        )
        return round(spent / 1_000_000, DIGITS)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider."""

    name: str
    """As the configuration writes it: what notes, logs and metrics call it. It holds no key."""
    source: Source
    provider: str = "penstock"
    lacks: frozenset[Feature] = frozenset()
    """What it is known not to do; nothing is known of the rest."""
    context: int | None = None
    """Tokens of its window, where that is known."""
    weight: float = 1.0
    concurrent: int | None = None
    """Runs it takes at once."""
    price: Price | None = None
    continues: Continues = "instructed"
    local: bool = False
    """It runs on this machine or in this network: what it is asked does not leave them."""


def unable(target: Target, asked: Asked) -> str:
    """Why a target cannot do what is asked; empty where it can, as far as anybody knows."""
    if lacking := asked.features & target.lacks:
        return f"has no {sorted(lacking)[0]}"
    if target.context is not None and asked.context > target.context:
        return f"has a window of {target.context} tokens; about {asked.context} are needed"
    return ""


class House(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages of one model share."""

    model: str
    targets: Mapping[str, Target]
    """By name, in the order of the configuration."""
    health: Mapping[str, Health]
    """By the same names; a target that several models name has one."""
    clock: Callable[[], float]
    """Seconds, monotonic."""
    random: random.Random
    hedged: dict[str, str] = msgspec.field(default_factory=dict)
    """By run, the target from which on a hedge asks the rest of them: whoever was asked before leaves them to it."""

    def priced(self, usage: Usage, target: str) -> Usage:
        """The account with what it costs at a target, where that is known."""
        it = self.targets.get(target) or next(iter(self.targets.values()))
        return usage if it.price is None else msgspec.structs.replace(usage, cost=it.price.of(usage))


def switch(house: House) -> Source:
    """The innermost source of a model: asks the first target that the request names, and keeps an eye on how it does."""
    first = next(iter(house.targets))

    def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        name = request.targets[0] if request.targets else first
        return _watched(house.targets[name], house.health[name], house.clock, request, run)

    return source


async def _watched(
    target: Target, health: Health, clock: Callable[[], float], request: ChatRequest, run: Run
) -> AsyncGenerator[Event, None]:
    if run.over:
        return  # a source that raised while it was cancelled is no reason to ask another
    began = clock()
    spoke: float | None = None
    held = 0.0
    tokens = deltas = 0
    over = False
    wrong: Fault | None = None

    def overdue(fault: Fault) -> bool:
        nonlocal wrong
        wrong = fault
        return False  # whether another is asked is not decided here

    settled = run.attempt(overdue)
    probe = health.asked(began)
    run.speaks(target.name)
    try:
        async with aclosing(target.source(request, run)) as events:
            async for event in events:
                if type(event) is Delta:
                    deltas += 1
                elif type(event) is Opened and spoke is None:
                    spoke, held = clock(), run.held
                    health.first(spoke - began, probe=probe)
                elif type(event) is Usage:
                    tokens = event.output
                    if target.price is not None:
                        event = msgspec.structs.replace(event, cost=target.price.of(event))  # noqa: PLW2901
                elif isinstance(event, TERMINAL):
                    over = True
                    if isinstance(event, Failed):
                        health.failed(event.error, clock(), probe=probe)
                    else:
                        # Readers that take their time say nothing of the target.
                        seconds = clock() - spoke - (run.held - held) if spoke is not None else 0.0
                        health.answered(tokens or deltas, seconds, probe=probe)
                yield event
        if not over:
            raise Broken("provider_truncated", "the source ended without saying how")
    except (Broken, Refused) as problem:
        wrong = problem.fault
        raise
    except Exception as problem:
        run.raised(problem)
        broken = Broken("source_failed", f"the source raised {type(problem).__name__}; the server's log has it")
        wrong = broken.fault
        raise broken from problem
    finally:
        settled()
        if over:
            pass
        elif wrong is None or run.impatient(wrong):
            health.left(probe=probe)
        else:
            health.failed(wrong, clock(), probe=probe)
