"""Sources for a server in a process of its own that misbehave until they are noticed: one eats memory, one holds the event loop."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from penstock.server.memory import bounded

MiB = 1024 * 1024
TOO_MUCH = 0.93
"""Of the limit: more than is let pass, and less than kills."""

MODELS = """
[models.swell]
targets = ["tests.faults.pressure:swell"]
[models.hold]
targets = ["tests.faults.pressure:hold"]
[models.delay]
targets = ["tests.faults.pressure:delay"]
[models.count]
targets = ["tests.faults.endless:count"]
"""


def words(request: Any) -> str:
    return str(request.messages[-1]["content"])


async def swell(request: Any) -> AsyncGenerator[str, None]:
    """Take memory until nearly all of `SIZE` MiB is used, or of what the control group allows where it is 0; hold it until cancelled."""
    memory = bounded(int(words(request)) * MiB)
    assert memory is not None
    held: list[bytearray] = []
    used, most = memory.reading()
    while used < TOO_MUCH * most:
        held.append(bytearray(b"x" * MiB))
        used, most = memory.reading()
        await asyncio.sleep(0)
    yield f"swollen {len(held)}"
    await asyncio.Event().wait()


async def hold(request: Any) -> AsyncGenerator[str, None]:
    """Hold the loop, as no source should, until the server's log (a path) names this function for it."""
    log = Path(words(request))
    while not named(log):
        computes(log)
        await asyncio.sleep(
            0.2
        )  # where the machine itself had just held the loop up, that is told; this is another time
    yield "let go"


async def delay(request: Any) -> AsyncGenerator[str, None]:
    """Hold the loop for most of the time, until there is a file of this name."""
    nobody_sets_it = threading.Event()
    while not os.path.exists(words(request)):  # noqa: ASYNC240, PTH110 - to hold the loop is what it is for
        nobody_sets_it.wait(1.4)
        await asyncio.sleep(0.05)
    yield "in time again"


def computes(log: Path) -> None:
    nobody_sets_it = threading.Event()
    until = time.monotonic() + BOUT
    while not named(log) and time.monotonic() < until:
        nobody_sets_it.wait(0.01)


def named(log: Path) -> bool:
    return any("the event loop is held" in line and " in computes" in line for line in log.read_text().splitlines())


BOUT = 2.0
"""Seconds for which the loop is held at a time."""
