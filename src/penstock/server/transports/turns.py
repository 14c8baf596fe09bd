"""Readers that share one socket take turns, so that a ready frame waits behind at most one turn of a flooding neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Generic, TypeVar

from penstock.server.telling import Teller

W = TypeVar("W", bytes, str | bytes)


class Lane(Generic[W]):
    """One run on a shared socket."""

    __slots__ = ("due", "handle", "pending", "reader", "teller")

    def __init__(self, teller: Teller[W, Sequence[W]], pending: Sequence[W]):
        self.handle = teller.handle
        self.reader = teller.reader
        self.teller: Teller[W, Sequence[W]] = teller
        self.pending: Sequence[W] = pending
        """Written before anything is read: a gap, re-opened parts; then what was too long for one turn."""
        self.due = False

    def take(self) -> Sequence[W]:
        """What is to be written next; empty where nothing is."""
        pending, self.pending = self.pending, ()
        return pending or self.teller.take() or ()


class Turns(Generic[W]):
    """A queue of lanes that may have something to write. One task takes from it."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane[W]] = {}
        self._due: list[Lane[W]] = []
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def add(self, lane: Lane[W]) -> None:
        """Serve a lane from now on. A run has at most one lane."""
        self.lanes[lane.handle.id] = lane
        lane.reader.on_ready = partial(self.mark, lane)
        self.mark(lane)

    def remove(self, lane: Lane[W], reason: str) -> None:
        """Serve a lane no longer, and detach its reader."""
        lane.reader.on_ready = None
        lane.teller.leave()
        self.lanes.pop(lane.handle.id, None)
        lane.reader.detach(reason)

    def mark(self, lane: Lane[W]) -> None:
        """There may be something to write: the lane joins the end of the queue, once."""
        if not lane.due:
            lane.due = True
            self._due.append(lane)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def over(self, lane: Lane[W]) -> None:
        """The turn of this lane is over. What became ready while it lasted marks nobody: look for it."""
        lane.due = False

    async def next(self) -> Lane[W]:
        """Wait for the lane whose turn it is. It joins the queue again only after its turn, behind all that became ready meanwhile."""
        while True:
            while self._due:
                lane = self._due.pop(0)
                if lane.reader.on_ready is not None:
                    return lane
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
