"""The registry of runs: start, attach, cancel, input, grace, finish, retention, idempotency keys, the end of the server.

A run belongs to the server, not to the request that began it, and to the principal on whose behalf it was begun:
for everybody else it does not exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from hashlib import sha256

import msgspec

from penstock.core.cursor import Cursor, is_run_id, new_run_id
from penstock.core.errors import Refused, fault
from penstock.core.events import Cancelled, Failed, Json, Note
from penstock.core.lifecycle import Phase
from penstock.core.measure import Delivered
from penstock.core.observer import Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.core.source import Source
from penstock.flow.inbox import BoundedInbox
from penstock.flow.log import Log
from penstock.flow.memory import SHED_SECONDS, Memory, short
from penstock.flow.policy import MiB, OnDisconnect, Policy
from penstock.flow.pump import CLOSING, Pump
from penstock.flow.reader import Reader
from penstock.flow.shares import Shares
from penstock.flow.store import Claim, Store

KEY_LONGEST = 255
"""Characters of an idempotency key: it is kept for longer than its run."""

LEASE = 5.0
"""Seconds a claim on a run lasts unless it is renewed."""

FINISH = OnDisconnect("finish")
DIRECT = Origin()

DESERTED = (Cancelled("disconnect"), Cancelled("grace"))
"""How a run ends that everybody left."""


class RunHandle:
    """One run as the server holds it, live or ended. It is also the `Run` its source sees."""

    __slots__ = (
        "__weakref__",
        "created",
        "furthest",
        "id",
        "inbox",
        "key",
        "log",
        "on_disconnect",
        "policy",
        "principal",
        "pump",
        "request",
        "tellings",
        "transport",
        "unattended_since",
    )

    def __init__(
        self, run_id: str, request: ChatRequest, principal: Principal, policy: Policy, *, epoch: str, hold: bool
    ):
        self.id = run_id
        self.request = msgspec.structs.replace(request, messages=(), params={})
        """What was asked, without the words: those are the source's alone, and not kept as long as the answer."""
        self.principal = principal
        self.transport = DIRECT.transport
        """Over which it was begun."""
        self.furthest = 0
        """Bytes that the one who came furthest had taken, of the readers that have left."""
        self.policy = policy
        self.created = int(time.time())
        self.inbox = BoundedInbox()
        self.log = Log(epoch=epoch, slow_reader=policy.slow_reader, bounds=policy.bounds, hold=hold)
        self.on_disconnect = policy.on_disconnect
        """In force now: `finish` until the first reader of a run that was created detached."""
        self.unattended_since: float | None = None
        """Since when nobody listens to a run that ends for it."""
        self.key: tuple[str, str, str] | None = None
        self.tellings: dict[Hashable, object] = {}
        """What readers of this run share; the transports'."""
        self.pump: Pump

    @property
    def state(self) -> Phase:
        return self.pump.phase

    @property
    def expires(self) -> float:
        """When an ended run is forgotten."""
        return (self.pump.ended or 0.0) + self.policy.limits.retention

    def cursor(self, offset: int) -> str:
        return str(Cursor(self.id, self.log.epoch, offset))


class Gap(msgspec.Struct, frozen=True):
    """Offsets `start` to `end` cannot be given as they were: `trimmed`, or of another `epoch`."""

    start: int
    end: int
    reason: str


class Place(msgspec.Struct, frozen=True):
    """Where a reader joins: after offset `after`, with `skip` frames of the next entry already sent."""

    after: int
    skip: int = 0
    gap: Gap | None = None


