"""Chooses which of a model's targets are asked, in which order: by the configuration, by weight, by what live traffic says, by what
is asked.

A target that rests, or cannot do what is asked, is left out. What was chosen and why stands in a note.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Container, Sequence
from contextlib import aclosing
from typing import Literal

import msgspec

from penstock.core.asked import Asked, unhinted
from penstock.core.errors import Broken
from penstock.core.events import Event, Json, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.rules import HINTS
from penstock.core.source import Source, Stage
from penstock.core.target import House, Target, unable
from penstock.stages.auto import Auto, Choice, choose, cost
from penstock.stages.sticky import Sticky

Strategy = Literal["order", "weighted", "latency", "least-busy", "cost", "auto"]
Ranked = Callable[[Sequence[Target], House], list[Target]]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Which targets of a model a request is asked of, in this order, and why."""

    targets: tuple[str, ...]
    why: str
    rule: int | None = None
    """The number of the rule that decided, from 1."""
    left_out: dict[str, str] = {}
    """The others, each with its reason."""


class Router:
    """Decides for one model."""

    def __init__(
        self,
        house: House,
        strategy: Strategy = "order",
        *,
        auto: Auto = Auto(),  # noqa: B008 - frozen
        sticky: Sticky | None = None,
    ):
        """With `sticky` conversations stay with the target that answered them."""
        self._house = house
        self._strategy = strategy
        self._auto = auto
        self.sticky = sticky
        self.hints = self._hints()
        """What clients may hint; nothing where nobody listens."""

    @property
    def targets(self) -> tuple[str, ...]:
        """All of them, in the order of the configuration."""
        return tuple(self._house.targets)

    def _hints(self) -> tuple[str, ...]:
        if self._strategy != "auto" or not self._auto.hints:
            return ()
        near = any(target.local for target in self._house.targets.values())
        return (*(hint for hint in HINTS if near or hint != "local"), *self._house.targets)

    def decide(self, request: ChatRequest, *, last: str = "") -> Decision:
        """Where a request goes. `last` is the target that answered its conversation before, which stays while it is well, unless
        the client hints otherwise. Raises `Broken(not_carried)` where no target can do what is asked."""
        asked = Asked(request)
        hints = self._strategy == "auto" and self._auto.hints
        able, left_out = _able(asked, self._house, near=hints and asked.hint == "local")
        if self._strategy == "auto":
            choice = choose(self._auto, asked, able, self._house)
        else:
            choice = Choice(STRATEGIES[self._strategy](able, self._house), self._strategy)
            if self._strategy == "order" and (passed := self._passed(choice.targets[0], left_out)):
                choice = choice._replace(why=f"order, without {', '.join(passed)}")
        if last and not (hints and asked.hint) and (again := [target for target in able if target.name == last]):
            others = [target for target in choice.targets if target.name != last]
            choice = Choice([*again, *others], f"answered this conversation before ({choice.why})", choice.rule)
        names = tuple(target.name for target in choice.targets)
        return Decision(targets=names, why=choice.why, rule=choice.rule, left_out=left_out)

    def _passed(self, chosen: Target, left_out: Container[str]) -> list[str]:
        """The targets that stand before this one in the configuration and were left out."""
        before = itertools.takewhile(lambda name: name != chosen.name, self._house.targets)
        return [name for name in before if name in left_out]

    def note(self, decision: Decision) -> Note:
        """The decision as readers get it."""
        body: dict[str, Json] = {"target": decision.targets[0], "why": decision.why}
        if self._strategy == "auto":
            body["candidates"] = list(decision.targets)
        if decision.left_out:
            body["left_out"] = dict(decision.left_out)
        return Note("target", body)


def build(router: Router) -> Stage:
    """The stage for one model."""

    def stage(source: Source) -> Source:
        def routed(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            return Relay(_route(source, request, run))

        return routed

    async def _route(source: Source, request: ChatRequest, run: Run) -> AsyncGenerator[Event | Rest, None]:
        sticky = router.sticky
        decision = router.decide(request, last=sticky.target(request, run) if sticky is not None else "")
        ours = router.hints and Asked(request).hint in router.hints
        asked = msgspec.structs.replace(unhinted(request) if ours else request, targets=decision.targets)
        async with aclosing(source(asked, run)) as events:
            try:
                run.speaks(decision.targets[0], decision.why)
                yield router.note(decision)
                yield Rest(events)
            finally:
                if sticky is not None and run.spoke:
                    sticky.keep(request, run, run.target or decision.targets[0])

    return stage


def _able(asked: Asked, house: House, *, near: bool) -> tuple[list[Target], dict[str, str]]:
    """The targets that are asked, and for each of the others why not. Where all that could answer rest, all are asked.

    With `near` only those that are local.
    """
    now = house.clock()
    able, resting = [], []
    left_out = {}
    for target in house.targets.values():
        if cannot := unable(target, asked):
            left_out[target.name] = cannot
        elif near and not target.local:
            left_out[target.name] = "is not local"
        elif house.health[target.name].admits(now):
            able.append(target)
        else:
            resting.append(target)
    if able:
        left_out.update((target.name, "rests") for target in resting)
    elif not (able := sorted(resting, key=lambda target: house.health[target.name].back(now))):
        said = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise Broken("not_carried", f"no target of {house.model!r} can do what is asked: {said}")
    return able, left_out


def _order(able: Sequence[Target], house: House) -> list[Target]:
    return list(able)


def _weighted(able: Sequence[Target], house: House) -> list[Target]:
    """Drawn one after the other, so that the second choice is by weight too (Efraimidis and Spirakis, 2006)."""
    draw = house.random.random
    return sorted(able, key=lambda target: -(draw() ** (1 / target.weight)) if target.weight > 0 else 0.0)


def _latency(able: Sequence[Target], house: House) -> list[Target]:
    """The one expected to have said a hundred tokens first; one that nobody has measured goes first, to be measured."""
    now = house.clock()
    return sorted(able, key=lambda target: house.health[target.name].expected(now))


def _least_busy(able: Sequence[Target], house: House) -> list[Target]:
    return sorted(
        able, key=lambda target: house.health[target.name].in_flight / (target.concurrent or target.weight or 1)
    )


def _cost(able: Sequence[Target], house: House) -> list[Target]:
    """The cheapest first; one without a price last."""
    return sorted(able, key=cost)


STRATEGIES: dict[str, Ranked] = {
    "order": _order,
    "weighted": _weighted,
    "latency": _latency,
    "least-busy": _least_busy,
    "cost": _cost,
}
