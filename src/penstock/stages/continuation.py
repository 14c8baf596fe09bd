"""Goes on with an answer whose target died in mid-sentence, at another target, and says so in a note.

How is the next target's: `exact` and `prefill` put the words said so far into its mouth (`prefill` without the white space at
their end, which Anthropic refuses), `instructed` tells it to go on. What cannot be continued honestly is left broken: anything
after a tool ran, within a tool call's arguments, within structured output, or with several choices. Reasoning is not carried:
the next target thinks for itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
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
    Json,
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
from penstock.stages.time_limit import TimeLimit
from penstock.stages.usage import counted, tokens_of

INSTRUCTION = (
    "Your last message was cut off. Go on exactly where it stopped, with the very next character: repeat nothing, "
    "explain nothing, begin no new sentence unless the last one was complete."
)
"""What a target is told that cannot be given the beginning of its own answer."""


REPEATED = 1024
"""Characters of a repetition after which a note says that the next target is at work: what it repeats is not said again."""
NOTHING = Usage(0, 0, "counted")
"""What is on the bill for an attempt that broke before anything of it was heard, beside what it left with the run."""

GRAMMARS = (
    "format",  # Ollama
    "grammar",  # llama.cpp
    "json_schema",
    "guided_choice",  # vLLM
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "structured_outputs",
    "ebnf",  # SGLang
    "regex",
)
"""Parameters of engines of one's own that bind an answer to a form, as `response_format` does."""


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
        self._asked = request
        """What the attempt that speaks now was asked."""
        self._reported: Usage | None = None
        """The last account of that attempt; until it gives one, it is about as many tokens as its question has."""
        self._said = 0
        """Pieces that were said before it spoke."""
        self._spent = 0
        """Tokens those before it said."""
        self._watching = False
        """Whether the attempt that speaks now has begun to."""
        self._told_to = False
        """Whether it was told to go on, rather than given the beginning as its own."""

    async def events(self) -> AsyncGenerator[Event, None]:
        run = self._run
        events, joined = self._source(self._request, run), None
        while True:
            self._watching = False
            try:
                with TimeLimit(run, takes=self._takes):
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
            except Broken as problem:
                failure = problem
            if not self._watching and self._reported is None:
                self._reported = NOTHING
            so_far = run.said()
            plan = self._plan(so_far, self._judged(failure))
            if so_far.parts and _another_may(failure.fault):
                run.missed(run.target, failure.fault.code)
            if plan is None:
                raise self._told(failure)
            target, strategy = plan
            used = self._settle(so_far)
            text = so_far.text()
            yield Note("continuation", {
                "from": run.target, "to": target.name, "after": failure.fault.code, "strategy": strategy,
                "offset": len(text), "reasoning_carried": False, "used": {"input": used.input, "output": used.output},
            })  # fmt: skip
            run.speaks(target.name, f"{run.target} broke off")
            for part in so_far.parts:
                if not part.closed and part.kind != "text":
                    yield Closed(part.part)
            self._told_to = strategy == "instructed"
            shown = text.rstrip() if strategy == "prefill" else text
            joined = _Joined(so_far, text, withheld=len(text) - len(shown), exact=strategy == "exact")
            asked = continued(self._request, shown, strategy, spent=self._spent)
            self._asked, self._reported = asked, None
            events = self._source(msgspec.structs.replace(asked, targets=(target.name,)), run)

    def _settle(self, so_far: Snapshot) -> Usage:
        """What the attempt that broke used. From now on it is part of every account of the run."""
        used = self._used(so_far)
        self._said = _pieces(so_far)
        self._spent += used.output
        self._run.meter(self._account)
        self._run.spent(self._run.target, used)
        return used

    def _account(self, told: Usage | None) -> Usage:
        """The account of the attempt that speaks now, at the price of its target."""
        return self._used(self._run.said()) if told is None else self._house.priced(told, self._run.target)

    def _used(self, so_far: Snapshot) -> Usage:
        """The account of the attempt that spoke last, as far as it got."""
        told = self._reported or Usage(tokens_of(self._asked), 0, "counted")
        return self._house.priced(counted(told, _pieces(so_far) - self._said), self._run.target)

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
        if isinstance(event, Usage):
            self._reported = event
        if isinstance(event, Finished) and self._told_to and not self._watching:
            # That is no sign that the answer was whole: half of one is not to end well.
            raise Broken("provider_truncated", "it was told to go on with the answer, and said nothing")
        if isinstance(event, Opened):
            # Once there are words the stages behind this one have let go of the run's time limits.
            self._watching = True

    def _takes(self, fault: Fault) -> bool:
        return self._watching and fault.code != "total_timeout"

    def _plan(self, so_far: Snapshot, fault: Fault) -> tuple[Target, str] | None:
        """Who goes on, and how; None where nobody can, honestly."""
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
    """Turns the events of a later attempt into more of the parts that are open: same text part, other numbers."""

    def __init__(self, so_far: Snapshot, text: str, *, withheld: int, exact: bool):
        self._joint = None if exact or not text else Joint(text, withheld=withheld)
        self._next = max((part.part for part in so_far.parts), default=-1) + 1
        self._open = next((part.part for part in so_far.parts if part.kind == "text" and not part.closed), None)
        self._taken: int | None = None
        """The part of the attempt that goes on with what was said: with the open part, or in one of its own."""
        self._noted = 0
        """Characters of a repetition that readers were told of while they wait."""
        self._numbers: dict[int, int] = {}
        self._said = next((len(part.text) for part in so_far.parts if part.part == self._open), 0)
        """Characters of the open part that were said before this attempt."""
        self._cited = [citation for note in so_far.notes for citation in _cited(note, self._open)]
        """What it cited before this attempt, as far as that was told."""

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
                elif self._joint.held - self._noted >= REPEATED:
                    self._noted = self._joint.held
                    yield Note("repetition", {"characters": self._noted})
            case Delta():
                yield Delta(self._numbers[event.part], event.text, event.logprobs)
            case Chunk():
                yield Chunk(self._numbers[event.part], event.data)
            case Closed():
                yield from self._rest(event.part)
                yield Closed(self._numbers[event.part], self._whole(event.part, event.meta))
            case Note("block" | "progress", dict(body)) if (
                isinstance(part := body.get("part"), int) and part in self._numbers
            ):
                yield from self._rest(part)
                yield Note(event.topic, {**(self._placed(part, body) or {}), "part": self._numbers[part]})
            case Finished():
                if self._taken is None and self._open is not None:
                    cited: dict[str, Json] = {"citations": self._cited} if self._cited else {}
                    yield Closed(self._open, {"finish_reason": event.reason, **cited})
                yield event
            case _:
                yield event

    def _rest(self, part: int) -> Iterator[Event]:
        """What was held back of a part as a possible repetition."""
        if part == self._taken and self._joint is not None and (text := self._joint.rest()):
            yield Delta(self._numbers[part], text)

    def _whole(self, part: int, meta: dict[str, Json] | None) -> dict[str, Json] | None:
        """What the part says at its end, with what was cited in it before this attempt."""
        placed = self._placed(part, meta)
        if not self._cited or part != self._taken:
            return placed
        later = placed.get("citations") if placed else None
        return {**(placed or {}), "citations": [*self._cited, *(later if isinstance(later, list) else ())]}

    def _placed(self, part: int, told: dict[str, Json] | None) -> dict[str, Json] | None:
        """What an attempt tells of places in its text, as places in the part that goes on with it."""
        if told is None or part != self._taken or self._open is None:
            return told
        by = self._said - (self._joint.trimmed if self._joint is not None else 0)
        placed = dict(told)
        if isinstance(at := told.get("at"), int):
            placed["at"] = at + by
        if isinstance(cited := told.get("citations"), list):
            placed["citations"] = [_moved(one, by) for one in cited]
        return placed


