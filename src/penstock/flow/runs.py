"""The registry of runs: start, attach, cancel, input, grace, finish, retention, the end of the server.

A run belongs to the server, not to the request that began it, and to the principal on whose behalf it was begun:
for everybody else it does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from penstock.core.cursor import is_run_id, new_run_id
from penstock.core.errors import Refused, fault
from penstock.core.events import Cancelled, Failed, Json, Note
from penstock.core.lifecycle import Phase
from penstock.core.measure import Delivered
from penstock.core.observer import Observer, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.core.source import Source
from penstock.flow.admission import Admission
from penstock.flow.chats import Chats
from penstock.flow.conversations import Conversations, Turn
from penstock.flow.handle import DIRECT, RunHandle
from penstock.flow.idempotency import IdempotencyKeys
from penstock.flow.memory import Memory, short
from penstock.flow.policy import MiB, OnDisconnect, Policy
from penstock.flow.pump import CLOSING, Pump
from penstock.flow.reader import Reader
from penstock.flow.shares import Shares
from penstock.flow.store import Claim, Store

LEASE = 5.0
"""Seconds a claim on a run lasts unless it is renewed."""

FINISH = OnDisconnect("finish")

DESERTED = (Cancelled("disconnect"), Cancelled("grace"))
"""How a run ends that everybody left."""


def no_such_stream() -> Refused:
    """The one answer for everything that is not there for somebody."""
    return Refused("stream_not_found", "no such stream: it never was, has been dropped, or belongs to another key")


def _always(principal: Principal) -> bool:
    return True


class Runs:
    """All runs of this process. `max_bytes` bounds what they keep together, `max_keys` the idempotency table."""

    def __init__(
        self,
        store: Store,
        *,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_bytes: int = 1024 * MiB,
        max_runs: int = 20_000,
        max_lag: float = 2.0,
        max_keys: int = 100_000,
        memory: Memory | None = None,
    ):
        self.store = store
        self.memory = memory
        self.observer = observer or Observer()
        self.by_id: dict[str, RunHandle] = {}
        self.active: dict[str, RunHandle] = {}
        """The runs the ticker looks at: live, being read, or with a source that is still closing."""
        self._resting: dict[str, RunHandle] = {}
        """The others, which only wait to be read again or forgotten; the first of them rested first."""
        self._resting_bytes = 0
        self.kept = 0
        """Bytes all runs keep, as of the ticker's last look."""
        self.conversations = Conversations()
        self._echoed = 0
        """Bytes of requests that the answers of the runs held repeat."""
        self.chats = Chats()
        self.shares = Shares()
        self.stands: Callable[[Principal], bool] = _always
        """Whether a principal has any right left to be here; the ticker asks."""
        self.admission = Admission(max_lag=max_lag)
        self._clock = clock
        self.max_bytes = max_bytes
        self.max_runs = max_runs
        self.keys = IdempotencyKeys(self.by_id, most=max_keys)
        self._owner = new_run_id()
        self._owing: list[Callable[[], Awaitable[None]]] = []
        self.delivered: dict[str, Delivered] = {}
        """What readers were given, by transport."""
        self.events = self.said = 0
        """What the runs that have ended said in all: how many events, and bytes of them."""

    def now(self) -> float:
        """The clock all limits are measured by, in seconds, monotonic."""
        return self._clock()

    # -- begin ---------------------------------------------------------------------------------------------------------

    async def start(
        self,
        request: ChatRequest,
        source: Source,
        policy: Policy,
        *,
        principal: Principal,
        detached: bool = False,
        origin: Origin = DIRECT,
        most: int = 0,
        most_of_model: int = 0,
        turn: Turn | None = None,
    ) -> RunHandle:
        """Begin a run, where fewer than `most` of this principal are live (0: however many).

        A detached one finishes whoever listens, until its first reader attaches. A `turn` is held from now on by the run
        instead of the caller, and let go of where none begins. Raises `Refused`.
        """
        run_id = new_run_id()
        self.kept += turn.size if turn is not None else 0
        try:
            self.admission.check()
            self._admit()
            claim = await self._claim(run_id, principal, request.model, most=most, most_of_model=most_of_model)
        except BaseException:
            self._let_go(turn)
            raise
        handle = RunHandle(run_id, request, principal, policy, epoch=claim.epoch, hold=self.store.shared)
        handle.pump = Pump(
            handle.log, handle, clock=self._clock, observer=self.observer, on_end=partial(self._ended, handle, claim)
        )
        if request.background:
            handle.policy = msgspec.structs.replace(policy, on_disconnect=FINISH)
        self._on_disconnect(handle, FINISH if detached else handle.policy.on_disconnect)
        if handle.on_disconnect.what != "finish":
            # Whoever began it may be gone before it attached.
            handle.unattended_since = self.now()
        handle.turn = turn
        self.by_id[run_id] = self.active[run_id] = handle
        self._echoed += len(request.echo)
        self.kept += len(request.echo)
        handle.transport, handle.route = origin.transport, origin.route
        self.chats.enter(handle)
        self.observer.run_started(run_id, request, principal, origin)
        handle.pump.start(source, request)
        return handle

    async def _claim(self, run_id: str, principal: Principal, model: str, *, most: int, most_of_model: int) -> Claim:
        self.shares.begin(principal, model, most=most, most_of_model=most_of_model)
        try:
            return await self.store.claim(run_id, self._owner, LEASE)
        except BaseException:
            self.shares.end(principal, model)
            raise

    def _on_disconnect(self, handle: RunHandle, what: OnDisconnect) -> None:
        handle.on_disconnect = what
        handle.log.unattended(finish=what.what == "finish")

    def _admit(self) -> None:
        if not self._full():
            return
        while self._resting:
            self.forget(next(iter(self._resting.values())))
            if not self._full():
                return
        # The ticker has not come by yet, or their sources still close.
        ended = [handle for handle in self.active.values() if handle.pump.ended is not None and not handle.log.readers]
        for handle in sorted(ended, key=lambda handle: handle.expires):
            self.forget(handle)
            if not self._full():
                return
        raise Refused(
            "overloaded",
            f"the server holds {len(self.by_id)} runs that are live or being read, as many as it may; try again shortly",
            retry_after=2,
        )

    def _full(self) -> bool:
        return len(self.by_id) >= self.max_runs or self.kept > self.max_bytes

    # -- find ----------------------------------------------------------------------------------------------------------

    def find(self, run_id: str, principal: Principal) -> RunHandle:
        """Raises `Refused(stream_not_found)` in the same words for a malformed id, an unknown run and another's run."""
        handle = self.by_id.get(run_id) if is_run_id(run_id) else None
        if handle is None or handle.principal != principal:
            raise no_such_stream()
        return handle

    def mine(self, principal: Principal) -> list[RunHandle]:
        return [handle for handle in self.by_id.values() if handle.principal == principal]

    def attach(self, handle: RunHandle, after: int, *, transport: str = DIRECT.transport) -> Reader:
        """A reader of everything after offset `after`."""
        reader = handle.log.attach(after)
        if (delivery := self.delivered.get(transport)) is None:
            delivery = self.delivered[transport] = Delivered(transport, self._clock)
        reader.count(delivery)
        reader.on_gone = partial(self._left, handle)
        self.shares.join(handle.principal)
        reader.quiet_since = reader.owing_since = reader.came
        if self._resting.pop(handle.id, None) is not None:
            self._resting_bytes -= handle.log.kept
            self.active[handle.id] = handle
        self._on_disconnect(handle, handle.policy.on_disconnect)
        handle.unattended_since = None
        self.observer.reader_attached(handle.id, after, transport)
        return reader

    def _left(self, handle: RunHandle, reader: Reader, reason: str) -> None:
        self.shares.leave(handle.principal)
        self.observer.reader_left(handle.id, handle.departed(reader, reason, self.now()))
        if handle.log.readers or handle.state is Phase.ENDED:
            return
        match handle.on_disconnect.what:
            case "cancel":
                self.end(handle, Cancelled("disconnect"))
            case "grace":
                handle.unattended_since = self.now()
            case "finish":
                pass

    # -- steer and end ---------------------------------------------------------------------------------------------------

    def input(self, handle: RunHandle, body: Json) -> None:
        """Give the source something a client says in mid-run; it stands in the log before the source sees it. Raises `Refused`."""
        if handle.state is Phase.ENDED:
            raise Refused("input_not_accepted", "the run has ended")
        handle.inbox.check()
        if handle.log.kept > handle.policy.bounds.max_run_bytes:
            raise Refused(
                "input_full", "the run keeps as much as it may; its readers must catch up first", retry_after=1
            )
        handle.pump.note(Note("input", body))
        handle.inbox.put(body)

    def cancel(self, handle: RunHandle, *, by: str = "client") -> None:
        """Stop a run. Its source is closed at once; a run that has ended stays as it is."""
        self.end(handle, Cancelled(by))

    def end(self, handle: RunHandle, terminal: Cancelled | Failed) -> None:
        """Say the last word of a run that has not ended."""
        if handle.state is not Phase.ENDED and terminal in DESERTED:
            self.keys.release(handle)  # ended because its own client left, who may ask again
        handle.pump.finish(terminal)

    def _ended(self, handle: RunHandle, claim: Claim) -> None:
        self.shares.end(handle.principal, handle.request.model)
        self.chats.leave(handle)
        handle.inbox.close()
        self.events += handle.log.last
        self.said += handle.log.said
        self._owing.append(lambda: self.store.release(claim))

    def revoke(self, principal: Principal) -> None:
        """Somebody lost every right to be here: their live runs end, and their readers are let go."""
        lost = fault("unauthenticated", "the key this stream belongs to has expired or was revoked")
        for handle in [handle for handle in self.active.values() if handle.principal == principal]:
            self.end(handle, Failed(lost))
            end = handle.pump.terminal
            if not (isinstance(end, Failed) and end.error == lost):
                for reader in list(handle.log.readers):
                    reader.drop(lost, "revoked")

    def forget(self, handle: RunHandle) -> None:
        """Drop an ended run; whoever still reads it is let go. A source that is closing is seen to until it has."""
        for reader in list(handle.log.readers):
            reader.drop(fault("cursor_gone"), "forgotten")
        if self.by_id.pop(handle.id, None) is None:
            return
        self._echoed -= len(handle.request.echo)
        # The ticker may never have seen it, or not all of it.
        self.kept = max(0, self.kept - handle.log.kept - len(handle.request.echo))
        self.let_go(handle)
        if self._resting.pop(handle.id, None) is not None:
            self._resting_bytes -= handle.log.kept
        if not handle.pump.closing:
            self.active.pop(handle.id, None)
        said = handle.log.said
        self.observer.run_forgotten(handle.id, handle.furthest / said if said else 0.0)
        self._owing.append(lambda: self.store.forget(handle.id))

    def let_go(self, handle: RunHandle) -> None:
        """A run needs its conversation no more: nobody may go on from it by the run's id."""
        turn, handle.turn = handle.turn, None
        self._let_go(turn)

    def _let_go(self, turn: Turn | None) -> None:
        if turn is not None:
            self.kept = max(0, self.kept - self.conversations.release(turn))

    def rest(self, handle: RunHandle) -> None:
        """Nobody reads an ended run any more, and its source has closed: fold it up until somebody reads it."""
        del self.active[handle.id]
        if handle.id not in self.by_id:
            return  # it was forgotten meanwhile
        handle.log.fold()
        self._resting[handle.id] = handle
        self._resting_bytes += handle.log.kept

    def look(self, now: float) -> None:
        """Forget the runs whose retention is over, add up what all keep, and see whether there is memory; the ticker's."""
        if self.memory is not None:
            self.admission.shedding = short(self.memory, self._resting.values(), self.forget)
        for handle in [handle for handle in self._resting.values() if handle.expires < now]:
            self.forget(handle)
        logs = self._resting_bytes + sum(handle.log.kept for handle in self.active.values())
        self.kept = logs + self.conversations.size + self._echoed
        for principal in self.shares.principals():
            if not self.stands(principal):
                self.revoke(principal)

    async def settle(self) -> None:
        """Tell the store of the runs that ended or were dropped since the last call; the ticker's.

        What the store cannot take now is let be: a lease lapses by itself, and so does what a store holds.
        """
        owing, self._owing = self._owing, []
        for owed in owing:
            try:
                await owed()
            except Exception as problem:  # noqa: BLE001 - a store is anybody's code, and the ticker must go on
                self.observer.background_failed(problem)

    @property
    def live(self) -> int:
        """How many runs have not ended."""
        return sum(handle.state is not Phase.ENDED for handle in self.active.values())

    async def ended(self) -> None:
        """Wait until every live run has ended."""
        while live := [handle.pump.ending() for handle in self.active.values() if handle.state is not Phase.ENDED]:
            await asyncio.wait(live)

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, give live runs so long to end, then fail the rest, retryable."""
        self.admission.close()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), seconds)
        self.abandon()

    def abandon(self) -> int:
        """Fail every live run now, retryable: the server goes. Returns how many there were."""
        live = [handle for handle in self.active.values() if handle.state is not Phase.ENDED]
        for handle in live:
            self.end(handle, Failed(fault("interrupted")))
        return len(live)

    async def close(self, *, seconds: float = CLOSING) -> None:
        """End everything now and wait, so many seconds at most, until the sources have closed."""
        await self.drain(0)
        pumps = [handle.pump for handle in self.active.values() if handle.pump.closing]
        if pumps:
            closing = [asyncio.ensure_future(pump.closed()) for pump in pumps]
            await asyncio.wait(closing, timeout=seconds)
            for pump in pumps:
                pump.abandon()
            for waiting in closing:
                waiting.cancel()
        await self.settle()
