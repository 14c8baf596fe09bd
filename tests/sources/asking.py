"""Asks a source by itself, without a server around it."""

from collections.abc import AsyncGenerator

from penstock.core.errors import Broken
from penstock.core.events import Delta, Event, Json
from penstock.core.request import ChatRequest
from penstock.core.source import Source
from penstock.testing.sources import SoloRun

SECRET = "sk-secret"
"""The key of every provider."""


def question(prompt: str = "What is a penstock?", **params: Json) -> ChatRequest:
    return ChatRequest(model="any", messages=({"role": "user", "content": prompt},), params=params)


def ask(
    source: Source, request: ChatRequest | None = None, *, run: SoloRun | None = None
) -> AsyncGenerator[Event, None]:
    return source(request or question(), run or SoloRun())


async def heard(stream: AsyncGenerator[Event, None]) -> tuple[list[Event], Broken | None]:
    """Every event, and the failure the stream ended with, if it did."""
    events: list[Event] = []
    try:
        async for event in stream:
            events += (event,)
    except Broken as problem:
        return events, problem
    finally:
        await stream.aclose()
    return events, None


async def failure(source: Source, request: ChatRequest | None = None) -> tuple[str, str]:
    """The text said before the source failed, and the code it failed with; `SECRET` is quoted nowhere."""
    events, broken = await heard(ask(source, request))
    assert broken is not None
    assert SECRET not in broken.fault.message
    return text(events), broken.fault.code


def text(events: list[Event], part: int | None = None) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and part in (None, event.part))
