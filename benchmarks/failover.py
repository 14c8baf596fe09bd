"""`python -m benchmarks.failover`: how long until another target goes on, until a cancel is at the provider, until all have refused.

Server, providers and reader share one process and one event loop, so that all times are of one clock.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from penstock.assembly import build
from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.server.host import Host
from penstock.server.listener import listen
from penstock.testing.script import Cut, Gate, Hang, Reply, Step, opening, text
from penstock.testing.upstream import Connection, Provider, going_on

ROUNDS = 20
WHOLE = "The quick brown fox jumps over the lazy dog, and nobody minds."
ASKED: dict[str, Any] = {"model": "both", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DOWN = Reply(status=500, body={"error": {"message": "out of order", "type": "server_error"}})


@asynccontextmanager
async def serving(first: Provider, second: Provider) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of a server with the model `both`, configured as it is by default."""
    names = (f"{first.base_url}#a", f"{second.base_url}#b")
    app = build(Config(models={"both": ModelConfig(targets=names)}))
    host, listener = Host(app, drain=0), listen("127.0.0.1", 0)
    host.config.load()
    host.lifespan = host.config.lifespan_class(host.config)
    await host.startup(sockets=[listener])
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            yield client
    finally:
        app.service.runs.abandon()
        await host.shutdown(sockets=[listener])


@asynccontextmanager
async def world() -> AsyncGenerator[tuple[Provider, Provider, aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(Provider().listening()) for _ in range(2)]
        second.unscripted = going_on(WHOLE)
        yield first, second, await stack.enter_async_context(serving(first, second))


async def until_said(answer: aiohttp.ClientResponse, words: bytes) -> None:
    """Read until these words have come."""
    while words not in (line := await answer.content.readline()):
        if not line:
            raise EOFError("the answer ended early")


@asynccontextmanager
async def midway(last: Step) -> AsyncGenerator[tuple[Connection, aiohttp.ClientSession, aiohttp.ClientResponse]]:
    """The first target's connection, the client, and an answer in its middle: after that the script has this one step left."""
    async with world() as (first, _, client):
        gate = Gate()
        first.script(opening(), text("The quick "), gate, last)
        async with client.post("/v1/streams", json=ASKED) as answer:
            await until_said(answer, b"quick")
            gate.open()
            yield first.connections[0], client, answer


async def hand_over() -> float:
    """Milliseconds from the death of a target in mid-answer to the next one's first new word at the reader."""
    async with midway(Cut()) as (_, _, answer):
        began = time.perf_counter()
        await until_said(answer, b"brown")
        return 1000 * (time.perf_counter() - began)


async def cancel() -> float:
    """Milliseconds from the client's DELETE to the provider seeing its connection closed."""
    async with midway(Hang()) as (connection, client, answer):
        began = time.perf_counter()
        async with client.delete(f"/v1/streams/{answer.headers['Penstock-Stream-Id']}"):
            await connection.peer_gone.wait()
        return 1000 * (time.perf_counter() - began)


async def refusal() -> float:
    """Milliseconds until a client knows that all targets refuse, each asked twice."""
    async with world() as (first, second, client):
        for provider in (first, second):
            provider.unscripted = lambda _: [DOWN]
        began = time.perf_counter()
        async with client.post("/v1/chat/completions", json=ASKED) as answer:
            if answer.status != 503:
                raise RuntimeError(f"{answer.status} for a refusal")
        return 1000 * (time.perf_counter() - began)


FIGURES: tuple[tuple[str, Callable[[], Awaitable[float]], int], ...] = (
    ("a target dies in mid-answer: the next one's first word at the reader", hand_over, 200),
    ("a cancel: the provider's connection is closed", cancel, 100),
    ("both targets answer 500: the client has its 503", refusal, 4000),
)
"""What, how it is measured, and its goal in milliseconds."""


async def main() -> None:
    """Print a table for a page: the median and the worst of all rounds."""
    print("| figure | median ms | worst ms | goal ms |\n| --- | --- | --- | --- |")
    for what, measure, goal in FIGURES:
        taken = [await measure() for _ in range(ROUNDS)]
        print(f"| {what} | {statistics.median(taken):.1f} | {max(taken):.1f} | {goal} |")


if __name__ == "__main__":
    asyncio.run(main())
