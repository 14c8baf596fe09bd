"""A source of which a stage says the beginning itself and leaves the rest to the source behind it, at no cost per event.

A stage that waits for the first word, as a retry does, has nothing to do after it. An async generator in between would cost
every token a suspension more; a relay costs it a call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from penstock.core.events import Event


class Rest:
    """Said by a prelude as its last word: what follows comes from `events`. The prelude stays open, and closes it."""

    __slots__ = ("events",)

    def __init__(self, events: AsyncGenerator[Event, None]):
        self.events = events


class Relay(AsyncGenerator[Event, None]):
    """The events of a prelude, then those of the source it leaves the rest to."""

    __slots__ = ("_next", "_prelude")

    def __init__(self, prelude: AsyncGenerator[Event | Rest, None]):
        self._prelude = prelude
        self._next: Callable[[], Awaitable[Event]] = self._first

    async def _first(self) -> Event:
        event = await anext(self._prelude)
        if not isinstance(event, Rest):
            return event
        rest = event.events
        self._next = rest.__anext__
        first = await self._next()
        if isinstance(rest, Relay) and rest._next != rest._first:
            self._next = rest._next  # it is at its rest by now too: relays within relays cost an event one call in all
        return first

    def __anext__(self) -> Any:
        return self._next()

    async def asend(self, value: None) -> Event:
        return await self._next()

    async def athrow(self, *problem: Any) -> Event:
        """Of no use to anybody who iterates; the class it stands for demands it."""
        await self._prelude.athrow(*problem)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the prelude, which closes the rest."""
        await self._prelude.aclose()
