"""Stages wrap a source, and are a source again."""

from collections.abc import AsyncGenerator

import pytest

from penstock.core.events import Event, Finished, Note, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage, compose
from penstock.testing.sources import SoloRun

ASKED = ChatRequest(model="demo", messages=({"role": "user", "content": "hi"},))
STARTED = Started("st_solo", "demo", 0)


async def plain(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    yield STARTED
    yield Note("asked", request.model)
    yield Finished()


def saying(name: str) -> Stage:
    """A stage that says its name after the first event, and puts it before the model's."""

    def stage(source: Source) -> Source:
        async def wrapped(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            asked = ChatRequest(model=name + request.model, messages=request.messages)
            async for event in source(asked, run):
                yield event
                if isinstance(event, Started):
                    yield Note("stage", name)

        return wrapped

    return stage


def test_a_source_without_stages_is_the_source_itself() -> None:
    assert compose(plain, ()) is plain


@pytest.mark.parametrize("names", ["a", "ab", "cab"])
async def test_the_first_stage_is_the_outermost(names: str) -> None:
    composed = compose(plain, [saying(name) for name in names])
    events = [event async for event in composed(ASKED, SoloRun())]
    # The request meets them from the outside to the source, the events from the source to the outside.
    inner_to_outer = names[::-1]
    assert events == [
        STARTED,
        *(Note("stage", name) for name in names),
        Note("asked", inner_to_outer + "demo"),
        Finished(),
    ]
