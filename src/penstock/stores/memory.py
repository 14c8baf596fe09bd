"""The embedded store: dictionaries in this process. Nothing outlives it, and nobody else sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from penstock.core.cursor import Entry
from penstock.core.events import TERMINAL
from penstock.flow.store import Claim, Fenced


class _Held:
    __slots__ = ("cancelled_by", "entries", "expires", "fence", "owner", "pushed")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.owner: str | None = None
        self.fence = 0
        self.expires = 0.0
        self.cancelled_by: str | None = None
        self.pushed: asyncio.Event | None = None
        """Made by the first that waits for more: most runs are never tailed, and an event is 760 bytes."""

    def wake(self) -> None:
        """Let whoever tails look again."""
        if self.pushed is not None:
            self.pushed.set()
            self.pushed = None


class MemoryStore:
    """Keeps the contract of `penstock.flow.store.Store` for one process. `clock` gives seconds, monotonic."""

    shared: bool = False

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._runs: dict[str, _Held] = {}

    async def claim(self, run: str, owner: str, lease: float) -> Claim:
        held = self._runs.setdefault(run, _Held())
        if held.owner not in (None, owner) and held.expires > self._clock():
            raise Fenced(run)
        held.owner = owner
        held.fence += 1
        held.expires = self._clock() + lease
        return Claim(run, owner, held.fence, "a1")

    async def push(self, claim: Claim, entries: Sequence[Entry]) -> None:
        held = self._owned(claim)
        last = held.entries[-1].last if held.entries else 0
        fresh = [entry for entry in entries if entry.last > last]
        for entry in fresh:
            if entry.first != last + 1:
                raise ValueError(f"a hole before offset {entry.first} of {claim.run}: {last} is the last one held")
            last = entry.last
        held.entries.extend(fresh)
        held.wake()

    async def tail(self, run: str, after: int) -> AsyncGenerator[Entry, None]:
        held = self._runs.get(run)
        index = 0
        while held is not None:
            while index < len(held.entries):
                entry = held.entries[index]
                index += 1
                if entry.last > after:
                    yield entry
                if isinstance(entry.event, TERMINAL):
                    return
            if held.pushed is None:
                held.pushed = asyncio.Event()
            await held.pushed.wait()
            if self._runs.get(run) is not held:
                return

    async def renew(self, claim: Claim, lease: float) -> None:
        self._owned(claim).expires = self._clock() + lease

    async def release(self, claim: Claim) -> None:
        held = self._runs.get(claim.run)
        if held is not None and held.fence == claim.fence:
            held.owner = None

    async def orphans(self) -> list[str]:
        now = self._clock()
        return [
            run
            for run, held in self._runs.items()
            if held.fence
            and (held.owner is None or held.expires <= now)
            and not (held.entries and isinstance(held.entries[-1].event, TERMINAL))
        ]

    async def ask_cancel(self, run: str, by: str) -> None:
        if (held := self._runs.get(run)) is not None:
            held.cancelled_by = by

    async def cancels(self, claim: Claim) -> str | None:
        return self._owned(claim).cancelled_by

    async def forget(self, run: str) -> None:
        if (held := self._runs.pop(run, None)) is not None:
            held.wake()

    def _owned(self, claim: Claim) -> _Held:
        held = self._runs.get(claim.run)
        if held is None or held.fence != claim.fence or held.owner != claim.owner:
            raise Fenced(claim.run)
        return held
