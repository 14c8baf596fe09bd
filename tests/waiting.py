"""Wait for a state, never for a time: the one place in the suite that polls, and how long it may at most."""

import asyncio
from collections.abc import Awaitable, Callable

CEILING = 60.0
"""Seconds after which what does not happen is taken for stuck. It guards against a hang and measures nothing: a busy machine
may need many of them."""
STEP = 0.005


async def until(what: str, condition: Callable[[], bool | Awaitable[bool]], *, ceiling: float = CEILING) -> None:
    """Return as soon as `condition()` is true; fail with `what` after `ceiling` seconds.

    For states of other processes only: inside this process await the event itself.
    """
    try:
        async with asyncio.timeout(ceiling):
            while True:
                seen = condition()
                if seen if isinstance(seen, bool) else await seen:
                    return
                await asyncio.sleep(STEP)
    except TimeoutError:
        raise AssertionError(f"after {ceiling:g} s still not: {what}") from None