def _cited(note: Note, part: int | None) -> list[Json]:
    """What a block of this part cited, where a note says that it ended."""
    match note:
        case Note("block", {"part": int(of), "citations": list(cited)}) if of == part:
            return cited
    return []


def _moved(citation: Json, by: int) -> Json:
    if not isinstance(citation, dict):
        return citation
    places = {name: max(0, at + by) for name in ("start", "end") if isinstance(at := citation.get(name), int)}
    return citation | places


def continued(request: ChatRequest, text: str, strategy: str, *, spent: int) -> ChatRequest:
    """The question to a target that is to go on after `text`, which took so many tokens."""
    params = dict(request.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(most := params.get(name), int):
            params[name] = max(1, most - spent)
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


def _pieces(so_far: Snapshot) -> int:
    return sum(part.deltas for part in so_far.parts)


def _another_may(fault: Fault) -> bool:
    row = TABLE.get(fault.code)
    return row is not None and row.blame == "provider" and fault.code not in ("content_refused", "total_timeout")


def _continuable(request: ChatRequest, so_far: Snapshot) -> bool:
    params = request.params
    form = params.get("response_format")
    structured = (isinstance(form, dict) and form.get("type") not in (None, "text")) or any(map(params.get, GRAMMARS))
    return not (
        structured
        or params.get("n", 1) not in (None, 1)
        or so_far.elided
        or so_far.tools
        or any(part.choice != 0 or part.kind in ("tool_call", "binary", "refusal") for part in so_far.parts)
    )
