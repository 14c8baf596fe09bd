"""So many runs at once for a target, and a bounded line before it: fair between principals, left without a trace, honest when full.

The time in the line is not the target's: a run that waited too long is sent on, and the target is not blamed for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from penstock.core.errors import Broken
from penstock.core.events import Event, Fault, Note
from penstock.core.relay import Relay, Rest
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, Stage
from penstock.core.target import House

Overdue = Callable[[Fault], bool]
"""As `penstock.core.request.Run.attempt` takes it."""


class Turnstile:
    """`places` runs go through at once, and `line` more wait: first come, first served, the principals in turns. A
    line that is full has room for a principal that has less of it than another.
    """

    def __init__(self, places: int, *, line: int):
        self._places = places
        self._line = line
        self._taken = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    def resize(self, places: int, *, line: int) -> None:
        """From now on so many. Nobody is sent away for it: who is through stays, and who waits goes on waiting."""
        self._places, self._line = places, line
        while self._taken < self._places and self._call_next():
            self._taken += 1

    async def enter(self, who: str, watch: Callable[[Overdue], Callable[[], None]] | None = None) -> bool:
        """Take a place, or wait for one; returns whether that was needed. `watch` is told who is to be asked when it takes too
        long, and returns what takes that back. Raises `Broken(target_busy)` where the line is full, or was waited in for too
        long."""
        if self._taken < self._places:
            self._taken += 1
            return False
        if self.waiting >= self._line and not self._made_room(who):
            raise Broken("target_busy", retry_after=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        self.waiting += 1

        def overdue(_: Fault) -> bool:
            if turn.done():
                return False
            self._forget(who, turn)
            turn.set_exception(Broken("target_busy", "others were answered for too long", retry_after=1.0))
            return True

        settled = watch(overdue) if watch is not None else None
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._forget(who, turn)
            elif turn.exception() is None:
                self.leave()  # its turn had come just then
            raise
        finally:
            if settled is not None:
                settled()
        return True

    def _made_room(self, who: str) -> bool:
        """Send away the last of the principal that fills the line more than this one would: nobody keeps all others out."""
        most = max(self._waiting, key=lambda each: len(self._waiting[each]), default=who)
        if len(self._waiting.get(most, ())) <= len(self._waiting.get(who, ())) + 1:
            return False
        turn = self._waiting[most][-1]
        self._forget(most, turn)
        if not turn.done():
            turn.set_exception(Broken("target_busy", "others are to have their turn too", retry_after=1.0))
        return True

    def leave(self) -> None:
        """Give a place back: it is the turn of the principal that waits longest since its last one."""
        if self._taken > self._places or not self._call_next():
            self._taken -= 1

    def _call_next(self) -> bool:
        """Give the place of somebody who leaves to who waits; whether there was anybody."""
        while self._waiting:
            who, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            self.waiting -= 1
            if turns:
                self._waiting[who] = turns
            if not turn.done():
                turn.set_result(None)
                return True
        return False

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
    waited = await turnstile.enter(run.principal.name, run.attempt)
    settled = run.attempt(_never) if waited else None  # the target's time begins now
    try:
        async with aclosing(source(request, run)) as events:
            if waited:
                yield Note("queue", {"target": name, "behind": before})
            yield Rest(events)
    finally:
        if settled is not None:
            settled()
        turnstile.leave()


def _never(_: Fault) -> bool:
    return False
