"""OpenAI Responses: `response.*` events in a stream, one `response` object without.

Event shapes follow openai-python (`types/responses/response_*_event.py`); what the items hold is `openai_responses_object.py`, what a
request says `openai_responses_request.py`. Each part of choice 0 is one item, so parts that are said at the same time stay apart
(`output_index`).

**Numbers.** `sequence_number` counts from 0 what a reader gets that is sent every delta by itself; a delta has one event, even an
empty one. A merged delta has the number of the last one it covers, so a number means the same to every reader,
and `starting_after` is exact. What is retold to a reader that has nothing
(`rejoin`) is numbered from 0 too, up to the last event, which has the number of the last that was said; what is opened again
(`reopen`) has the numbers just before the next.

**Endings.** `response.completed`, `response.incomplete` (cut by a limit or a filter) or `response.failed`. There is no event for a
cancelled answer: it ends in `response.failed` too, whose response has the status `cancelled`, so that nobody takes it for complete.
A run that fails before it began is told as created, in progress and failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec
import orjson

from penstock.core.cursor import Entry
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Fault,
    Finished,
    Json,
    Kind,
    Note,
    Opened,
    Started,
    Terminal,
    ToolReturned,
    Usage,
)
from penstock.core.finish_reason import FinishReason
from penstock.core.frame import Frame, Traits, View
from penstock.core.request import ChatRequest, Message
from penstock.core.snapshot import PartSoFar, Snapshot
from penstock.dialects.openai_responses_items import items_of
from penstock.dialects.openai_responses_object import (
    ANSWER,
    PROGRESS,
    Object,
    Words,
    announced,
    closed_status,
    content_part,
    foreign_item,
    item_id,
    item_of,
    refusal,
    shown,
    token_logprobs,
    whole,
)
from penstock.dialects.openai_responses_request import read_request

_encode = msgspec.json.Encoder().encode
_NUMBER = b',"sequence_number":'
_DELTA: dict[Kind, str] = {
    "text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "reasoning": "response.reasoning_summary_text.delta",
    "tool_call": "response.function_call_arguments.delta",
    "binary": "",
}


class _Item:
    """A part of choice 0 while it grows; its pieces are joined once, when it is done."""

    __slots__ = ("after", "before", "data", "event", "index", "logprobs", "opened", "pieces", "where")

    def __init__(self, view: View, opened: Opened, index: int):
        self.opened = opened
        self.index = index
        """Its place in the output; -1 for a part that is no item."""
        self.pieces: list[str] = []
        self.logprobs: list[Json] = []
        self.data = bytearray()
        self.event = _DELTA[opened.kind]
        self.where: Object = {"item_id": item_id(view, opened), "output_index": index}
        """What each event of the item says of its place."""
        if opened.kind in ("text", "refusal"):
            self.where["content_index"] = 0
        elif opened.kind == "reasoning":
            self.where["summary_index"] = 0
        self.before = _encode({"type": self.event, **self.where})[:-1] + b',"delta":'
        self.after = (b',"logprobs":[]' if opened.kind == "text" else b"") + _NUMBER


class OpenAIResponsesRenderer:
    """Remembers the items and what they say, which is told again at the end of each and of all."""

    __slots__ = ("_items", "_next", "_output", "_past", "_reason", "_started", "_usage", "_view", "_words")

    def __init__(self, view: View):
        self._view = view
        self._words = Words(view)
        self._past = Snapshot()
        self._started = False
        self._items: dict[int, _Item] = {}
        """The parts of choice 0 that are open."""
        self._output: list[Json] = []
        """The items in their order; null for one that is not done."""
        self._reason = FinishReason()
        """Of choice 0."""
        self._usage: Usage | None = None
        self._next = 0
        """The number of the next event."""

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        if so_far.started:
            self._start(so_far.started)
        self._usage = so_far.usage
        progress = _progress_of(so_far)
        for part in so_far.parts:
            self._opened(part.opening())
            if (item := self._items.get(part.part)) is not None:
                self._next += part.deltas if item.index >= 0 and part.kind != "binary" else 0
                _learn(item, part)
                for note in progress.get(part.part, ()):
                    self._progress(note)
                if part.closed:
                    self._closed(Closed(part.part, part.meta))
        if so_far.end:
            self._ended(so_far.end, so_far.at)

    def rejoin(self) -> Sequence[Frame]:
        fresh = OpenAIResponsesRenderer(self._view)
        frames = fresh._start(self._past.started) if self._past.started else []
        progress = _progress_of(self._past)
        for part in self._past.parts:
            frames += fresh._opened(part.opening())
            if (item := fresh._items.get(part.part)) is not None:
                _learn(item, part)
                for note in progress.get(part.part, ()):
                    frames += fresh._progress(note)
                if (part.text or item.logprobs) and item.index >= 0:
                    frames.append(fresh._delta(item, part.text, item.logprobs))
                if part.closed:
                    frames += fresh._closed(Closed(part.part, part.meta))
        if frames:
            *before, last = frames
            frames = [
                *before,
                Frame(last.data[: last.data.rindex(_NUMBER)] + b"%b%d}" % (_NUMBER, self._next - 1), last.event),
            ]
        return frames

    def reopen(self) -> Sequence[Frame]:
        """Every item is added again, since parsers count them. What was said of an open one stands in the events that open it and
        not in deltas; one that is done is added as it is, and not done again."""
        count = len(self._reopened(0))
        return self._reopened(self._next - count)

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta:
            item = self._items.get(event.part)
            if item is None:
                return ()
            item.pieces.append(event.text)
            self._next += entry.last - entry.first
            if event.logprobs is not None:
                logprobs = token_logprobs(event.logprobs)
                item.logprobs += logprobs
                return (self._delta(item, event.text, logprobs),)
            number = self._next
            self._next = number + 1
            return (Frame(b"%b%b%b%d}" % (item.before, orjson.dumps(event.text), item.after, number), item.event),)
        match event:
            case Opened():
                return self._opened(event)
            case Closed():
                return self._closed(event)
            case Started():
                return self._start(event)
            case Usage():
                self._usage = event
            case Chunk():
                if (item := self._items.get(event.part)) is not None and item.index >= 0:
                    item.data += event.data
            case Note():
                return self._progress(event)
            case Delta() | ToolReturned():
                pass
            case Finished() | Failed() | Cancelled():
                return self._ended(event, entry.at)
            case _:
                assert_never(event)
        return ()

    def _start(self, event: Started | None) -> list[Frame]:
        self._started = True
        words = self._words
        if event is not None:
            words.created, words.model = event.created, event.model
        going: Object = {"response": words.response("in_progress")}
        if words.background:
            waiting: Object = {"response": words.response("queued")}
            begun = [self._frame("response.created", waiting), self._frame("response.queued", waiting)]
        else:
            begun = [self._frame("response.created", going)]
        return [*begun, self._frame("response.in_progress", going)]

    def _opened(self, event: Opened, so_far: _Item | None = None) -> list[Frame]:
        """A part begins; or it is opened again, in its place and with what it said `so_far`."""
        if event.choice != 0:
            return []
        said, index = "", len(self._output) if shown(event) else -1
        logprobs: list[Json] = []
        if so_far is not None:
            said, logprobs, index = "".join(so_far.pieces), so_far.logprobs, so_far.index
        elif index >= 0:
            self._output.append(None)
        new = self._items[event.part] = _Item(self._view, event, index)
        if index < 0:
            return []
        if event.kind == "binary":
            own = announced(event)
            return [self._frame("response.output_item.added", {"output_index": index, "item": own})] if own else []
        added = item_of(self._view, event, said if event.kind == "tool_call" else None, status="in_progress")
        frames = [self._frame("response.output_item.added", {"output_index": index, "item": added})]
        if event.kind in ("text", "refusal"):
            part = content_part(event, said, logprobs=logprobs)
            frames.append(self._frame("response.content_part.added", {**new.where, "part": part}))
        elif event.kind == "reasoning":
            summary: Object = {"type": "summary_text", "text": said}
            frames.append(self._frame("response.reasoning_summary_part.added", {**new.where, "part": summary}))
        return frames

    def _progress(self, event: Note) -> list[Frame]:
        """How far a foreign item has come, where the note says so of one that is open."""
        match event:
            case Note("progress", {"part": int(part), "state": state}) if (item := self._items.get(part)) is not None:
                own = announced(item.opened)
                if own is not None and item.index >= 0 and state in PROGRESS.get(str(own["type"]), ()):
                    place: Object = {"output_index": item.index, "item_id": own["id"]}
                    return [self._frame(f"response.{own['type']}.{state}", place)]
        return []

    def _delta(self, item: _Item, text: str, logprobs: Sequence[Json]) -> Frame:
        told: Object = {**item.where, "delta": text}
        if item.opened.kind == "text":
            told["logprobs"] = list(logprobs)
        return self._frame(item.event, told)

    def _closed(self, event: Closed) -> list[Frame]:
        over = self._items.pop(event.part, None)
        if over is None:
            return []
        self._reason.closed(event.part, event.meta)
        if over.index < 0:
            return []
        place: Object = {"output_index": over.index}
        if over.opened.kind == "binary":
            begun = announced(over.opened)
            own = foreign_item(over.data) if over.data else begun
            self._output[over.index] = own
            words = ["done"] if begun else ["added", "done"]
            return (
                [self._frame(f"response.output_item.{word}", {**place, "item": own}) for word in words] if own else []
            )
        said = "".join(over.pieces)
        done = item_of(
            self._view, over.opened, said, status=closed_status(event.meta), meta=event.meta, logprobs=over.logprobs
        )
        self._output[over.index] = done
        frames = [self._frame(name, {**over.where, **members}) for name, members in _endings(over.opened, said, done)]
        return [*frames, self._frame("response.output_item.done", {**place, "item": done})]

    def _ended(self, event: Terminal, at: int) -> list[Frame]:
        frames = [] if self._started else self._start(None)
        output = [done for done in self._output if done is not None]
        reason = self._reason.word(event.reason if isinstance(event, Finished) else "")
        told = self._words.ended(event, reason, output, self._usage, at)
        status = told["status"]
        name = f"response.{status}" if status in ("completed", "incomplete") else "response.failed"
        return [*frames, self._frame(name, {"response": told})]

    def _reopened(self, number: int) -> list[Frame]:
        if not self._started:
            return []
        fresh = OpenAIResponsesRenderer(self._view)
        fresh._next = number
        frames = fresh._start(self._past.started)
        items = (part.part for part in self._past.parts if part.choice == 0 and shown(part.opening()))
        for index, part in enumerate(items):
            if (item := self._items.get(part)) is not None:
                frames += fresh._opened(item.opened, item)
            elif (done := self._output[index]) is not None:
                frames.append(fresh._frame("response.output_item.added", {"output_index": index, "item": done}))
        return frames

    def _frame(self, name: str, members: Object) -> Frame:
        number = self._next
        self._next = number + 1
        return Frame(b"%b%b%d}" % (_encode({"type": name, **members})[:-1], _NUMBER, number), name)


def _progress_of(so_far: Snapshot) -> dict[int, list[Note]]:
    """What notes say of each part while it is open."""
    found: dict[int, list[Note]] = {}
    for note in so_far.notes:
        match note:
            case Note("progress", {"part": int(part)}):
                found.setdefault(part, []).append(note)
    return found


def _learn(item: _Item, part: PartSoFar) -> None:
    item.pieces, item.data = [part.text], bytearray(part.data)
    item.logprobs = [token for raw in part.logprobs for token in token_logprobs(raw)]


def _endings(opened: Opened, said: str, done: Object) -> list[tuple[str, Object]]:
    """What is told of an item before it is done."""
    match opened.kind:
        case "tool_call":
            return [("response.function_call_arguments.done", {"name": done["name"], "arguments": said})]
        case "reasoning":
            summary: Object = {"type": "summary_text", "text": said}
            return [
                ("response.reasoning_summary_text.done", {"text": said}),
                ("response.reasoning_summary_part.done", {"part": summary}),
            ]
    content = done["content"]
    part = content[0] if isinstance(content, list) else None
    if opened.kind == "refusal" or not isinstance(part, dict):
        return [("response.refusal.done", {"refusal": said}), ("response.content_part.done", {"part": part})]
    cited = part["annotations"]
    return [
        *(
            ("response.output_text.annotation.added", {"annotation_index": index, "annotation": annotation})
            for index, annotation in enumerate(cited if isinstance(cited, list) else ())
        ),
        ("response.output_text.done", {"text": said, "logprobs": part["logprobs"]}),
        ("response.content_part.done", {"part": part}),
    ]


class OpenAIResponsesDialect:
    """The dialect of `/v1/responses`."""

    name = "openai-responses"
    traits = Traits(cursor_key="cursor", retells=True, answer_prefix=ANSWER, sequence_key="sequence_number")

    def parse(self, body: bytes) -> ChatRequest:
        """As OpenAI reads it: `input` is required, and a missing `stream` means false."""
        return read_request(body)

    def renderer(self, view: View) -> OpenAIResponsesRenderer:
        return OpenAIResponsesRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        """The response object at any moment, of a run that goes on or has ended in any way."""
        return _encode(whole(snapshot, view))

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return _encode({"error": refusal(fault), "request_id": request_id})

    def asked(self, messages: Sequence[Message], answer: str) -> list[Json]:
        """The input items of a question."""
        return items_of(messages, answer)
