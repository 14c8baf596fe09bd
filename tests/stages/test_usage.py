"""Every run has an account of its tokens, however it ends, and what it costs where a price is known."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Closed, Delta, Event, Failed, Finished, Note, Opened, Spent, Usage
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.source import Source, compose
from penstock.core.target import House, Price, Target, switch
from penstock.flow.policy import Policy
from penstock.flow.runs import Runs
from penstock.stages import fallback, hedge, retry
from penstock.stages.continuation import INSTRUCTION
from penstock.stages.continuation import build as continue_
from penstock.stages.usage import build, tokens_of
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import ASKED, OPENED, STARTED, Clock, Played, held, settle
from tests.stages.house import Scripted as Answering
from tests.stages.house import house, refusing, saying

PRICE = Price(input=1.0, output=2.0, cached=0.5)


def metered(home: House) -> Source:
    return compose(switch(home), [build(home)])


async def said_by(
    source: Source, *, cancel: bool = False, until_over: bool = False, asked: ChatRequest = ASKED
) -> list[Event]:
    """Every event of a run, which is cancelled when nothing more is said, or ends by itself, however long that takes."""
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    handle = await runs.start(asked, source, Policy(), principal=Principal())
    await settle()
    if cancel:
        runs.cancel(handle)
    if until_over:
        await handle.pump.ending()
    await settle()
    said = [entry.event for entry in held(handle.log)]
    await runs.close()
    return said


async def test_what_a_provider_reports_stands() -> None:
    said = await said_by(metered(house(a=Answering(saying("a", "b")))))
    assert [event for event in said if isinstance(event, Usage)] == [Usage(3, 2, "reported")]


async def test_what_a_cancelled_run_said_is_counted_before_its_last_word() -> None:
    source = Played(STARTED, OPENED, Delta(0, "a"), Delta(0, "b"), Delta(0, "c"))
    said = await said_by(metered(house(a=source)), cancel=True)
    counted = Usage(tokens_of(ASKED), 3, "counted")
    assert said[-2:] == [counted, Cancelled("client", counted)]


@pytest.mark.parametrize("code", ["provider_truncated", "provider_error"])
async def test_so_is_what_a_run_said_that_broke(code: str) -> None:
    broken = refusing(code, after=[STARTED, Opened(0, "text"), Delta(0, "half")])
    said = await said_by(metered(house(a=Answering(broken))))
    counted = Usage(tokens_of(ASKED), 1, "counted")
    assert said[-2:] == [counted, Failed(fault(code), counted)]


async def test_a_run_that_never_began_has_no_account() -> None:
    said = await said_by(metered(house(a=Answering(refusing(after=[])))))
    assert said == [Failed(fault("provider_unreachable"))]


async def test_a_provider_that_reports_nothing_is_counted_too() -> None:
    answer = [event for event in saying("a", "b") if not isinstance(event, Usage)]
    said = await said_by(metered(house(a=Answering(answer))))
    counted = Usage(tokens_of(ASKED), 2, "counted")
    assert said[-2:] == [counted, Finished("stop", counted)]


@pytest.mark.parametrize("reported", [True, False])
async def test_a_price_makes_a_cost(reported: bool) -> None:
    answer = [event for event in saying("a", "b") if reported or not isinstance(event, Usage)]
    priced = Target(name="", source=Answering(answer), price=PRICE)
    said = await said_by(metered(house(a=priced)))
    (usage,) = [event for event in said if isinstance(event, Usage)]
    assert usage.cost == pytest.approx((usage.input * 1.0 + 2 * 2.0) / 1_000_000)


def test_what_was_put_into_the_cache_is_dearer() -> None:
    price, used = msgspec.structs.replace(PRICE, cache_written=1.25), Usage(1000, 0, "reported", cache_written=400)
    assert price.of(used) == pytest.approx((600 + 500) / 1_000_000)
    assert PRICE.of(used) == pytest.approx(1000 / 1_000_000)


def test_what_was_in_the_cache_is_cheaper() -> None:
    assert PRICE.of(Usage(1000, 100, "reported", cached=400)) == pytest.approx((600 + 200 + 200) / 1_000_000)
    assert Price(input=1.0, output=2.0).of(Usage(1000, 0, "reported", cached=400)) == pytest.approx(1000 / 1_000_000)


def test_a_question_is_counted_with_its_tools() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    longer = msgspec.structs.replace(ASKED, params={"tools": tools})
    assert tokens_of(longer) > tokens_of(ASKED) == 0


def handed_over(first: Answering | Target, second: Source | Target) -> Source:
    """A model whose first target may die in mid-sentence."""
    home = house(a=first, b=second)
    return compose(switch(home), [build(home), continue_(home)])


def dying(word: str, price: Price | None = None) -> Target:
    answer = refusing("provider_truncated", after=[STARTED, OPENED, Delta(0, word)])
    return Target(name="", source=Answering(answer), price=price)


def accounts(said: list[Event]) -> list[Usage]:
    return [event for event in said if isinstance(event, Usage)]


LONG = msgspec.structs.replace(ASKED, messages=({"role": "user", "content": "x" * 400},))


async def test_what_was_reported_before_the_end_is_no_account_of_an_answer_that_was_cut() -> None:
    early = Played(STARTED, Usage(9, 1, "reported", cached=4), OPENED, Delta(0, "a"), Delta(0, "b"), Delta(0, "c"))
    said = await said_by(metered(house(a=early)), cancel=True)
    counted = Usage(9, 3, "counted", cached=4)
    assert accounts(said) == [Usage(9, 1, "reported", cached=4), counted]
    assert said[-1] == Cancelled("client", counted)


async def test_what_was_reported_before_the_first_word_is_no_account_of_a_whole_answer_either() -> None:
    words: list[Event] = [Opened(0, "text"), *(Delta(0, word) for word in "abc"), Closed(0), Finished()]
    early: list[Event] = [STARTED, Usage(9, 1, "reported"), *words]
    said = await said_by(metered(house(a=Answering(early))))
    assert said[-1] == Finished("stop", Usage(9, 3, "counted"))


async def test_what_was_reported_in_full_stands_however_the_run_ends() -> None:
    whole = Played(STARTED, OPENED, Delta(0, "a"), Usage(9, 5, "reported"))
    assert accounts(await said_by(metered(house(a=whole)), cancel=True)) == [Usage(9, 5, "reported")]


async def test_every_target_is_paid_at_its_own_price_and_for_its_own_question() -> None:
    cheap, dear = Price(input=1e6, output=1e6), Price(input=0.0, output=1e9)
    (usage,) = accounts(await said_by(handed_over(dying("one ", cheap), dying("two", dear)), asked=LONG))
    told_on = len("one " + INSTRUCTION)
    assert (usage.input, usage.output, usage.grade) == (100 + (400 + told_on) // 4, 2, "counted")
    assert usage.cost == pytest.approx(100 + 1 + 1000)


async def test_a_cost_of_which_one_price_is_not_known_is_not_known() -> None:
    priced = Target(name="", source=Answering(saying("two")), price=PRICE)
    (usage,) = accounts(await said_by(handed_over(dying("one "), priced)))
    assert (usage.output, usage.cost) == (2, None)


async def test_what_is_drained_after_a_joint_is_added_to_what_was_used_before_it() -> None:
    second = Played(STARTED, OPENED, Delta(0, "two"))
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    handle = await runs.start(ASKED, handed_over(dying("one "), second), Policy(), principal=Principal())
    await settle()
    runs.cancel(handle)
    handle.settle(Usage(7, 5, "reported"))
    used = (Spent("a", Usage(0, 1, "counted")), Spent("b", Usage(7, 5, "drained")))
    assert handle.pump.usage == Usage(7, 6, "counted", attempts=used)
    await runs.close()


@pytest.mark.parametrize("accepted", [True, False])
async def test_who_refused_is_not_on_the_bill_and_who_accepted_and_fell_silent_is_with_the_question(
    accepted: bool,
) -> None:
    home = house(
        a=Answering(refusing("provider_overloaded", after=[STARTED] * accepted)), b=Answering(saying("a", "b"))
    )
    said = await said_by(compose(switch(home), [build(home), fallback.build(home)]), asked=LONG)
    question, answer = Spent("a", Usage(100, 0, "counted")), Spent("b", Usage(3, 2, "reported"))
    both = Usage(103, 2, "counted", attempts=(question, answer))
    assert said[-1] == Finished("stop", both if accepted else answer.usage)


async def test_a_target_that_refused_to_go_on_is_not_on_the_bill() -> None:
    refused = Answering(refusing("provider_overloaded", after=[STARTED]))
    said = await said_by(handed_over(dying("one "), refused), asked=LONG)
    assert isinstance(said[-1], Failed)
    assert said[-1].usage == Usage(100, 1, "counted")


async def test_a_last_word_names_what_every_attempt_used() -> None:
    cheap, dear = Price(input=1e6, output=1e6), Price(input=0.0, output=1e9)
    priced = Target(name="", source=Answering(saying("two", "three")), price=dear)
    said = await said_by(handed_over(dying("one ", cheap), priced), asked=LONG)
    first = Spent("a", Usage(100, 1, "counted", cost=101.0))
    second = Spent("b", Usage(3, 2, "reported", cost=2000.0))
    both = Usage(103, 3, "counted", cost=2101.0, attempts=(first, second))
    assert said[-2:] == [both, Finished("stop", both)]


EARLY: list[Event] = [STARTED, Usage(9, 1, "reported")]
"""What a provider says that accounts for the question before it answers."""


@pytest.mark.parametrize("stage", ["fallback", "retry", "hedge"])
async def test_what_an_attempt_reported_that_nobody_heard_of_was_used_all_the_same(stage: str) -> None:
    broken, good = refusing("provider_overloaded", after=EARLY), saying("a", "b")
    match stage:
        case "fallback":
            home = house(a=Answering(broken), b=Answering(good))
            around = fallback.build(home)
        case "retry":
            home = house(a=Answering(broken, good))
            around = retry.build(home, retry.Retrying(base=0.0))
        case _:
            home = house(a=Played(*EARLY), b=Answering(good))
            for _ in range(10):
                home.health["a"].first(0.0)
            around = hedge.build(home, hedge.Hedging(least=0.0))
    said = await said_by(compose(switch(home), [build(home), around]), until_over=True)
    first, second = Spent("a", Usage(9, 1, "reported")), Spent("ab"[stage != "retry"], Usage(3, 2, "reported"))
    assert said[-1] == Finished("stop", Usage(12, 3, "reported", attempts=(first, second)))


async def test_a_run_that_never_began_has_no_account_but_what_was_reported() -> None:
    home = house(a=Answering(refusing(after=EARLY)), b=Answering(refusing(after=[])))
    (note, end) = await said_by(compose(switch(home), [build(home), fallback.build(home)]))
    assert isinstance(note, Note)
    assert isinstance(end, Failed)
    assert (end.error.code, end.usage) == ("providers_exhausted", Usage(9, 1, "reported"))


@pytest.mark.parametrize(
    ("said_before", "used"), [(EARLY, Usage(9, 1, "reported")), ([STARTED], Usage(100, 0, "counted"))]
)
async def test_what_an_attempt_used_of_which_nobody_had_heard_when_the_run_was_cancelled_stands_beside_its_log(
    said_before: list[Event], used: Usage
) -> None:
    home = house(a=Played(*said_before), b=Answering(saying("a")))
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    source = compose(switch(home), [build(home), fallback.build(home)])
    handle = await runs.start(LONG, source, Policy(), principal=Principal())
    await settle()
    runs.cancel(handle)
    assert [entry.event for entry in held(handle.log)] == [Cancelled("client")]
    await settle()
    assert handle.pump.usage == used
    await runs.close()


async def test_what_is_drained_of_an_attempt_of_which_nobody_had_heard_stands_for_what_it_reported_before() -> None:
    class Drained(Played):
        async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            try:
                async for event in super().__call__(request, run):
                    yield event
            finally:
                run.settle(Usage(9, 20, "reported"))

    home = house(a=Drained(*EARLY), b=Answering(saying("a")))
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    source = compose(switch(home), [build(home), fallback.build(home)])
    handle = await runs.start(LONG, source, Policy(), principal=Principal())
    await settle()
    runs.cancel(handle)
    await settle()
    assert handle.pump.usage == Usage(9, 20, "drained")
    await runs.close()
