"""One pump per run is the only writer of its log. It obeys the transition table and guarantees exactly one terminal event.

It is the one place where exceptions become errors of the table. It closes what is open before it says that a run broke,
and it says the last word at once: a provider that hangs in its own clean-up is left to `closing_overdue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

import msgspec

from penstock.core.account import summed
from penstock.core.errors import TABLE, Broken, Refused, fault
from penstock.core.events import (
    TERMINAL,
    Closed,
    Delta,
    Event,
    Failed,
    Fault,
    Finished,
    Json,
    Note,
    Opened,
    Spent,
    Terminal,
    Usage,
)
from penstock.core.lifecycle import IllegalEvent, Parts, Phase, step
from penstock.core.observer import Observer
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.flow.history import weight
from penstock.flow.log import Log

BATCH = 64
"""Events after which the loop gets a turn, for a source that never truly suspends."""

CLOSING = 5.0
"""Seconds a source has to close after the last word; then it is left behind."""


class Pump:
    """Drives a source into a log. `clock` gives seconds, monotonic."""

    __slots__ = (
        "_abandoned",
        "_clock",
        "_early",
        "_ending",
        "_giving_up",
        "_last",
        "_meter",
        "_observer",
        "_on_end",
        "_overdue",
        "_parts",
        "_spent",
        "_stopped",
        "_task",
        "_turning",
        "asked",
        "began",
        "ended",
        "held",
        "log",
        "moved",
        "phase",
        "run",
        "spoke",
        "terminal",
        "usage",
    )

    def __init__(
        self,
        log: Log,
        run: Run,
        *,
        clock: Callable[[], float],
        observer: Observer,
        on_end: Callable[[], None] = lambda: None,
    ):
        self.log = log
        self.run = run
        self.phase = Phase.IDLE
        self.began = self.asked = clock()
        self.moved = self.began
        """When the source last said something, or was last let go on."""
        self.held = 0.0
        """Seconds the source was made to wait for its readers."""
        self.spoke = False
        """Whether the first word was said."""
        self.usage: Usage | None = None
        """The last account of its tokens."""
        self._meter: Callable[[Usage | None], Usage] | None = None
        """Counts the tokens of the attempt that is made now, where its source has not."""
        self._last: Usage | None = None
        """The account of that attempt."""
        self._early = False
        """Whether a part was opened since: then it knows nothing of that."""
        self._spent: tuple[Spent, ...] = ()
        """What the attempts used that were given up."""
        self._overdue: tuple[Callable[[Fault], bool], ...] = ()
        self._giving_up: float | None = None
        """Since when an attempt is being given up, until another begins."""
        self.ended: float | None = None
        self.terminal: Terminal | None = None
        self._clock = clock
        self._observer = observer
        self._on_end = on_end
        self._parts = Parts()
        self._task: asyncio.Task[None] | None = None
        self._abandoned = False
        self._stopped = False
        """Whether the last word was said for the source rather than by it."""
        self._turning = False
        """Whether the loop is given its turn: then the source is asked for nothing, and no attempt can be given up."""
        self._ending: asyncio.Future[None] | None = None

    def start(self, source: Source, request: ChatRequest) -> None:
        """Begin. The pump's task ends when the source has closed."""
        self._task = asyncio.get_running_loop().create_task(self._drive(source, request), name=f"pump {self.run.id}")

    async def _drive(self, source: Source, request: ChatRequest) -> None:
        try:
            end = Failed(fault("provider_truncated", "the source ended without saying how"))
            try:
                asked = source(request, self.run)
                del source, request  # a conversation may be long, and a source need not keep it as long as it speaks
                async with aclosing(asked) as events:
                    await self._follow(events)
            except asyncio.CancelledError:
                if self.phase is Phase.ENDED:
                    return  # It was our own `finish` that stopped the source.
                if _cancelled():
                    self.finish(Failed(fault("interrupted")))
                    raise
                end = Failed(fault("source_failed", "the source was cancelled by something of its own"))
            except (Broken, Refused) as problem:
                end = Failed(problem.fault)
            except IllegalEvent as problem:
                self._observer.source_raised(self.run.id, problem)
                end = Failed(fault("source_illegal", str(problem)))
            except BaseException as problem:
                self._observer.source_raised(self.run.id, problem)
                end = Failed(
                    fault("source_failed", f"the source raised {type(problem).__name__}; the server's log has it")
                )
                if isinstance(problem, KeyboardInterrupt | SystemExit):
                    self.finish(end)
                    raise
            self.finish(end)
        finally:
            if self._stopped and not self._abandoned and self.terminal is not None and self.ended is not None:
                self._observer.source_stopped(self.run.id, self.terminal, self._clock() - self.ended)
            # A run is kept for minutes after its task has ended, and what is held then is what collecting garbage costs.
            self._task = None
            del self._parts, self._on_end

    async def _follow(self, events: AsyncGenerator[Event, None]) -> None:
        log, clock, opened = self.log, self._clock, self._parts.open
        count = 0
        async for event in events:
            if self.phase is Phase.ENDED:
                return
            if type(event) is Delta:
                # What step() and admit() would say, without asking them: this is the one path taken per token.
                if opened.get(event.part, "binary") == "binary":
                    raise IllegalEvent(f"Delta for part {event.part}, which is {opened.get(event.part, 'not open')}")
            else:
                following = step(self.phase, event)
                self._parts.admit(event)
                if isinstance(event, TERMINAL):
                    self.finish(event)
                    return
                if isinstance(event, Opened):
                    self._early = True
                    if not self.spoke:
                        self.spoke = True
                        self._observer.first_word(self.run.id, clock() - self.began)
                elif isinstance(event, Usage):
                    last = event if self._meter is None else self._meter(event)
                    weight(last)  # raises for what cannot be written, before the last word is to repeat it
                    self._last, self._early = last, False
                    event = self.usage = self._summed() or event  # noqa: PLW2901
                    self._observer.tokens_counted(self.run.id, event)
                self.phase = following
            self.moved = now = clock()
            if not log.append(event, int((now - self.began) * 1000)):
                try:
                    await log.room()
                finally:
                    paused = clock() - now
                    self.held += paused
                    self._observer.source_paused(self.run.id, paused)
                if self.phase is Phase.ENDED:
                    return
                self.moved = clock()
            count += 1
            if count >= BATCH:
                count = 0
                self._turning = True
                await asyncio.sleep(0)
                self._turning = False

    def attempt(self, overdue: Callable[[Fault], bool]) -> Callable[[], None]:
        """A source is asked, now; `overdue` is told when that takes too long, and says whether it takes care of it."""
        self.asked = self.moved = self._clock()
        self._giving_up = None
        self._overdue = (*self._overdue, overdue)
        return partial(self._settled, overdue)

    def _settled(self, overdue: Callable[[Fault], bool]) -> None:
        self._overdue = tuple([each for each in self._overdue if each != overdue])

    def late(self, problem: Fault) -> None:
        """A time limit is overdue: the attempt is given up where somebody can make another, who has `CLOSING` seconds to begin it,
        else the run ends."""
        now = self._clock()
        if self._turning or (self._giving_up is not None and now - self._giving_up < CLOSING):
            return
        if any(overdue(problem) for overdue in reversed(self._overdue)):
            self._giving_up = now
        else:
            self.finish(Failed(problem))

    def chosen(self, target: str, why: str) -> None:
        """A target of the model is asked for the run."""
        self._observer.target_chosen(self.run.id, target, why)

    def raised(self, problem: Exception) -> None:
        """A source raised, and another may be asked instead."""
        self._observer.source_raised(self.run.id, problem)

    def missed(self, target: str, code: str) -> None:
        """A target that was asked for the run failed."""
        self._observer.target_failed(self.run.id, target, code)

    def settle(self, usage: Usage) -> None:
        """The account of a run that has ended, which its source learnt while it closed. The log is sealed: it stands beside it."""
        usage = msgspec.structs.replace(usage, grade="drained")
        self._last = usage if self._meter is None else self._meter(usage)
        self._learnt(self._summed())

    def metered(self, account: Callable[[Usage | None], Usage]) -> None:
        """As `penstock.core.request.Run.meter`."""
        self._meter, self._last = account, None

    def spent(self, attempt: Spent) -> None:
        """An attempt was given up. Of a run that has ended it stands beside the log, unless its source has told more since."""
        if attempt.usage.grade == "counted" and self._meter is None:
            return  # nobody is billed
        over = self.phase is Phase.ENDED
        if over and self._last is not None and self._last.grade == "drained":
            return
        self._spent = (*self._spent, attempt)
        if over:
            self._learnt(self._summed())

    def _summed(self) -> Usage | None:
        """All attempts of the run together; None where nothing is known of any."""
        last = () if self._last is None else (Spent(self.run.target, self._last),)
        return summed([*self._spent, *last]) if self._spent or last else None

    def _learnt(self, usage: Usage | None) -> bool:
        """Whether that is another account than the last one."""
        if usage is None or usage == self.usage:
            return False
        self.usage = usage
        self._observer.tokens_counted(self.run.id, usage)
        return True

    def note(self, note: Note) -> None:
        """Say something on behalf of the server, between two events of the source."""
        if self.phase is not Phase.ENDED:
            self.log.append(note, self._at(self._clock()))

    def _at(self, now: float) -> int:
        return int((now - self.began) * 1000)

    @property
    def closing(self) -> bool:
        """Whether the last word is said and the source has not closed yet."""
        return self.ended is not None and self._task is not None and not self._task.done() and not self._abandoned

    def closing_overdue(self, now: float) -> None:
        """Leave behind a source that has not closed in time; called by the ticker."""
        if self.closing and self.ended is not None and now - self.ended > CLOSING:
            self.abandon()

    def abandon(self) -> None:
        """Wait no longer for a source that is closing. It is cancelled once more: that ends most clean-ups that hang."""
        if self.closing and self._task is not None:
            self._abandoned = True
            self._task.cancel()
            self._observer.source_abandoned(self.run.id)

    def ending(self) -> asyncio.Future[None]:
        """Done when the last word is said; for whoever gives a live run time to end."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
            if self.phase is Phase.ENDED:
                self._ending.set_result(None)
        return self._ending

    async def closed(self) -> None:
        """Wait until the source has closed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # -- the last word ----------------------------------------------------------------------------------------------

    def finish(self, terminal: Terminal) -> None:
        """Say the last word, now: close the open parts, append, seal, and stop the source. Later calls change nothing."""
        if self.phase is Phase.ENDED:
            return
        terminal = _sayable(terminal)
        before = self.phase
        # Before anything is appended: that may drop a reader, whose leaving may want to end the run too.
        self.phase = Phase.ENDED
        self.ended = self._clock()
        at = self._at(self.ended)
        self.terminal = terminal
        cut: dict[str, Json] | None = None if isinstance(terminal, Finished) else {"cut": True}
        for part in list(self._parts.open):
            self.log.append(Closed(part, cut), at)
        self._account(terminal, before, at)
        self.terminal = terminal = msgspec.structs.replace(terminal, usage=self.usage or msgspec.UNSET)
        self.log.append(terminal, at)
        self.log.seal()
        self._on_end()
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)
        self._observer.run_ended(self.run.id, terminal, self.ended - self.began, self.log.last)
        if self._task is not None and self._task is not asyncio.current_task():
            self._stopped = True
            self._task.cancel()

    def _account(self, terminal: Terminal, before: Phase, at: int) -> None:
        """Settle what was used: count what was said where the source has not, be it in its last word, or went on after it had."""
        begun = before is not Phase.IDLE
        if begun and not (isinstance(terminal, Finished) and self._last is not None and not self._early):
            told = terminal.usage if self._last is None and terminal.usage is not msgspec.UNSET else None
            self._last = (self._last or told) if self._meter is None else self._meter(told)
        usage = self._summed()
        if self._learnt(usage) and usage is not None and begun:
            self.log.append(usage, at)


def _cancelled() -> bool:
    """Whether somebody cancelled the task that runs now, rather than something it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _sayable(terminal: Terminal) -> Terminal:
    """The terminal event itself, or one that can be written where a source made it of what no transport carries."""
    try:
        weight(terminal)
    except Exception as problem:  # noqa: BLE001 - whatever the encoder makes of it, there must be a last word
        code = terminal.error.code if isinstance(terminal, Failed) else "source_illegal"
        code = code if code in TABLE else "source_illegal"
        return Failed(fault(code, f"{TABLE[code].meaning} How it ended cannot be written: {type(problem).__name__}."))
    return terminal
