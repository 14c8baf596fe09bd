"""One run as the server holds it: what was asked, its log, its pump, and where a reader joins it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import msgspec

from penstock.core.cursor import Cursor
from penstock.core.errors import Refused
from penstock.core.events import Fault, Spent, Usage
from penstock.core.frame import View
from penstock.core.lifecycle import Phase
from penstock.core.observer import Departure, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.core.snapshot import Snapshot
from penstock.flow.conversations import Turn
from penstock.flow.inbox import BoundedInbox
from penstock.flow.log import Log
from penstock.flow.policy import Policy
from penstock.flow.pump import Pump
from penstock.flow.reader import Reader

DIRECT = Origin()


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


class Pace(msgspec.Struct, frozen=True):
    """Where a run stood when its source was last looked at: the time, the offset, and how long readers had held it up."""

    at: float
    offset: int
    held: float


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
        "pace",
        "policy",
        "principal",
        "pump",
        "request",
        "route",
        "target",
        "tellings",
        "transport",
        "turn",
        "unattended_since",
        "why",
    )

    def __init__(
        self, run_id: str, request: ChatRequest, principal: Principal, policy: Policy, *, epoch: str, hold: bool
    ):
        self.id = run_id
        self.request = msgspec.structs.replace(request, messages=(), params={}, headers={}, places={})
        """What was asked, without the words: those are the source's alone, and not kept as long as the answer."""
        self.principal = principal
        self.transport = DIRECT.transport
        """Over which it was begun."""
        self.route = DIRECT.route
        """At which it was begun."""
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
        self.target = ""
        """Which of the model's targets answers; empty where it has but one."""
        self.why = ""
        """Why it is that one."""
        self.key: tuple[str, str, str] | None = None
        self.turn: Turn | None = None
        """Of its conversation, where it can be gone on from."""
        self.tellings: dict[Hashable, object] = {}
        """What readers of this run share; the transports'."""
        self.pace: Pace | None = None
        self.pump: Pump

    @property
    def state(self) -> Phase:
        return self.pump.phase

    @property
    def expires(self) -> float:
        """When an ended run is forgotten."""
        return (self.pump.ended or 0.0) + self.policy.limits.retention

    @property
    def connect(self) -> float:
        """As `penstock.core.request.Run.connect`."""
        return self.policy.limits.connect

    @property
    def held(self) -> float:
        """As `penstock.core.request.Run.held`."""
        return self.pump.held

    @property
    def spoke(self) -> bool:
        """As `penstock.core.request.Run.spoke`."""
        return self.pump.spoke

    def said(self) -> Snapshot:
        """As `penstock.core.request.Run.said`."""
        return self.log.snapshot()

    def meter(self, account: Callable[[Usage | None], Usage]) -> None:
        """As `penstock.core.request.Run.meter`."""
        self.pump.metered(account)

    def spent(self, target: str, usage: Usage) -> None:
        """As `penstock.core.request.Run.spent`."""
        self.pump.spent(Spent(target, usage))

    @property
    def over(self) -> bool:
        return self.pump.phase is Phase.ENDED

    def settle(self, usage: Usage) -> None:
        """As `penstock.core.request.Run.settle`."""
        self.pump.settle(usage)

    def speaks(self, target: str, why: str = "") -> None:
        """As `penstock.core.request.Run.speaks`."""
        self.target = target
        if why:
            self.why = why
            self.pump.chosen(target, why)

    def impatient(self, fault: Fault) -> bool:
        """As `penstock.core.request.Run.impatient`."""
        return fault.code in self.policy.limits.own

    def raised(self, problem: Exception) -> None:
        """As `penstock.core.request.Run.raised`."""
        self.pump.raised(problem)

    def missed(self, target: str, code: str) -> None:
        """As `penstock.core.request.Run.missed`."""
        self.pump.missed(target, code)

    def attempt(self, overdue: Callable[[Fault], bool]) -> Callable[[], None]:
        """As `penstock.core.request.Run.attempt`."""
        return self.pump.attempt(overdue)

    @property
    def view(self) -> View:
        """How it is told to a reader without wishes of its own."""
        asked = self.request
        return View(
            run=self.id, model=asked.model, created=self.created, include_usage=asked.include_usage, echo=asked.echo
        )

    def cursor(self, offset: int) -> str:
        return str(Cursor(self.id, self.log.epoch, offset))

    def place(self, cursor: Cursor | None) -> Place:
        """Where a reader with this cursor joins. Raises `Refused(cursor_ahead)` for one beyond the end."""
        log = self.log
        if cursor is None:
            return Place(0) if log.first == 1 else Place(log.first - 1, gap=Gap(1, log.first - 1, "trimmed"))
        if cursor.epoch != log.epoch:
            # Of a run that has ended the last word is left to be said: a snapshot does not say it.
            told = log.shown - 1 if log.sealed and log.shown == log.last else log.shown
            return Place(told, gap=Gap(min(cursor.whole + 1, told), told, "epoch"))
        if cursor.offset > log.shown:
            raise Refused("cursor_ahead", f"the cursor lies beyond the end: the stream is at {self.cursor(log.shown)}")
        if cursor.whole < log.first - 1:
            return Place(log.first - 1, gap=Gap(cursor.whole + 1, log.first - 1, "trimmed"))
        return Place(cursor.whole, skip=cursor.frame)

    def departed(self, reader: Reader, reason: str, now: float) -> Departure:
        """What a reader that is gone had, which is counted where it was delivered."""
        delivery = reader.delivery
        assert delivery is not None  # noqa: S101 - every reader the registry attaches has one
        said = self.log.said
        self.furthest = max(self.furthest, reader.taken)
        delivery.events += reader.offset - reader.start
        delivery.replayed += max(0, min(reader.taken, reader.behind) - reader.joined)
        return Departure(
            transport=delivery.transport,
            reason=reason,
            at=reader.offset,
            cursor=self.cursor(reader.offset),
            owed=said - reader.taken,
            share=reader.taken / said if said else 0.0,
            seconds=now - reader.came,
        )
