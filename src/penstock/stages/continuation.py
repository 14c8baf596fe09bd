"""Goes on with an answer whose target died in mid-sentence, at another target, and says so in a note.

How is the next target's: `exact` and `prefill` put the words said so far into its mouth, `instructed` tells it to go on. What
cannot be continued honestly is left broken: anything after a tool ran, within a tool call's arguments, within structured
output, or with several choices. Reasoning is not carried: the next target thinks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import msgspec

from penstock.core.errors import TABLE, Broken
from penstock.core.events import (
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Fault,
    Finished,
    Note,
    Opened,
    Started,
    Usage,
)
from penstock.core.joint import Joint
from penstock.core.request import ChatRequest, Message, Run
from penstock.core.snapshot import Snapshot
from penstock.core.source import Source, Stage
from penstock.core.target import House, Target

INSTRUCTION = (
    "Your last message was cut off. Go on exactly where it stopped, with the very next character: repeat nothing, "
    "explain nothing, begin no new sentence unless the last one was complete."
)
"""What a target is told that cannot be given the beginning of its own answer."""


def build(house: House) -> Stage:
    """The stage for one model."""
    every = tuple(house.targets)

    def stage(source: Source) -> Source:
        def continuing(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            return _Continuing(source, house, request, run, request.targets or every).events()

        return continuing

    return stage


class _Continuing:
    """One run: which targets may still be asked, and what the attempts so far used."""

    def __init__(self, source: Source, house: House, request: ChatRequest, run: Run, names: tuple[str, ...]):
        self._source = source
        self._house = house
        self._request = request
        self._run = run
        self._left = list(names)
        self._broke: Broken | None = None
        """How the last target that spoke broke off."""
        self._tried: list[str] = []
        """Which targets could not go on after that, and how each failed."""
        self._spent: list[Usage] = []
        self._task: asyncio.Task[object] | None = None
        self._overdue: Fault | None = None
        self._watching = False
        self._settled: Callable[[], None] | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        run = self._run
        events, joined = self._source(self._request, run), None
        while True:
            self._task = asyncio.current_task()
            try:
                async with aclosing(events):
                    async for event in events:
                        if type(event) is not Delta:
                            self._look(event)
                        if joined is None:
                            yield event
                        else:
                            for said in joined.said(event):
                                yield said
                    return
            except asyncio.CancelledError:
                failure = self._given_up()
                if failure is None:
                    raise
            except Broken as problem:
                failure = problem
            finally:
                self._task = None
            so_far = run.said()
            plan = self._plan(so_far, self._judged(failure))
            if plan is None:
                raise self._told(failure)
            target, strategy = plan
            self._spent.append(self._house.priced(spent(so_far, self._spent), run.target))
            text = so_far.text()
            yield Note("continuation", {
                "from": run.target, "to": target.name, "after": failure.fault.code, "strategy": strategy,
                "offset": len(text), "reasoning_carried": False,
            })  # fmt: skip
            run.speaks(target.name, f"{run.target} broke off")
            for part in so_far.parts:
                if not part.closed and part.kind != "text":
                    yield Closed(part.part)
            joined = _Joined(so_far, text, self._spent, exact=strategy == "exact")
            request = continued(self._request, text, strategy, said=self._spent)
            events = self._source(msgspec.structs.replace(request, targets=(target.name,)), run)

    def _judged(self, failure: Broken) -> Fault:
        """What decides whether to ask another: how the answer broke off. That a target could not go on with it, asked in a way
        of our own, says nothing of the next.
        """
        if self._broke is None or self._watching:
            self._broke, self._tried = failure, []
        else:
            self._tried.append(f"{self._run.target}: {failure.fault.code}")
        return self._broke.fault

    def _told(self, failure: Broken) -> Broken:
        """What the reader is told in the end: how the answer it reads broke off, and who could not go on with it."""
        if self._broke is None or not self._tried:
            return failure
        fault = self._broke.fault
        message = f"{fault.message}; no other target went on ({'; '.join(self._tried)})"
        return Broken.of(msgspec.structs.replace(fault, message=message))

    def _look(self, event: Event) -> None:
        if isinstance(event, Failed):
            raise Broken.of(event.error)
        if not self._watching and isinstance(event, Opened):
            # Once there are words the stages behind this one have let go of the run's time limits.
            self._watching = True
            self._settled = self._run.attempt(self._expire)

    def _given_up(self) -> Broken | None:
        """The failure, where it was a time limit that cancelled this task; None where somebody else did."""
        overdue, self._overdue = self._overdue, None
        if overdue is None or self._task is None:
            return None
        self._task.uncancel()
        self._house.blame(self._run.target)(overdue)
        return Broken.of(overdue)

    def _expire(self, fault: Fault) -> bool:
        if self._task is None or self._overdue is not None or fault.code == "total_timeout":
            return False
        self._overdue = fault
        self._task.cancel()
        return True

    def _plan(self, so_far: Snapshot, fault: Fault) -> tuple[Target, str] | None:
        """Who goes on, and how; None where nobody can, honestly."""
        self._watching = False
        if self._settled is not None:
            self._settled()
            self._settled = None
        if not so_far.parts or not _another_may(fault) or not _continuable(self._request, so_far):
            return None
        if self._run.target in self._left:
            self._left.remove(self._run.target)
        while self._left:
            target = self._house.targets[self._left.pop(0)]
            if target.continues != "no" and self._house.health[target.name].admits(self._house.clock()):
                return target, target.continues if so_far.text().strip() else "anew"
        return None


class _Joined:
    """Turns the events of a later attempt into more of the parts that are open: same text part, other numbers, summed usage."""

    def __init__(self, so_far: Snapshot, text: str, spent: list[Usage], *, exact: bool):
        self._joint = None if exact or not text else Joint(text)
        self._next = max((part.part for part in so_far.parts), default=-1) + 1
        self._open = next((part.part for part in so_far.parts if part.kind == "text" and not part.closed), None)
        self._taken: int | None = None
        """The part of the attempt that goes on with what was said: with the open part, or in one of its own."""
        self._numbers: dict[int, int] = {}
        self._spent = spent

    def said(self, event: Event) -> Iterator[Event]:
        """What an event of the attempt means in this run."""
        match event:
            case Started():
                return
            case Opened():
                goes_on = event.kind == "text" and event.choice == 0 and self._taken is None
                if goes_on:
                    self._taken = event.part
                if goes_on and self._open is not None:
                    self._numbers[event.part] = self._open
                else:
                    self._numbers[event.part] = self._next
                    self._next += 1
                    yield msgspec.structs.replace(event, part=self._numbers[event.part])
            case Delta() if event.part == self._taken and self._joint is not None:
                if text := self._joint.more(event.text):
                    yield Delta(self._numbers[event.part], text, event.logprobs)
            case Delta():
                yield Delta(self._numbers[event.part], event.text, event.logprobs)
            case Chunk():
                yield Chunk(self._numbers[event.part], event.data)
            case Closed():
                if event.part == self._taken and self._joint is not None and (text := self._joint.rest()):
                    yield Delta(self._numbers[event.part], text)
                yield Closed(self._numbers[event.part], event.meta)
            case Usage():
                yield summed([*self._spent, event])
            case Finished():
                if self._taken is None and self._open is not None:
                    yield Closed(self._open, {"finish_reason": event.reason})
                yield event
            case _:
                yield event


def continued(request: ChatRequest, text: str, strategy: str, *, said: list[Usage]) -> ChatRequest:
    """The question to a target that is to go on after `text`."""
    params = dict(request.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(most := params.get(name), int):
            params[name] = max(1, most - sum(usage.output for usage in said))
    messages: list[Message] = list(request.messages)
    match strategy:
        case "anew":
            pass
        case "exact":
            messages.append({"role": "assistant", "content": text})
            params |= {"continue_final_message": True, "add_generation_prompt": False}
        case "prefill":
            messages.append({"role": "assistant", "content": text})
        case _:
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": INSTRUCTION}]
    return msgspec.structs.replace(request, messages=tuple(messages), params=params)


def spent(so_far: Snapshot, before: list[Usage]) -> Usage:
    """What the attempt that broke used: as it reported, else as many tokens as it said pieces."""
    counted = sum(part.deltas for part in so_far.parts) - sum(usage.output for usage in before)
    if so_far.usage is not None:
        known = sum(usage.input for usage in before)
        return Usage(max(0, so_far.usage.input - known), max(0, counted), "counted")
    return Usage(0, max(0, counted), "counted")


def summed(usages: list[Usage]) -> Usage:
    """All attempts together; only what every provider reported counts as reported."""
    return Usage(
        sum(usage.input for usage in usages),
        sum(usage.output for usage in usages),
        "reported" if all(usage.grade == "reported" for usage in usages) else "counted",
        cached=_sum([usage.cached for usage in usages]),
        reasoning=_sum([usage.reasoning for usage in usages]),
        cache_written=_sum([usage.cache_written for usage in usages]),
        cost=None if any(usage.cost is None for usage in usages) else sum(usage.cost or 0.0 for usage in usages),
    )


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _another_may(fault: Fault) -> bool:
    row = TABLE.get(fault.code)
    return row is not None and row.blame == "provider" and fault.code not in ("content_refused", "total_timeout")


def _continuable(request: ChatRequest, so_far: Snapshot) -> bool:
    form = request.params.get("response_format")
    structured = isinstance(form, dict) and form.get("type") not in (None, "text")
    return not (
        structured
        or so_far.elided
        or so_far.tools
        or any(part.choice != 0 or part.kind in ("tool_call", "binary", "refusal") for part in so_far.parts)
    )
