"""Sources for a server in a process of its own that misbehave until they are noticed: one eats memory, one holds the event loop."""

import asyncio
import threading
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
    """Hold the loop, as no source should, until the server's log (a path) says that it is held."""
    log = Path(words(request))
    nobody_sets_it = threading.Event()
    while "the event loop is held" not in log.read_text():  # noqa: ASYNC240 - to block is what it is for
        nobody_sets_it.wait(0.01)
    yield "let go"
