"""Which target is asked first, and which not at all: by each strategy, by what is asked, and by how it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from penstock.core.errors import fault
from penstock.core.events import Closed, Delta, Event, Finished, Note, Opened, Usage
from penstock.core.request import ChatRequest, Run
from penstock.core.target import House, Price, Target, switch
from penstock.stages.routing import Router, Strategy, build
from penstock.testing.sources import SoloRun
from tests.flow.scripted import Clock
from tests.stages.house import ASKED, Scripted, house, saying, told

IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def target(**known: Any) -> Target:
    return Target(name="", source=Scripted(saying("x")), **known)


async def chosen(home: House, strategy: Strategy = "order", request: ChatRequest = ASKED) -> Any:
    """What the note of a routed run says."""
    said, broken = await told(build(Router(home, strategy))(switch(home)), request)
    assert broken is None
    assert isinstance(said[0], Note)
    assert said[0].topic == "target"
    return said[0].body


async def test_the_order_of_the_configuration_is_kept() -> None:
    assert await chosen(house(a=target(), b=target())) == {"target": "a", "why": "order"}


async def test_weights_are_kept_on_the_average() -> None:
    home = house(a=target(weight=3.0), b=target(weight=1.0), never=target(weight=0.0))
    counted = Counter([(await chosen(home, "weighted"))["target"] for _ in range(400)])
    assert counted["never"] == 0
    assert 240 < counted["a"] < 360


async def test_the_fastest_is_asked_first_and_one_that_nobody_knows_is_tried() -> None:
    home = house(slow=target(), quick=target())
    for name, seconds in (("slow", 2.0), ("quick", 0.2)):
        home.health[name].first(seconds)
    assert (await chosen(home, "latency"))["target"] == "quick"
    assert (await chosen(house(known=target(), new=target()), "latency"))["target"] == "known"
    strangers = house(known=target(), new=target())
    strangers.health["known"].first(0.1)
    assert (await chosen(strangers, "latency"))["target"] == "new"


@pytest.mark.parametrize("accounts", [True, False])
async def test_the_pace_of_a_target_is_its_own_whether_it_accounts_for_its_tokens_or_not(accounts: bool) -> None:
    clock, run = Clock(), SoloRun()

    async def speaks(request: ChatRequest, its: Run) -> AsyncGenerator[Event, None]:
        yield Opened(0, "text")
        for word in "abcde":
            clock.turn(1)
            yield Delta(0, word)
        clock.turn(16)
        run.held += 16  # a reader took its time
        if accounts:
            yield Usage(3, 5, "reported")
        yield Closed(0)
        yield Finished()

    home = house(clock, a=speaks, b=target())
    said, broken = await told(build(Router(home))(switch(home)), run=run)
    assert (said[-1], broken) == (Finished(), None)
    assert home.health["a"].pace == 4 / 5


async def test_the_least_busy_is_the_one_with_the_most_room() -> None:
    home = house(a=target(concurrent=2), b=target(concurrent=10))
    for name, count in (("a", 1), ("b", 4)):
        for _ in range(count):
            home.health[name].asked(0.0)
    assert (await chosen(home, "least-busy"))["target"] == "b"


async def test_the_cheapest_is_asked_first_and_one_without_a_price_last() -> None:
    home = house(
        free=target(), dear=target(price=Price(input=3, output=15)), cheap=target(price=Price(input=0.1, output=0.4))
    )
    assert (await chosen(home, "cost"))["target"] == "cheap"


@pytest.mark.parametrize(
    ("lacks", "asked"),
    [
        ("tools", {"params": {"tools": [{"type": "function", "function": {"name": "f"}}]}}),
        ("structured", {"params": {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}}),
        ("images", {"messages": ({"role": "user", "content": [IMAGE]},)}),
    ],
)
async def test_a_target_that_cannot_do_what_is_asked_is_left_out_and_the_note_says_so(lacks: Any, asked: Any) -> None:
    home = house(a=target(lacks=frozenset({lacks})), b=target())
    request = msgspec.structs.replace(ASKED, **asked)
    assert await chosen(home, request=request) == {
        "target": "b", "why": "order, without a", "left_out": {"a": f"has no {lacks}"},
    }  # fmt: skip
    alone = house(a=target(lacks=frozenset({lacks})))
    _, broken = await told(build(Router(alone))(switch(alone)), request)
    assert broken is not None
    assert (broken.fault.code, broken.fault.message) == (
        "not_carried", f"no target of 'fast' can do what is asked: a has no {lacks}",
    )  # fmt: skip


async def test_a_failing_target_loses_its_traffic_and_regains_it_after_a_probe() -> None:
    clock = Clock()
    home = house(clock, a=target(), b=target())
    for _ in range(5):
        home.health["a"].asked(clock.now)
        home.health["a"].failed(fault("provider_error"), clock.now)
    assert await chosen(home) == {"target": "b", "why": "order, without a", "left_out": {"a": "rests"}}
    clock.turn(6)
    assert (await chosen(home))["target"] == "a"
    assert home.health["a"].admits(clock.now)


async def test_where_all_rest_the_one_that_comes_back_first_is_asked_all_the_same() -> None:
    clock = Clock()
    home = house(clock, a=target(), b=target())
    for name, seconds in (("a", 9.0), ("b", 3.0)):
        home.health[name].asked(clock.now)
        home.health[name].failed(fault("provider_rate_limited", retry_after=seconds), clock.now)
    assert await chosen(home) == {"target": "b", "why": "order"}
