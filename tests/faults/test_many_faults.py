"""Four targets of one model, each of which may fail whenever it is asked, at any place of its answer and in any way: what several of
them do to one answer together.

Whatever they do, an answer that ends well is whole, one that does not is told so and holds no word that is not the answer's, and in
the end nobody holds a connection, a place in line or a target. What fails where is drawn from a fixed seed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import httpx2

from penstock.config.model import Config
from penstock.config.models import ModelConfig, RetryConfig, TargetConfig
from penstock.config.units import Seconds
from penstock.testing.script import (
    Body,
    Cut,
    End,
    Event,
    Hang,
    Head,
    Reply,
    Reset,
    Step,
    answer,
    chunk,
    event_bytes,
    text,
    usage_of,
)
from penstock.testing.upstream import Connection, Provider, Request
from tests.chaos import CHAOS
from tests.faults.reading import unwatched
from tests.serving import configured, serving
from tests.waiting import until

ROUNDS = 200 if CHAOS else 15
AT_ONCE = 4
SEED = 6
ILL = 0.6
"""Of the answers that are asked of a target fail so many."""
STOP = "stop"
"""What is asked by whoever leaves after the first word."""
WHOLES = (
    "The quick brown fox 🦊 jumps over the lazy dög, and nobody in the whole wood minds. It slept till noon, woke, and ran on.",
    "def f(x):\n    if x:\n        return 1\n    return 2\n\n\ndef g(y):\n    for i in range(10):\n        print(i, y)\n",
    "| name | value |\n| --- | --- |\n| a | 1 |\n| b | 2 |\n| c | 3 |\n\nThat is all the table has to say about it.",
    "今天天气很好，我们去公园散步吧。公园里有很多花，也有很多人。大家都很高兴，因为春天来了。",
)
REPEATED = (0, 0, 0, 12, 25, 1_000_000)
"""Characters of the answer so far that whoever goes on with it says once more."""
DOWN: Any = {"error": {"message": "out of order", "type": "server_error"}}
REFUSALS = (
    Reply(status=503, body=DOWN),
    Reply(status=429, headers={"Retry-After": "0"}, body=DOWN),
    Reply(headers={"Content-Type": "text/html"}, body=b"<html>"),
)
BREAKS: tuple[list[Step], ...] = (
    [Cut()],
    [Reset()],
    [End()],
    [Event("[DONE]"), End()],
    [Event(DOWN), End()],
    [Body(b"data: nonsense\n\n"), Cut()],
    [Body(event_bytes(chunk({"content": "🦊🦊"}))[:-9]), Cut()],
)


class Playing:
    """Targets that know the whole answer, go on from what they are shown of it, and fail as it is drawn."""

    def __init__(self, draw: random.Random):
        self._draw = draw
        self.whole = WHOLES[0]
        self.hung: list[Connection] = []
        """Where somebody fell silent in mid-answer until the reader had enough."""

    def __call__(self, request: Request) -> list[Step]:
        draw, whole = self._draw, self.whole
        so_far = "".join(each["content"] for each in request.json["messages"] if each["role"] == "assistant")
        assert whole.startswith(so_far)
        rest = whole[max(0, len(so_far) - draw.choice(REPEATED)) :] if so_far else whole
        size = draw.randint(1, 9)
        pieces = [rest[at : at + size] for at in range(0, len(rest), size)]
        if draw.random() < ILL:
            if draw.random() < 1 / 3:
                return [draw.choice(REFUSALS)]
            return [Head(), *map(text, pieces[: draw.randint(0, len(pieces))]), *draw.choice(BREAKS)]
        if request.json["messages"][0]["content"] == STOP:
            self.hung.append(request.connection)
            return [Head(), *map(text, pieces[:1]), Hang()]
        return answer(*pieces, usage=usage_of(3, len(pieces)))


async def heard(client: httpx2.AsyncClient, prompt: str) -> tuple[str, str]:
    """The text of one answer and how it ended; one to `STOP` is cancelled after its first word, if it has one."""
    said, last = [], ""
    async with client.stream("POST", "/v1/streams", json={"model": "fast", "prompt": prompt, "stream": True}) as told:
        async for line in told.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                last = event["type"]
                said.append(event["text"] if last == "delta" else "")
                if said[-1] and prompt == STOP:
                    await client.delete(f"/v1/streams/{told.headers['penstock-stream-id']}")
    return "".join(said), last


async def test_what_ends_well_is_whole_and_what_does_not_says_so_whatever_several_targets_do() -> None:
    draw = random.Random(SEED)
    playing = Playing(draw)
    ends: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(Provider().listening()) for _ in range(4)]
        for provider in providers:
            provider.unscripted = playing
        names = [f"{provider.base_url}#{name}" for provider, name in zip(providers, "abcd", strict=True)]
        config = Config(
            models={
                "fast": ModelConfig(
                    targets=tuple(names), retry=RetryConfig(attempts=2, base=Seconds(0.001)), hedge=True
                )
            },
            targets={names[1]: TargetConfig(continues="prefill"), names[2]: TargetConfig(concurrent=2, queue=1)},
        )
        served = await stack.enter_async_context(serving(configured(config, heartbeat=Seconds(3600))))
        unwatched(served)
        client = await stack.enter_async_context(served.client())
        for number in range(ROUNDS):
            playing.whole = whole = draw.choice(WHOLES)
            prompts = ["go on"] * (AT_ONCE - 1) + [STOP if number % 2 else "go on"]
            for said, end in await asyncio.gather(*(heard(client, prompt) for prompt in prompts)):
                assert whole.startswith(said)
                assert end != "finished" or said == whole
                ends[end] += 1
        await until("whoever hung was left", lambda: all(each.peer_gone.is_set() for each in playing.hung))
        metrics = await client.get("/metrics")
    flying = [line for line in metrics.text.splitlines() if line.startswith("penstock_target_in_flight{")]
    assert [line.rpartition(" ")[2] for line in flying] == ["0.0"] * 4
    assert set(ends) == {"finished", "failed", "cancelled"}
