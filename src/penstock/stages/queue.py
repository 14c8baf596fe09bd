"""So many runs at once for a target, and a bounded line before it: fair between principals, left without a trace, honest when full."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from penstock.core.errors import Broken
from penstock.core.events import Event, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House


class Turnstile:
    """`places` runs go through at once, and `line` more wait: first come, first served, the principals in turns."""

    def __init__(self, places: int, *, line: int):
        self._places = places
        self._line = line
        self._taken = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    async def enter(self, who: str) -> None:
        """Take a place, or wait for one. Raises `Broken(target_busy)` where the line is full."""
        if self._taken < self._places:
            self._taken += 1
            return
        if self.waiting >= self._line:
            raise Broken("target_busy", retry_after=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # its turn had come just then
            else:
                self._forget(who, turn)
            raise

    def leave(self) -> None:
        """Give a place back: it is the turn of the principal that waits longest since its last one."""
        while self._waiting:
            who, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            self.waiting -= 1
            if turns:
                self._waiting[who] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    def _forget(self, who: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(who)
        if turns is not None and turn in turns:
            turns.remove(turn)
            self.waiting -= 1
            if not turns:
                del self._waiting[who]


def build(house: House, turnstiles: Mapping[str, Turnstile]) -> Stage:
    """The stage for one model; a target without a turnstile takes whatever comes."""
    first = next(iter(house.targets))

    def stage(source: Source) -> Source:
        def queueing(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            name = request.targets[0] if request.targets else first
            turnstile = turnstiles.get(name)
            return source(request, run) if turnstile is None else Relay(_enter(source, request, run, turnstile, name))

        return queueing

    return stage


async def _enter(
    source: Source, request: ChatRequest, run: Run, turnstile: Turnstile, name: str
) -> AsyncGenerator[Event | Rest, None]:
    before = turnstile.waiting
    await turnstile.enter(run.principal.name)
    try:
        async with aclosing(source(request, run)) as events:
            if before:
                yield Note("queue", {"target": name, "behind": before})
            yield Rest(events)
    finally:
        turnstile.leave()
