"""Two real llama.cpp servers behind one model, of which one is stopped, killed and started again: answers go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import Seconds
from penstock.flow.handle import RunHandle
from tests.faults.reading import unwatched
from tests.live.answering import Told, answering
from tests.live.llama import ENDLESS, llama_process, slots_idle
from tests.serving import Served, configured, serving
from tests.waiting import until

pytestmark = pytest.mark.needs("llama")

ASKED: Mapping[str, object] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello world"}],
    "stream": True,
}
SHORT: Mapping[str, object] = {**ASKED, "max_tokens": 5, "ignore_eos": True}


class Pair:
    """The two servers. The first can be started again where it was."""

    def __init__(self, stack: ExitStack):
        self._stack = stack
        self.first_url, self.first = stack.enter_context(llama_process(slots=2))
        self.second_url, _ = stack.enter_context(llama_process(slots=2))

    def restart(self) -> None:
        """Start the first again, on its port."""
        _, self.first = self._stack.enter_context(llama_process(slots=2, port=urlsplit(self.first_url).port or 0))


@pytest.fixture(scope="module")
def pair() -> Generator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


@pytest.fixture
async def served(pair: Pair) -> AsyncGenerator[Served]:
    names = (f"{pair.first_url}#first", f"{pair.second_url}#second")
    config = configured(Config(models={"tiny": ModelConfig(targets=names)}), heartbeat=Seconds(3600))
    async with serving(config) as server:
        unwatched(server)
        yield server
    await slots_idle(pair.second_url)


def joints(run: RunHandle) -> list[tuple[str, str]]:
    """How the run came to another target, and after what."""
    bodies: list[tuple[str, Any]] = [(note.topic, note.body) for note in run.said().notes]
    return [(topic, body["after"]) for topic, body in bodies if "to" in body]


async def goes_on(served: Served, pair: Pair, ill: signal.Signals, *, overdue: float = 0) -> str:
    """Ill-treat the first server in mid-answer; the code of what became of it, once the second has said a hundred words more."""
    async with answering(served.url, "ws", {**ASKED, **ENDLESS}) as reading:
        await reading.first()
        run = served.run(reading.stream)
        assert run.target == "first"
        pair.first.send_signal(ill)
        rest = asyncio.ensure_future(reading.rest())
        if overdue:
            served.tick(overdue)
        await until("another goes on", lambda: len(joints(run)) == 1)
        joint = run.log.last
        await until("it says more", lambda: run.log.last > joint + 100)
        assert run.target == "second"
        await reading.cancel()
        told = await rest
    assert told == Told(run.said().text(), "cancelled")
    ((how, code),) = joints(run)
    assert how == "continuation"
    return code


async def answers(served: Served) -> tuple[str, str]:
    """Who answers a short question, and how that ends."""
    async with answering(served.url, "sse", SHORT) as reading:
        told = await reading.rest()
    return served.run(reading.stream).target, told.end


async def test_a_server_that_is_stopped_in_mid_answer_is_followed_by_the_other(served: Served, pair: Pair) -> None:
    assert await goes_on(served, pair, signal.SIGSTOP, overdue=121) == "gap_timeout"
    pair.first.send_signal(signal.SIGCONT)
    await slots_idle(pair.first_url)


async def test_a_server_that_is_killed_in_mid_answer_is_followed_by_the_other_until_it_is_back(
    served: Served, pair: Pair
) -> None:
    assert await goes_on(served, pair, signal.SIGKILL) == "provider_truncated"
    assert [await answers(served) for _ in range(6)] == [("second", "finished")] * 6
    await asyncio.to_thread(pair.restart)

    async def is_back() -> bool:
        return await answers(served) == ("first", "finished")

    await until("a probe has found the first well again", is_back)
    assert [await answers(served) for _ in range(3)] == [("first", "finished")] * 3
    await slots_idle(pair.first_url)
