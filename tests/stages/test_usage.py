"""Every run has an account of its tokens, however it ends, and what it costs where a price is known."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.events import Cancelled, Delta, Event, Failed, Finished, Opened, Usage
from penstock.core.request import Principal
from penstock.core.source import Source, compose
from penstock.core.target import House, Price, Target, switch
from penstock.flow.policy import Policy
from penstock.flow.runs import Runs
from penstock.stages.usage import build, tokens_of
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import ASKED, OPENED, STARTED, Clock, Played, held, settle
from tests.stages.house import Scripted as Answering
from tests.stages.house import house, refusing, saying

PRICE = Price(input=1.0, output=2.0, cached=0.5)


def metered(home: House) -> Source:
    return compose(switch(home), [build(home)])


async def said_by(source: Source, *, cancel: bool = False) -> list[Event]:
    """Every event of a run, which is cancelled when nothing more is said."""
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    handle = await runs.start(ASKED, source, Policy(), principal=Principal())
    await settle()
    if cancel:
        runs.cancel(handle)
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
    assert said[-2:] == [Usage(tokens_of(ASKED), 3, "counted"), Cancelled("client")]


@pytest.mark.parametrize("code", ["provider_truncated", "provider_error"])
async def test_so_is_what_a_run_said_that_broke(code: str) -> None:
    broken = refusing(code, after=[STARTED, Opened(0, "text"), Delta(0, "half")])
    said = await said_by(metered(house(a=Answering(broken))))
    assert said[-2] == Usage(tokens_of(ASKED), 1, "counted")
    assert isinstance(said[-1], Failed)


async def test_a_run_that_never_began_has_no_account() -> None:
    said = await said_by(metered(house(a=Answering(refusing(after=[])))))
    assert [type(event) for event in said] == [Failed]


async def test_a_provider_that_reports_nothing_is_counted_too() -> None:
    answer = [event for event in saying("a", "b") if not isinstance(event, Usage)]
    said = await said_by(metered(house(a=Answering(answer))))
    assert said[-2:] == [Usage(tokens_of(ASKED), 2, "counted"), Finished("stop")]


@pytest.mark.parametrize("reported", [True, False])
async def test_a_price_makes_a_cost(reported: bool) -> None:
    answer = [event for event in saying("a", "b") if reported or not isinstance(event, Usage)]
    priced = Target(name="", source=Answering(answer), price=PRICE)
    said = await said_by(metered(house(a=priced)))
    (usage,) = [event for event in said if isinstance(event, Usage)]
    assert usage.cost == pytest.approx((usage.input * 1.0 + 2 * 2.0) / 1_000_000)


def test_what_was_in_the_cache_is_cheaper() -> None:
    assert PRICE.of(Usage(1000, 100, "reported", cached=400)) == pytest.approx((600 + 200 + 200) / 1_000_000)
    assert Price(input=1.0, output=2.0).of(Usage(1000, 0, "reported", cached=400)) == pytest.approx(1000 / 1_000_000)


def test_a_question_is_counted_with_its_tools() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    longer = msgspec.structs.replace(ASKED, params={"tools": tools})
    assert tokens_of(longer) > tokens_of(ASKED) == 0
