"""One run, read at the same moment by clients of different makers, each in its own dialect, and each to the same end."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.clients.openai_sdk import SCRIPT
from tests.clients.program import program
from tests.clients.reader import reader
from tests.fakes.provider import Provider
from tests.fakes.script import Cut, Gate, Step, closing, opening, text
from tests.live.node_clients import node_client
from tests.serving import Served, serving, upstream
from tests.tools import NODE_CLIENTS

pytestmark = pytest.mark.needs("node", "curl")

WORDS = ["one", " zwö", " 三", " 👋🏽"]


class Listener:
    """What one client has told so far, read in a task of its own."""

    def __init__(self, words: AsyncIterator[str]) -> None:
        self.text = ""
        self._over = False
        self._more = asyncio.Condition()
        self.task = asyncio.ensure_future(self._listen(words))

    async def _listen(self, words: AsyncIterator[str]) -> None:
        try:
            async for word in words:
                async with self._more:
                    self.text += word
                    self._more.notify_all()
        finally:
            async with self._more:
                self._over = True
                self._more.notify_all()

    async def has(self, wanted: str) -> None:
        """Wait until it has told this much. Fails where it ends before."""
        async with self._more:
            await self._more.wait_for(lambda: self.text == wanted or self._over)
        assert self.text == wanted


async def as_openai(served: Served, ends: dict[str, Any]) -> AsyncIterator[str]:
    asked = [f"{served.url}/v1", "--model", "fake"]
    async for line in reader(sys.executable, SCRIPT).lines(asked):
        ends["openai"] = line
        for choice in line.get("choices", []):
            yield choice["delta"].get("content") or ""


async def as_anthropic(served: Served, run: str, ends: dict[str, Any]) -> AsyncIterator[str]:
    path = f"/v1/streams/{run}/events?dialect=anthropic"
    asked = {"url": served.url, "how": "join", "path": path}
    async for line in reader("node", NODE_CLIENTS / "anthropic.mjs").lines(asked):
        ends["anthropic"] = line
        yield line.get("event", {}).get("delta", {}).get("text") or ""


async def as_eventsource(served: Served, run: str, ends: dict[str, Any]) -> AsyncIterator[str]:
    async with node_client("eventsource", f"{served.url}/v1/streams/{run}/events") as node:
        while "end" not in (line := await node.next_line()):
            event = json.loads(line.get("data") or "{}")
            ends["eventsource"] = event
            yield event.get("text", "")


async def as_curl(served: Served, run: str, ends: dict[str, Any]) -> AsyncIterator[str]:
    url = f"{served.url}/v1/streams/{run}/events"
    async with program("curl", "-q", "--noproxy", "*", "-sN", "-H", "Accept: text/plain", url) as shown:
        for word in WORDS:
            await shown.shows(word)
            yield word
        ends["curl"] = await shown.ended()


async def listened(served: Served, provider: Provider, last: list[Step]) -> dict[str, Any]:
    """Let every client hear each word before the next is said, then the provider do its `last`; how it ended for each."""
    gates = [Gate() for _ in WORDS]
    said: list[Step] = [step for word, gate in zip(WORDS, gates, strict=True) for step in (text(word), gate)]
    provider.script(opening(), said, last)
    ends: dict[str, Any] = {}
    listeners = [Listener(as_openai(served, ends))]
    await listeners[0].has(WORDS[0])
    run = served.only.id
    listeners += [Listener(each(served, run, ends)) for each in (as_anthropic, as_eventsource, as_curl)]
    heard = ""
    for word, gate in zip(WORDS, gates, strict=True):
        heard += word
        for listener in listeners:
            await listener.has(heard)
        gate.open()
    await asyncio.gather(*(listener.task for listener in listeners))
    assert len(provider.requests) == 1
    return ends


@pytest.fixture
async def served(provider: Provider) -> AsyncIterator[Served]:
    async with serving(upstream(provider.base_url)) as server:
        yield server


async def test_a_run_begun_by_openai_is_read_at_once_by_anthropic_an_eventsource_and_curl(
    served: Served, provider: Provider
) -> None:
    ends = await listened(served, provider, closing())
    assert (ends["openai"], ends["anthropic"]) == ({"end": "complete"}, {"end": "complete"})
    assert (ends["eventsource"]["type"], ends["curl"]) == ("finished", 0)


async def test_an_answer_that_breaks_off_is_an_error_to_each_of_them(served: Served, provider: Provider) -> None:
    ends = await listened(served, provider, [Cut()])
    assert (ends["openai"]["error"], ends["openai"]["code"]) == ("APIError", "provider_truncated")
    assert ends["anthropic"]["error"] == "APIError"
    assert ends["eventsource"]["error"]["code"] == "provider_truncated"
    assert ends["curl"] == 18
