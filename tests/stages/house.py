"""A house of targets whose every answer is written by the test, and a run that asks them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from penstock.core.cursor import Entry
from penstock.core.errors import Broken
from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started, Usage
from penstock.core.health import Health
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House, Target
from penstock.stages import continuation, fallback, hedge, queue, retry, routing, usage
from penstock.stages.hedge import Hedging
from penstock.stages.queue import Turnstile
from penstock.stages.sticky import Sticky
from penstock.testing.sources import SoloRun
from tests.flow.scripted import Clock

Answer = Sequence[Event | Exception]

STARTED = Started("st_solo", "m", 0)
ASKED = ChatRequest(model="fast", messages=({"role": "user", "content": "hi"},))


def saying(*words: str) -> Answer:
    """A good answer."""
    return [
        STARTED,
        Opened(0, "text"),
        *(Delta(0, word) for word in words),
        Closed(0),
        Usage(3, len(words), "reported"),
        Finished(),
    ]


def refusing(
    code: str = "provider_unreachable", *, after: Sequence[Event] = (STARTED,), retry_after: float | None = None
) -> Answer:
    """An answer that breaks."""
    return [*after, Broken(code, retry_after=retry_after)]


class Scripted:
    """A target that gives the answers it was told to, one for each time it is asked; the last one for ever."""

    def __init__(self, *answers: Answer):
        self.answers = list(answers)
        self.asked: list[ChatRequest] = []
        self.closed = 0

    async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            for said in answer:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.closed += 1


def house(clock: Clock | None = None, **sources: Source | Target) -> House:
    """A house of these targets."""
    targets = {
        name: msgspec.structs.replace(it, name=name) if isinstance(it, Target) else Target(name=name, source=it)
        for name, it in sources.items()
    }
    health = {name: Health() for name in targets}
    return House(model="fast", targets=targets, health=health, clock=clock or Clock(), random=random.Random(7))


async def told(
    source: Source, request: ChatRequest = ASKED, run: SoloRun | None = None
) -> tuple[list[Event], Broken | None]:
    """Everything a source says, and what it broke with."""
    said: list[Event] = []
    run = run or SoloRun()
    try:
        async with aclosing(source(request, run)) as events:
            async for event in events:
                if isinstance(event, Usage) and run.account is not None:
                    event = run.account(event)
                said.append(event)
                run.folder.add(Entry(len(said), len(said), 0, event))
    except Broken as problem:
        return said, problem
    return said, None


def words(said: Iterable[Event]) -> str:
    """The text of it."""
    return "".join(event.text for event in said if isinstance(event, Delta))


async def _at_once(seconds: float) -> None:
    """A pause between two attempts, which takes no time here."""
    await asyncio.sleep(0)


STAGES: dict[str, Callable[[House], Stage]] = {
    "routing": lambda home: routing.build(routing.Router(home, "auto", sticky=Sticky())),
    "continuation": continuation.build,
    "fallback": fallback.build,
    "hedge": partial(hedge.build, how=Hedging(least=0.0)),
    "usage": usage.build,
    "queue": lambda home: queue.build(home, {name: Turnstile(1, line=1) for name in home.targets}),
    "retry": partial(retry.build, sleep=_at_once),
}
"""Every stage of a model, without pauses."""
