"""A cassette as a source: says what a recorded run said, at its own pace, at another, or at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec

from penstock.core.cassette import Cassette, load
from penstock.core.events import TERMINAL, Event, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source

TURN = 64
"""Events after which the loop gets a turn, where nothing is waited for."""


def build(path: str | Path, *, speed: float = 1.0) -> Source:
    """A source that plays the cassette at `path`, `speed` times as fast as it was recorded; 0 is at once.

    Raises `ValueError` for a file that cannot be read or is no cassette.
    """
    try:
        return playing(load(Path(path).read_bytes()), speed=speed)
    except OSError as wrong:
        raise ValueError(f"cassette:{path} cannot be read: {wrong.strerror}") from None
    except ValueError as wrong:
        raise ValueError(f"cassette:{path}: {wrong}") from None


def playing(cassette: Cassette, *, speed: float = 1.0) -> Source:
    """A source that plays a cassette."""

    async def replay(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        async with aclosing(played(cassette, speed=speed)) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield msgspec.structs.replace(event, run=run.id, created=run.created)
                else:
                    yield event

    return replay


async def played(cassette: Cassette, *, speed: float = 1.0) -> AsyncGenerator[Event, None]:
    """The events of a cassette, each when it is due."""
    now = asyncio.get_running_loop().time
    began = now()
    for number, line in enumerate(cassette.lines):
        if speed > 0 and (wait := began + line.at / 1000 / speed - now()) > 0:
            await asyncio.sleep(wait)
        elif number % TURN == 0:
            await asyncio.sleep(0)
        yield line.event
        if isinstance(line.event, TERMINAL):
            return
