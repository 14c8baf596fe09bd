"""What all stages of a model together add to a token: no task, no timer. And to a request: nothing that is left for the collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.source import compose
from penstock.core.target import switch
from penstock.flow.policy import OnDisconnect, Policy
from penstock.flow.runs import Runs
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import ASKED, Clock, held
from tests.stages.house import STAGES, house


class Counting(asyncio.SelectorEventLoop):
    """An event loop that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = self.timers = 0
        self.set_task_factory(self._task)

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        self.tasks += 1
        return asyncio.Task(coroutine, loop=loop, **more)

    def call_at(self, *given: Any, **more: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers += 1
        return super().call_at(*given, **more)


async def spoken(tokens: int) -> int:
    """How many events a run has said through every stage, hedging included, of an answer that waits before each of its tokens."""

    async def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield Started(run.id, "m", 0)
        await asyncio.sleep(0)
        yield Opened(0, "text")
        for _ in range(tokens):
            await asyncio.sleep(0)
            yield Delta(0, "word ")
        yield Closed(0)
        yield Finished()

    home = house(None, a=source, b=source)
    for health in home.health.values():
        for _ in range(10):
            health.first(0.0)
    clock = Clock()
    runs = Runs(MemoryStore(clock=clock), clock=clock)
    stages = [
        STAGES[name](home) for name in ("usage", "routing", "continuation", "hedge", "fallback", "retry", "queue")
    ]
    policy = Policy(on_disconnect=OnDisconnect("finish", 0))
    handle = await runs.start(ASKED, compose(switch(home), stages), policy, principal=Principal())
    await handle.pump.closed()
    said = [entry.event for entry in held(handle.log)]
    await runs.close()
    assert isinstance(said[-1], Finished)
    return sum(isinstance(event, Delta) for event in said)


def counted(tokens: int) -> tuple[int, int]:
    """The tasks and the timers of a run with so many tokens."""
    with asyncio.Runner(loop_factory=Counting) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Counting)
        assert runner.run(spoken(tokens)) == tokens
        return loop.tasks, loop.timers


@pytest.mark.parametrize("tokens", [50, 3_000])
def test_no_stage_adds_a_task_or_a_timer_to_a_token(tokens: int) -> None:
    assert counted(tokens) == counted(1)


def routed() -> int:
    """How many requests there are that a stage has chosen targets for, be they in use or garbage that was not collected yet."""
    return sum(type(each) is ChatRequest and each.targets != () for each in gc.get_objects())


def test_a_request_that_is_over_is_gone_from_every_stage_without_the_collector() -> None:
    gc.collect()
    before = routed()
    gc.disable()
    try:
        assert asyncio.run(spoken(1)) == 1
        assert routed() == before
    finally:
        gc.enable()
