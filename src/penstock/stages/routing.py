"""Chooses which of a model's targets are asked, in which order: by the configuration, by weight, by what live traffic says.

A target that rests, or cannot do what is asked, is left out. What was chosen and why stands in a note.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal

import msgspec

from penstock.core.errors import Broken
from penstock.core.events import Event, Json, Note
from penstock.core.health import Health
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Message, Run
from penstock.core.source import Source, Stage
from penstock.core.target import Feature, House, Target

Strategy = Literal["order", "weighted", "latency", "least-busy", "cost"]
Ranked = Callable[[Sequence[Target], House], list[Target]]

_PARTS: dict[str, Feature] = {"image_url": "images", "input_audio": "audio"}


def build(house: House, strategy: Strategy = "order") -> Stage:
    """The stage for one model."""
    rank = STRATEGIES[strategy]

    def stage(source: Source) -> Source:
        def routed(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            return Relay(_choose(source, request, run))

        return routed

    async def _choose(source: Source, request: ChatRequest, run: Run) -> AsyncGenerator[Event | Rest, None]:
        able, left_out = _able(request, house)
        names = tuple(target.name for target in rank(able, house))
        note: dict[str, Json] = {"target": names[0], "why": strategy}
        if left_out:
            note["left_out"] = dict(left_out)
        async with aclosing(source(msgspec.structs.replace(request, targets=names), run)) as events:
            yield Note("target", note)
            yield Rest(events)

    return stage


def _able(request: ChatRequest, house: House) -> tuple[list[Target], dict[str, str]]:
    """The targets that are asked, and for each of the others why not. Where all that could answer rest, all are asked."""
    now = house.clock()
    wants = wanted(request)
    able, resting = [], []
    left_out = {}
    for target in house.targets.values():
        if lacking := wants & target.lacks:
            left_out[target.name] = f"has no {sorted(lacking)[0]}"
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


def wanted(request: ChatRequest) -> set[Feature]:
    """What a request asks for that not every target can do."""
    wants: set[Feature] = set()
    if request.params.get("tools"):
        wants.add("tools")
    form = request.params.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        wants.add("structured")
    for message in request.messages:
        wants.update(_in(message))
    return wants


def _in(message: Message) -> set[Feature]:
    content = message.get("content")
    kinds = {part.get("type") for part in content if isinstance(part, dict)} if isinstance(content, list) else set()
    return {feature for kind, feature in _PARTS.items() if kind in kinds}


def _order(able: Sequence[Target], house: House) -> list[Target]:
    return list(able)


def _weighted(able: Sequence[Target], house: House) -> list[Target]:
    """Drawn one after the other, so that the second choice is by weight too (Efraimidis and Spirakis, 2006)."""
    draw = house.random.random
    return sorted(able, key=lambda target: -(draw() ** (1 / target.weight)) if target.weight > 0 else 0.0)


def _latency(able: Sequence[Target], house: House) -> list[Target]:
    """The one expected to have said a hundred tokens first; one that nobody has measured yet goes first, to be measured."""
    return sorted(able, key=lambda target: expected(house.health[target.name]))


def expected(health: Health) -> float:
    """Seconds to a hundred tokens, with those that are on their way to the same target."""
    if health.wait is None:
        return float(health.in_flight)
    return (health.wait + (100 / health.pace if health.pace else 0.0)) * (1 + 0.1 * health.in_flight)


def _least_busy(able: Sequence[Target], house: House) -> list[Target]:
    return sorted(
        able, key=lambda target: house.health[target.name].in_flight / (target.concurrent or target.weight or 1)
    )


def _cost(able: Sequence[Target], house: House) -> list[Target]:
    """The cheapest first; one without a price last."""
    return sorted(able, key=lambda t: t.price.input + 3 * t.price.output if t.price else float("inf"))


STRATEGIES: dict[Strategy, Ranked] = {
    "order": _order,
    "weighted": _weighted,
    "latency": _latency,
    "least-busy": _least_busy,
    "cost": _cost,
}
