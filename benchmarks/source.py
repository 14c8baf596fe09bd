"""A provider inside the server's own process: the async generator behind `--model benchmarks.source:feed`.

It does what the order in the prompt asks for, in the words of `native/marker.h`, so that `load` checks its tokens as it does
those of the mock upstream. Without a socket to a provider, what a stream costs is what penstock keeps of it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator

from penstock.core.request import ChatRequest, Run

ORDER = re.compile(r"bench\(tokens=(\d+) rate=([\d.]+) first_ms=(\d+) pad=(\d+) stream=(\d+)\)")
HELD = "not before the first input"


def order(*, tokens: int, rate: float = 0, first_ms: int = 0, pad: int = 0, stream: int = 1, held: bool = False) -> str:
    """The text that asks for such a stream; `rate` in tokens per second, 0 as fast as they are taken. When it is `held` its
    time begins with the first input that the run is given."""
    words = f"bench(tokens={tokens} rate={rate:f} first_ms={first_ms} pad={pad} stream={stream})"
    return f"{words} {HELD}" if held else words


async def feed(request: ChatRequest, run: Run) -> AsyncGenerator[str]:
    """The tokens that were ordered, each with its number and the time at which it was said."""
    said = ORDER.search(request.prompt)
    if said is None:
        raise ValueError("the prompt holds no order; it must hold bench(tokens=… rate=… first_ms=… pad=… stream=…)")
    tokens, rate, first_ms, pad, stream = int(said[1]), float(said[2]), int(said[3]), int(said[4]), said[5]
    if HELD in request.prompt:
        run.inbox.open()
        await anext(aiter(run.inbox))
    padding = "x" * pad
    clock = time.monotonic
    due = clock() + first_ms / 1000
    for number in range(tokens):
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        yield f" ^{stream}.{number}.{time.monotonic_ns() // 1000};{padding}"
        if rate:
            due += 1 / rate
