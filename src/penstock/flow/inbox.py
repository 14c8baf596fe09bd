"""What clients say in mid-run, on its way to the source: bounded, and refused where the source does not listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from penstock.core.errors import Refused
from penstock.core.events import Json

CAPACITY = 16
"""Inputs a source may leave unread."""


class BoundedInbox:
    """One run's input. The source opens it and iterates; the run puts."""

    __slots__ = ("_arrived", "_closed", "_items", "_opened")

    def __init__(self) -> None:
        self._items: list[Json] = []
        self._opened = self._closed = False
        self._arrived: asyncio.Future[None] | None = None

    def open(self) -> None:
        self._opened = True

    def waiting(self) -> Json:
        return self._items.pop(0) if self._items else None

    def __aiter__(self) -> AsyncIterator[Json]:
        return self._receive()

    async def _receive(self) -> AsyncIterator[Json]:
        self.open()
        while True:
            while self._items:
                yield self._items.pop(0)
            if self._closed:
                return
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def check(self) -> None:
        """Raise `Refused` where an input could not be put now."""
        if not self._opened or self._closed:
            raise Refused("input_not_accepted")
        if len(self._items) >= CAPACITY:
            raise Refused("input_full")

    def put(self, item: Json) -> None:
        """Hand an input to the source. Call `check` first."""
        self._items.append(item)
        self._wake()

    def close(self) -> None:
        """The run has ended; whoever iterates is let go."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
