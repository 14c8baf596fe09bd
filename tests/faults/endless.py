"""Sources for a server in a process of its own: `python:function` models that count, and one that tells what the process holds.

The prompt says what to do: `count 1000` says the numbers from 0 to 999, `count` goes on for ever. Any reader of it can prove that
nothing is missing, repeated or out of order.
"""

import asyncio
import ctypes
import gc
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from penstock.core.errors import Broken
from penstock.core.measure import Histogram

ENVIRON = {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
}
"""What a server's process needs to find this module."""

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def missing(text: str, count: int | None = None) -> str:
    """What is wrong with the numbers that a reader has, the last of which may be cut; empty where nothing is."""
    numbers = text.split(" ")[:-1]
    expected = [*map(str, range(len(numbers)))]
    if numbers != expected:
        at = next(at for at, number in enumerate(numbers) if number != expected[at])
        return f"after {at} numbers came {numbers[at]!r}"
    return "" if count is None or len(numbers) == count else f"{len(numbers)} numbers of {count}"


async def count(request: Any) -> AsyncGenerator[str, None]:
    """Numbers, ten at a time, each with a space behind it, without a pause."""
    _, _, most = str(request.messages[-1]["content"]).partition(" ")
    first = 0
    while not most or first < int(most):
        yield "".join(f"{number} " for number in range(first, first + 10))
        first += 10
        if first % 640 == 0:
            await asyncio.sleep(0)


async def held(request: Any) -> AsyncGenerator[str, None]:
    """What this process holds, as one JSON object: tasks, open files, resident bytes, and living objects of ours by type."""
    yield json.dumps(_held())


def _held() -> dict[str, Any]:
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)  # glibc keeps what was freed until it is asked
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    kinds = (type(each) for each in gc.get_objects())
    # Not what counts: of that there is one for each label, from the first time it is needed.
    ours = Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("penstock.") and kind is not Histogram)
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "resident": pages * PAGE,
        "objects": dict(ours),
    }


async def broken(request: Any) -> AsyncGenerator[str, None]:
    """A few numbers, and then the provider gives up."""
    yield "0 1 2 "
    raise Broken("provider_truncated", "it gave up, as it was told to")


async def silent(request: Any) -> AsyncGenerator[str, None]:
    """Says nothing until it is cancelled."""
    await asyncio.get_running_loop().create_future()
    yield ""
