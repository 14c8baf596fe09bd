"""The strategy `auto`: by rules, by hints, by price, by how targets do; and conversations that stay where they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.core.events import Note
from penstock.core.health import STALE
from penstock.core.request import ChatRequest, Principal
from penstock.core.rules import Rule, When
from penstock.core.target import House, Price, Target, switch
from penstock.stages.auto import SHORT, Auto
from penstock.stages.routing import Decision, Router, build
from penstock.stages.sticky import Sticky
from penstock.testing.sources import SoloRun
from tests.flow.scripted import Clock
from tests.stages.house import Scripted, house, refusing, saying, told

CODE = "Write a function in Python."
CHEAP, DEAR = Price(input=0.1, output=0.4), Price(input=3, output=15)


def target(**known: Any) -> Target:
    return Target(name="", source=Scripted(saying("x")), **known)


def asking(text: str = "hi", hint: str = "", **params: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=({"role": "user", "content": text},), params=params, hint=hint)


def decided(home: House, request: ChatRequest, *rules: Rule, **more: Any) -> Decision:
    return Router(home, "auto", auto=Auto(rules=rules, **more)).decide(request)


def does(home: House, clock: Clock, name: str, seconds: float) -> None:
    """A target answers, after so many seconds."""
    health = home.health[name]
    health.asked(clock.now)
    clock.turn(seconds)
    health.first(seconds)
    health.answered(0, 0)


async def test_the_note_names_the_rule_its_reason_and_who_would_be_asked_next() -> None:
    home = house(a=target(context=100), b=target(), c=target())
    rules = (Rule(when=When(tools=True), use=("a",)), Rule(when=When(code=True), use=("c",), why="c can code"))
    router = Router(home, "auto", auto=Auto(rules=rules))
    said, broken = await told(build(router)(switch(home)), asking(CODE, max_tokens=200))
    assert broken is None
    assert said[0] == Note(
        "target",
        {
            "target": "c",
            "why": "rule 2: c can code",
            "candidates": ["c", "b"],
            "left_out": {"a": "has a window of 100 tokens; about 211 are needed"},
        },
    )


def test_the_first_rule_that_holds_decides_and_without_one_the_order() -> None:
    home = house(a=target(), b=target(), c=target())
    rules = (Rule(when=When(language="de"), use=("b",)), Rule(when=When(code=True), use=("c", "b")))
    assert decided(home, asking("Schreibe eine Funktion in Python."), *rules).targets == ("b", "a", "c")
    assert decided(home, asking(CODE), *rules).targets == ("c", "b", "a")
    nothing = decided(home, asking(), *rules)
    assert (nothing.targets, nothing.why, nothing.rule) == (("a", "b", "c"), "no rule holds", None)


def test_a_target_of_a_rule_that_rests_gives_way_to_the_next() -> None:
    home = house(a=target(), b=target(), c=target())
    home.health["c"].throttled_until = home.clock() + 5
    decision = decided(home, asking(CODE), Rule(when=When(code=True), use=("c", "b")))
    assert (decision.targets, decision.left_out) == (("b", "a"), {"c": "rests"})


@pytest.mark.parametrize(
    ("text", "first", "why"),
    [
        ("What is the capital of Portugal?", "cheap", "short and simple: the cheapest"),
        (CODE, "dear", "code: the best"),
        ("Prove that it is so.", "dear", "reasoning: the best"),
        ("word " * SHORT, "dear", f"longer than {SHORT} tokens: the best"),
    ],
)
def test_without_rules_what_is_hard_goes_to_the_dearest_and_the_rest_to_the_cheapest(
    text: str, first: str, why: str
) -> None:
    home = house(unknown=target(), dear=target(price=DEAR), cheap=target(price=CHEAP))
    decision = decided(home, asking(text))
    assert (decision.targets[0], decision.targets[-1], decision.why) == (first, "unknown", why)


def test_without_rules_and_prices_the_order_of_the_configuration_is_kept() -> None:
    home = house(a=target(), b=target())
    assert decided(home, asking(CODE)).targets == decided(home, asking()).targets == ("a", "b")


def test_hints_are_followed_before_rules() -> None:
    clock = Clock()
    home = house(clock, a=target(price=CHEAP), b=target(price=DEAR, local=True), c=target())
    for name, seconds in (("a", 2.0), ("b", 3.0), ("c", 0.1)):
        does(home, clock, name, seconds)
    rule = Rule(when=When(), use=("a",))
    found = {hint: decided(home, asking(hint=hint), rule).targets for hint in ("fast", "cheap", "best", "local", "c")}
    assert {hint: targets[0] for hint, targets in found.items()} == {
        "fast": "c", "cheap": "a", "best": "b", "local": "b", "c": "c",
    }  # fmt: skip
    assert found["local"] == ("b",)
    assert decided(home, asking(metadata={"route": "best"}), rule).targets[0] == "b"
    assert decided(home, asking(hint="best"), rule, hints=False).targets[0] == "a"


def test_a_rule_for_a_hint_takes_the_place_of_its_usual_meaning() -> None:
    home = house(a=target(price=CHEAP), b=target(price=DEAR))
    rule = Rule(when=When(hint="cheap", code=False), use=("b",))
    assert decided(home, asking(hint="cheap"), rule).why == "rule 1: no code, hint cheap"
    assert decided(home, asking(CODE, hint="cheap"), rule).why == "no rule holds"


async def test_a_question_that_is_to_stay_here_goes_nowhere_else() -> None:
    home = house(a=target(), b=target())
    _, broken = await told(build(Router(home, "auto"))(switch(home)), asking(metadata={"route": "local"}))
    assert broken is not None
    assert (broken.fault.code, "a is not local; b is not local" in broken.fault.message) == ("not_carried", True)


@pytest.mark.parametrize("strategy", ["auto", "latency"])
def test_a_target_that_has_become_slow_loses_its_traffic_and_regains_it_after_one_probe(strategy: Any) -> None:
    clock = Clock()
    home = house(clock, a=target(), b=target())
    router = Router(home, strategy)
    for name, seconds in (("a", 0.2), ("b", 0.4), ("a", 8.0)):
        does(home, clock, name, seconds)
    assert router.decide(asking()).targets == ("b", "a")
    clock.turn(STALE)
    does(home, clock, "b", 0.4)
    assert router.decide(asking()).targets == ("a", "b")
    home.health["a"].asked(clock.now)
    assert router.decide(asking()).targets == ("b", "a"), "one probe at a time"
    home.health["a"].first(0.2)
    home.health["a"].answered(0, 0)
    assert router.decide(asking()).targets == ("a", "b")


def test_a_target_that_is_still_slow_when_it_is_tried_loses_its_traffic_again() -> None:
    clock = Clock()
    home = house(clock, a=target(), b=target())
    does(home, clock, "b", 0.4)
    for _ in range(2):
        does(home, clock, "a", 8.0)
        assert decided(home, asking()).targets == ("b", "a")
        clock.turn(STALE)
        assert decided(home, asking()).targets == ("a", "b")


async def test_a_conversation_stays_with_the_target_that_answered_it_while_that_is_well() -> None:
    home = house(a=Scripted(refusing(after=())), b=Scripted(saying("x")))
    router = Router(home, "order", sticky=Sticky())
    assert router.sticky is not None
    run = SoloRun()
    run.speaks("b")
    for request in (asking(user="ada"), asking(prompt_cache_key="k"), msgspec.structs.replace(asking(), chat="c")):
        router.sticky.keep(request, run, "b")
        last = router.sticky.target(request, SoloRun())
        assert router.decide(request, last=last).why == "answered this conversation before (order)"
        assert router.decide(request, last=last).targets == ("b", "a")
        home.health["b"].throttled_until = home.clock() + 5
        assert router.decide(request, last=last).targets == ("a",)
        home.health["b"].throttled_until = 0.0
    going_on = msgspec.structs.replace(asking(), previous="resp_" + run.id.removeprefix("st_"))
    assert router.sticky.target(going_on, SoloRun()) == "b"
    assert router.sticky.target(asking(user="bob"), SoloRun()) == ""


async def test_a_hint_moves_a_conversation() -> None:
    home = house(a=target(), b=target())
    router = Router(home, "auto", sticky=Sticky())
    assert router.decide(asking(hint="a"), last="b").targets == ("a", "b")


def test_the_table_of_conversations_is_bounded_and_another_principal_has_others() -> None:
    table = Sticky(most=4)
    for number in range(10):
        table.keep(asking(user=f"u{number}"), SoloRun(), "a")
    assert len(table) == 4
    assert table.target(asking(user="u9"), SoloRun()) == "a"
    assert table.target(asking(user="u0"), SoloRun()) == ""
    stranger = SoloRun()
    stranger.principal = Principal("other")
    assert table.target(asking(user="u9"), stranger) == ""
