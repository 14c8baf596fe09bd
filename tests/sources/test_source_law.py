"""The law of sources finds what it forbids, and lets good sources pass."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from penstock.core.errors import Broken
from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.testing.sources import LawBroken, SoloRun, check_source
from tests.sources.asking import question

START = Started("st_solo", "m", 0)


def telling(*events: Event) -> Source:
    async def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        for event in events:
            yield event

    return source


async def test_a_good_answer_passes_and_is_returned() -> None:
    events: list[Event] = [START, Opened(0, "text"), Delta(0, "a"), Closed(0), Finished()]
    assert await check_source(telling(*events), question()) == (events, None)


async def test_a_source_that_breaks_passes_and_says_how() -> None:
    async def breaking(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield START
        raise Broken("provider_error")

    events, broken = await check_source(breaking, question())
    assert events == [START]
    assert broken is not None


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], "it said nothing at all"),
        ([START], "it ended without a last word, after Started"),
        ([START, START, Finished()], "Started is not allowed while the run is waiting"),
        ([Opened(0, "text"), Finished()], "Opened is not allowed while the run is idle"),
        ([START, Opened(0, "text"), Delta(1, "a")], "Delta for part 1, which is not open"),
        ([START, Opened(0, "text"), Opened(0, "text")], "part 0 was opened twice"),
        ([START, Finished(), Finished()], "came after the last word"),
        ([START, Opened(0, "text"), Finished()], r"it ended with open parts: \[0\]"),
    ],
)
async def test_an_illegal_answer_is_named(events: list[Event], told: str) -> None:
    with pytest.raises(LawBroken, match=told):
        await check_source(telling(*events), question())


async def test_breaking_after_the_last_word_is_named() -> None:
    async def late(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield START
        yield Finished()
        raise Broken("provider_error")

    with pytest.raises(LawBroken, match="it broke after the last word"):
        await check_source(late, question())


async def test_a_task_left_behind_is_named() -> None:
    left: list[asyncio.Task[bool]] = []

    async def leaving(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        left.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))
        yield START
        yield Finished()

    with pytest.raises(LawBroken, match="left tasks behind: forgotten"):
        await check_source(leaving, question())
    for task in left:
        task.cancel()


async def test_a_source_that_does_not_close_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.testing.sources.CLOSING", 0.01)

    async def clinging(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        try:
            yield START
            yield Finished()
        except GeneratorExit:
            await asyncio.Event().wait()
            raise

    with pytest.raises(LawBroken, match="it did not close within"):
        await check_source(clinging, question())


async def test_a_source_that_turns_its_cancellation_into_an_error_is_named() -> None:
    async def confused(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield START
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise ValueError("cancelled?") from None
        yield Finished()

    with pytest.raises(LawBroken, match="cancelled, it raised ValueError"):
        await check_source(confused, question())


async def test_whoever_watches_what_is_held_is_asked_each_time() -> None:
    asked = 0

    async def at_rest() -> None:
        nonlocal asked
        asked += 1

    await check_source(telling(START, Finished()), question(), at_rest=at_rest)
    assert asked == 1 + 2 * 2


async def test_a_run_alone_hands_its_input_over_in_order() -> None:
    run = SoloRun("first", "second")
    said = aiter(run.inbox)
    assert [await anext(said), await anext(said)] == ["first", "second"]
    assert run.inbox.opened
    waiting = asyncio.ensure_future(anext(said))
    await asyncio.sleep(0)
    run.inbox.put("third")
    assert await waiting == "third"
    assert run.inbox.waiting() is None