class _Keyed(msgspec.Struct, frozen=True):
    run: str
    digest: bytes


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
        max_keys: int = 100_000,
        memory: Memory | None = None,
    ):
        self.store = store
        self.memory = memory
        self.shedding = False
        """Nothing new begins, because memory is short."""
        self.observer = observer or Observer()
        self.by_id: dict[str, RunHandle] = {}
        self.active: dict[str, RunHandle] = {}
        """The runs the ticker looks at: live, being read, or with a source that is still closing."""
        self._resting: dict[str, RunHandle] = {}
        """The others, which only wait to be read again or forgotten; the first of them rested first."""
        self._resting_bytes = 0
        self.kept = 0
        """Bytes all runs keep, as of the ticker's last look."""
        self.shares = Shares()
        self.stands: Callable[[Principal], bool] = _always
        """Whether a principal has any right left to be here; the ticker asks."""
        self.leaving = False
        """The server was told to go: whoever has the choice should ask another one."""
        self.draining = False
        """Nothing new begins any more."""
        self.farewells: set[Callable[[], None]] = set()
        """Called when nothing new begins any more: what outlives a run, as a WebSocket does, takes its leave."""
        self._clock = clock
        self.max_bytes = max_bytes
        self.max_runs = max_runs
        self._max_keys = max_keys
        self._keys: dict[tuple[str, str, str], _Keyed] = {}
        self._beginning: dict[tuple[str, str, str], asyncio.Future[None]] = {}
        """The keys whose run is being started."""
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
    ) -> RunHandle:
        """Begin a run, where fewer than `most` of this principal are live (0: however many).

        A detached one finishes whoever listens, until its first reader attaches. Raises `Refused`.
        """
        self.check_open()
        self._admit()
        run_id = new_run_id()
        self.shares.begin(principal, most=most)
        try:
            claim = await self.store.claim(run_id, self._owner, LEASE)
        except BaseException:
            self.shares.end(principal)
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
        self.by_id[run_id] = self.active[run_id] = handle
        handle.transport = origin.transport
        self.observer.run_started(run_id, request, principal, origin)
        handle.pump.start(source, request)
        return handle

    def _on_disconnect(self, handle: RunHandle, what: OnDisconnect) -> None:
        handle.on_disconnect = what
        handle.log.unattended(finish=what.what == "finish")

    def check_open(self) -> None:
        """Raise `Refused` where nothing can begin now, whatever it is: to be asked before a request is read."""
        if self.draining:
            raise Refused("interrupted", "the server is shutting down; try again", retry_after=1)
        if self.shedding:
            raise Refused(
                "overloaded",
                "the server's memory is nearly used up; what runs goes on, try again shortly",
                retry_after=SHED_SECONDS,
            )

    def _admit(self) -> None:
        if not self._full():
            return
        if not self._resting:
            # The ticker has not come by yet.
            ended = [
                handle for handle in self.active.values() if handle.pump.ended is not None and not handle.log.readers
            ]
            for handle in sorted(ended, key=lambda handle: handle.expires):
                self.rest(handle)
        while self._resting:
            self.forget(next(iter(self._resting.values())))
            if not self._full():
                return
        raise Refused(
            "overloaded",
            f"the server holds {len(self.by_id)} runs that are live or being read, as many as it may; try again shortly",
            retry_after=2,
        )

    def _full(self) -> bool:
        return len(self.by_id) >= self.max_runs or self.kept > self.max_bytes

    # -- idempotency ---------------------------------------------------------------------------------------------------

    async def once(
        self, principal: Principal, route: str, key: str, body: bytes, begin: Callable[[], Awaitable[RunHandle]]
    ) -> RunHandle:
        """The run that this key began on this route, or the one that `begin` starts; whoever asks meanwhile waits for that one.

        Raises `Refused` for a key that is too long, for another body, when the run is gone, and whatever `begin` raises.
        """
        if len(key) > KEY_LONGEST:
            raise Refused("invalid_request", f"an Idempotency-Key has at most {KEY_LONGEST} characters", param="key")
        place = (principal.name, route, key)
        while (beginning := self._beginning.get(place)) is not None:
            await asyncio.wait([beginning])
        if (earlier := self.answering(principal, route, key, body)) is not None:
            return earlier
        beginning = self._beginning[place] = asyncio.get_running_loop().create_future()
        try:
            handle = await begin()
            self.remember(handle, route, key, body)
            return handle
        finally:
            del self._beginning[place]
            beginning.set_result(None)

    def answering(self, principal: Principal, route: str, key: str, body: bytes) -> RunHandle | None:
        """The run that this key began on this route, if it was used. Raises `Refused` for another body, or when the run is gone."""
        keyed = self._keys.get((principal.name, route, key))
        if keyed is None:
            return None
        if keyed.digest != sha256(body).digest():
            raise Refused("idempotency_mismatch", "this Idempotency-Key was used with another body; choose a new key")
        handle = self.by_id.get(keyed.run)
        if handle is None:
            raise Refused(
                "run_gone", "the run this Idempotency-Key began is no longer held; choose a new key to ask again"
            )
        return handle

    def remember(self, handle: RunHandle, route: str, key: str, body: bytes) -> None:
        """This key stands for this run from now on. The oldest keys are forgotten when there are too many."""
        while len(self._keys) >= self._max_keys:
            del self._keys[next(iter(self._keys))]
        handle.key = (handle.principal.name, route, key)
        self._keys[handle.key] = _Keyed(handle.id, sha256(body).digest())

    # -- find ----------------------------------------------------------------------------------------------------------

    def find(self, run_id: str, principal: Principal) -> RunHandle:
        """Raises `Refused(stream_not_found)` in the same words for a malformed id, an unknown run and another's run."""
        handle = self.by_id.get(run_id) if is_run_id(run_id) else None
        if handle is None or handle.principal != principal:
            raise no_such_stream()
        return handle

    def mine(self, principal: Principal) -> list[RunHandle]:
        return [handle for handle in self.by_id.values() if handle.principal == principal]

    def place(self, handle: RunHandle, cursor: Cursor | None) -> Place:
        """Where a reader with this cursor joins. Raises `Refused(cursor_ahead)` for one beyond the end."""
        log = handle.log
        if cursor is None:
            return Place(0) if log.first == 1 else Place(log.first - 1, gap=Gap(1, log.first - 1, "trimmed"))
        if cursor.epoch != log.epoch:
            # Of a run that has ended the last word is left to be said: a snapshot does not say it.
            told = log.shown - 1 if log.sealed and log.shown == log.last else log.shown
            return Place(told, gap=Gap(min(cursor.whole + 1, told), told, "epoch"))
        if cursor.offset > log.shown:
            raise Refused(
                "cursor_ahead", f"the cursor lies beyond the end: the stream is at {handle.cursor(log.shown)}"
            )
        if cursor.whole < log.first - 1:
            return Place(log.first - 1, gap=Gap(cursor.whole + 1, log.first - 1, "trimmed"))
        return Place(cursor.whole, skip=cursor.frame)

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
        self._depart(handle, reader, reason)
        if handle.log.readers or handle.state is Phase.ENDED:
            return
        match handle.on_disconnect.what:
            case "cancel":
                self.end(handle, Cancelled("disconnect"))
            case "grace":
                handle.unattended_since = self.now()
            case "finish":
                pass

    def _depart(self, handle: RunHandle, reader: Reader, reason: str) -> None:
        delivery = reader.delivery
        assert delivery is not None  # noqa: S101 - every reader of `attach` has one
        handle.furthest = max(handle.furthest, reader.taken)
        delivery.events += reader.offset - reader.start
        delivery.replayed += max(0, min(reader.taken, reader.behind) - reader.joined)
        said = handle.log.said
        departure = Departure(
            transport=delivery.transport,
            reason=reason,
            at=reader.offset,
            cursor=handle.cursor(reader.offset),
            owed=said - reader.taken,
            share=reader.taken / said if said else 0.0,
            seconds=self._clock() - reader.came,
        )
        self.observer.reader_left(handle.id, departure)

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
        if handle.state is not Phase.ENDED and terminal in DESERTED and handle.key is not None:
            # Ended because its own client left, it does not answer for the key: the client may ask again.
            keyed = self._keys.get(handle.key)
            if keyed is not None and keyed.run == handle.id:
                del self._keys[handle.key]
        handle.pump.finish(terminal)

    def _ended(self, handle: RunHandle, claim: Claim) -> None:
        self.shares.end(handle.principal)
        handle.inbox.close()
        self.events += handle.log.last
        self.said += handle.log.said
        self._owing.append(lambda: self.store.release(claim))

    def revoke(self, principal: Principal) -> None:
        """Somebody lost every right to be here: their live runs end, and their readers are let go."""
        lost = fault("unauthenticated", "the key this stream belongs to has expired or was revoked")
        for handle in [handle for handle in self.active.values() if handle.principal == principal]:
            self.end(handle, Failed(lost))
            if handle.pump.terminal != Failed(lost):
                for reader in list(handle.log.readers):
                    reader.drop(lost, "revoked")

    def forget(self, handle: RunHandle) -> None:
        """Drop an ended run; whoever still reads it is let go."""
        for reader in list(handle.log.readers):
            reader.drop(fault("cursor_gone"), "forgotten")
        if self.by_id.pop(handle.id, None) is None:
            return
        self.kept = max(0, self.kept - handle.log.kept)  # the ticker may never have seen it, or not all of it
        if self._resting.pop(handle.id, None) is not None:
            self._resting_bytes -= handle.log.kept
        self.active.pop(handle.id, None)
        said = handle.log.said
        self.observer.run_forgotten(handle.id, handle.furthest / said if said else 0.0)
        self._owing.append(lambda: self.store.forget(handle.id))

    def rest(self, handle: RunHandle) -> None:
        """Nobody reads an ended run any more: fold it up until somebody does."""
        handle.log.fold()
        del self.active[handle.id]
        self._resting[handle.id] = handle
        self._resting_bytes += handle.log.kept

    def look(self, now: float) -> None:
        """Forget the runs whose retention is over, add up what all keep, and see whether there is memory; the ticker's."""
        if self.memory is not None:
            self.shedding = short(self.memory, self._resting.values(), self.forget)
        for handle in [handle for handle in self._resting.values() if handle.expires < now]:
            self.forget(handle)
        self.kept = self._resting_bytes + sum(handle.log.kept for handle in self.active.values())
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

    def refuse(self) -> None:
        """Begin nothing new from now on; live runs go on."""
        self.leaving = self.draining = True
        farewells, self.farewells = self.farewells, set()
        for farewell in farewells:
            farewell()

    async def ended(self) -> None:
        """Wait until every live run has ended."""
        while live := [handle.pump.ending() for handle in self.active.values() if handle.state is not Phase.ENDED]:
            await asyncio.wait(live)

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, give live runs so long to end, then fail the rest, retryable."""
        self.refuse()
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
        pumps = [handle.pump for handle in self.by_id.values() if handle.pump.closing]
        if pumps:
            closing = [asyncio.ensure_future(pump.closed()) for pump in pumps]
            await asyncio.wait(closing, timeout=seconds)
            for pump in pumps:
                pump.abandon()
            for waiting in closing:
                waiting.cancel()
        await self.settle()
