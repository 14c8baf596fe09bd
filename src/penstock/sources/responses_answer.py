"""Events of an OpenAI Responses stream → ours: the whole state of one answer, and nothing of the network.

Shapes follow openai-python (`types/responses/response_stream_event.py`). A message's texts and refusals, reasoning and function
calls are parts; any other item of the output is carried in a box (`penstock.core.carried`), which is opened with the item as it was
added and holds it as it was done; notes of the topic `progress` say how far it has come (`{"part": 0, "state": "searching"}`). Servers
that send no indexes, no deltas, or nothing but the last event are understood; events of unknown types are passed over.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from penstock.core.carried import BLOCK
from penstock.core.errors import Broken
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Kind, Note, Opened, Usage
from penstock.sources.ending import Ending
from penstock.sources.halves import Halves
from penstock.sources.loose import Loose, NotAnObject, name_of, objects_of, storable, text_of
from penstock.sources.responses_events import Said, lenient, strict
from penstock.sources.responses_items import NAME, Item, Part, citation_of, json_of, signature_of, usage_of

LARGEST = 16 * 1024 * 1024
"""Bytes of one event: an item can be an image, and the last event repeats the whole answer."""

_TEXT = "response.output_text.delta"
_SAYS: dict[str, tuple[str, Kind]] = {
    _TEXT: ("message", "text"),
    "response.refusal.delta": ("message", "refusal"),
    "response.reasoning_text.delta": ("reasoning", "reasoning"),
    "response.reasoning_summary_text.delta": ("reasoning", "reasoning"),
    "response.function_call_arguments.delta": ("function_call", "tool_call"),
}
"""What a delta adds to: the type of the item, and our word for the part."""
_DONE = {name.removesuffix("delta") + "done": said for name, said in _SAYS.items()}
_CONTENT: dict[str, Kind] = {"output_text": "text", "refusal": "refusal"}
_OURS = frozenset(item for item, _ in _SAYS.values())
_ENDS = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
MOST_STATES = 16
"""States of one item that are told; those that there are come once."""
_PIECES = frozenset({"delta", "done", "partial_image"})
"""What comes of an item that is told whole, and is in it once it is done."""
_LIMITS = {"max_output_tokens": "length"}


class Answer(Ending):
    """Takes events, gives ours. Once `ended`, it takes nothing more."""

    def __init__(self, host: str, *, secret: str | None = None):
        super().__init__(host, secret=secret)
        self.response_id = ""
        """What the provider calls its answer. One asked for in the background can be read again from there, after `sequence`:
        `GET /responses/{id}?stream=true&starting_after={sequence}`. A `Note` then tells it, see `_learn`."""
        self.kept = False
        """The provider keeps it while it grows, so that it can be read on."""
        self.sequence = -1
        """The number of the provider's last event; -1 where it numbers none."""
        self._behind = -1
        """That of the last one before the stream broke off, while the next is waited for."""
        self._by_index: dict[int, Item] = {}
        self._by_id: dict[str, Item] = {}
        self._latest: Item | None = None
        self._plain: dict[tuple[int | str | None, int | None], int] = {}
        """Where a piece of text may go straight out: item and index of its content → its open part."""
        self._open: set[int] = set()
        self._halves = Halves()
        self._calls = False
        self._items: list[Item] = []

    def read(self, payload: bytes, events: list[Event]) -> None:
        """An event. Nearly every one is just another piece of text."""
        try:
            said = strict(payload)
        except (ValueError, RecursionError):
            if payload.strip() in (b"", b"[DONE]"):
                return
            try:
                said = lenient(payload)
            except NotAnObject:
                self.garble("an event that is not a JSON object")
                return
        if (number := said.sequence_number) is not None:
            if self._behind >= 0 and not self._follows(number):
                return
            self.sequence = number
        if said.type == _TEXT and said.delta and not said.logprobs:
            place = said.item_id if said.output_index is None else said.output_index
            if (part := self._plain.get((place, said.content_index))) is not None:
                events.append(Delta(part, said.delta))
                return
        self._take(said, events)

    def resume(self) -> str:
        """A background answer is read on behind its last event that came whole."""
        if not self.kept or self.sequence < 0:
            return ""
        self._behind = self.sequence
        return f"/{quote(self.response_id, safe='')}?stream=true&starting_after={self.sequence}"

    def _follows(self, number: int) -> bool:
        """Whether an event of a stream that is read on is the next one: some begin earlier than they were asked to, and what is
        missing cannot be made good."""
        if number <= self._behind:
            return False
        if number > self._behind + 1:
            self.truncate()
            return False
        self._behind = -1
        return True

    def _take(self, said: Said, events: list[Event]) -> None:
        kind = said.type
        if (delta := _SAYS.get(kind)) is not None:
            self._say(self._item_of(said, delta[0]), delta[1], said, said.delta or "", events)
        elif (whole := _DONE.get(kind)) is not None:
            self._whole(
                self._item_of(said, whole[0]), whole[1], said, said.text or said.refusal or said.arguments, events
            )
        elif kind in ("response.content_part.added", "response.content_part.done"):
            self._content(said, events)
        elif kind == "response.output_text.annotation.added":
            self._annotate(said, [said.annotation], events)
        elif kind == "response.output_item.added":
            self._added(said, said.item, events)
        elif kind == "response.output_item.done":
            self._done(said, said.item, events)
        elif (status := _ENDS.get(kind)) is not None:
            self._end(status, said.response, events)
        elif kind == "error" or (not kind and said.error):
            wrong = said.error or {"message": said.message, "code": said.code}
            self.fail(wrong)
        elif isinstance(said.response, dict):
            self._learn(said.response, events)
        else:
            self._progress(said, events)

    def _progress(self, said: Said, events: list[Event]) -> None:
        """How far an item has come that is told whole: `response.TYPE.STATE`, which says nothing but that."""
        item = (
            self._by_id.get(said.item_id or "") if said.output_index is None else self._by_index.get(said.output_index)
        )
        if item is None or item.box is None:
            return
        head, _, state = said.type.rpartition(".")
        if head == f"response.{item.type}" and state not in item.states | _PIECES and len(item.states) < MOST_STATES:
            item.states.add(state)
            events.append(Note("progress", {"part": item.box[0], "state": state}))

    def _learn(self, response: dict[str, Loose], events: list[Event]) -> None:
        """Keep the id of the answer; tell it where the provider keeps the answer, so that it can be read on after a break."""
        found = name_of(response.get("id"))
        if not self.response_id and found:
            self.response_id = found
            self.kept = response.get("background") is True
            if self.kept:
                events.append(Note("upstream_response", {"id": found}))

    def _item_of(self, said: Said, item_type: str) -> Item:
        """The item an event belongs to, by index, else by id, else the latest; made where none was announced."""
        index, item_id = said.output_index, said.item_id
        if index is not None:
            item = self._by_index.get(index)
        elif item_id:
            item = self._by_id.get(item_id)
        else:
            item = self._latest
        if item is None or item.done or item.type != item_type:
            item = self._new(index, item_id or "", item_type)
        return item

    def _new(self, index: int | None, item_id: str, item_type: str) -> Item:
        item = self._latest = Item(item_type)
        item.item_id = item_id
        self._items.append(item)
        if index is not None:
            self._by_index[index] = item
        if item_id:
            self._by_id[item_id] = item
        return item

    def _say(self, item: Item, kind: Kind, said: Said, text: str, events: list[Event]) -> None:
        if kind == "tool_call" and not (item.name and item.call_id):
            item.held.append(text)
            return
        part = self._part(item, kind, said.content_index, events)
        if kind == "reasoning":
            index = said.content_index if said.summary_index is None else said.summary_index
            if part.said and index != part.index:
                text = "\n\n" + text
            part.index = index
        text = self._halves.whole(part.number, text)
        part.said = part.said or bool(text)
        if kind == "text":
            place = (item.item_id or None) if said.output_index is None else said.output_index, said.content_index
            if part.number in self._halves:
                self._plain.pop(place, None)
            else:
                self._plain[place] = part.number
            if said.logprobs:
                # Our word for them is OpenAI chat's, whose entries are the same.
                probs = msgspec.Raw(msgspec.json.encode({"content": storable(said.logprobs)}))
                events.append(Delta(part.number, text, probs))
                return
        if text:
            events.append(Delta(part.number, text))

    def _whole(self, item: Item, kind: Kind, said: Said, text: str | None, events: list[Event]) -> None:
        """A text is done; say it all where no piece of it came."""
        index = said.content_index if kind in _CONTENT.values() else None
        part = item.parts.get((kind, index))
        if text and (part is None or not part.said) and not item.held:
            self._say(item, kind, said, text, events)

    def _content(self, said: Said, events: list[Event]) -> None:
        """A part of a message begins, or is done: with its text, where that was not told in pieces, and its citations."""
        loaded = said.part
        kind = _CONTENT.get(str(loaded.get("type"))) if isinstance(loaded, dict) else None
        if kind is None:
            return
        item = self._item_of(said, "message")
        part = self._part(item, kind, said.content_index, events)
        if said.type.endswith("done"):
            self._whole(item, kind, said, text_of(loaded.get("text")) or text_of(loaded.get("refusal")), events)
            if not part.citations:
                self._annotate(said, loaded.get("annotations"), events)

    def _annotate(self, said: Said, annotations: Loose, events: list[Event]) -> None:
        if found := objects_of(annotations):
            part = self._part(self._item_of(said, "message"), "text", said.content_index, events)
            part.citations += [citation_of(annotation) for annotation in found]

    def _added(self, said: Said, loaded: Loose, events: list[Event]) -> None:
        if not isinstance(loaded, dict):
            return
        item_type = name_of(loaded.get("type")) or ""
        item = self._announced(said, loaded)
        if item is None or item.done or item.type != item_type:
            item = self._new(said.output_index, name_of(loaded.get("id")) or "", item_type)
        item.learn(loaded)
        if item_type == "function_call":
            self._open_call(item, events)
        elif item_type and item_type not in _OURS and item.box is None:
            item.box = self._number(), json_of(loaded)
            announced: dict[str, Json] = {NAME: storable(loaded)}
            events.append(Opened(item.box[0], "binary", media_type=BLOCK % NAME, meta=announced))

    def _done(self, said: Said, loaded: Loose, events: list[Event]) -> None:
        """An item is done: what of it was not told in pieces is told now, and its parts are closed."""
        if not isinstance(loaded, dict):
            return
        item_type = name_of(loaded.get("type")) or ""
        item = self._announced(said, loaded)
        if item is not None and item.done and item.type == item_type:
            return
        if item is None or item.done or item.type != item_type:
            item = self._new(said.output_index, name_of(loaded.get("id")) or "", item_type)
        item.learn(loaded)
        item.done = True
        if item_type == "message":
            for index, content in enumerate(objects_of(loaded.get("content"))):
                content_index = index if (said.output_index is not None) else None
                self._content_of(item, content_index, content, events)
        elif item_type == "function_call":
            self._open_call(item, events, known=True)
            self._whole(item, "tool_call", said, text_of(loaded.get("arguments")), events)
        elif item_type == "reasoning":
            self._reasoned(item, loaded, events)
        elif item.box is not None:
            self._unbox(item, json_of(loaded), events)
        else:
            number = self._number()
            events.append(Opened(number, "binary", media_type=BLOCK % NAME))
            events += [Chunk(number, json_of(loaded)), Closed(number)]
        encrypted = name_of(loaded.get("encrypted_content")) if item_type == "reasoning" else None
        self._close(item, events, signature=signature_of(item.item_id, encrypted) if encrypted else "")

    def _unbox(self, item: Item, whole: bytes, events: list[Event]) -> None:
        """Say all of an item that is told whole."""
        if item.box is not None:
            events += [Chunk(item.box[0], whole), Closed(item.box[0])]
            item.box = None

    def _announced(self, said: Said, loaded: dict[str, Loose]) -> Item | None:
        """The item that an event about a whole item means, where it was heard of before."""
        if said.output_index is not None:
            return self._by_index.get(said.output_index)
        return self._by_id.get(name_of(loaded.get("id")) or "")

    def _content_of(self, item: Item, index: int | None, content: dict[str, Loose], events: list[Event]) -> None:
        kind = _CONTENT.get(str(content.get("type")))
        text = text_of(content.get("text")) or text_of(content.get("refusal"))
        if kind is None or (kind, index) in item.parts or (index is None and item.parts):
            return
        part = self._part(item, kind, index, events)
        if text:
            events.append(Delta(part.number, self._halves.whole(part.number, text)))
            part.said = True
        part.citations += [citation_of(annotation) for annotation in objects_of(content.get("annotations"))]

    def _reasoned(self, item: Item, loaded: dict[str, Loose], events: list[Event]) -> None:
        """The thoughts of an item that were not told in pieces. Those that are hidden leave a part without words."""
        told = item.parts.get(("reasoning", None))
        thoughts = [*objects_of(loaded.get("summary")), *objects_of(loaded.get("content"))]
        text = "\n\n".join(filter(None, (text_of(thought.get("text")) for thought in thoughts)))
        if told is None and (text or loaded.get("encrypted_content")):
            told = self._part(item, "reasoning", None, events)
        if told is not None and not told.said and text:
            events.append(Delta(told.number, self._halves.whole(told.number, text)))
            told.said = True

    def _part(self, item: Item, kind: Kind, index: int | None, events: list[Event]) -> Part:
        """The part of an item, opened if need be. Reasoning and arguments are one part each."""
        place = (kind, index if kind in _CONTENT.values() else None)
        part = item.parts.get(place)
        if part is None:
            part = item.parts[place] = Part(self._number())
            self._open.add(part.number)
            if kind == "tool_call":
                self._calls = True
                events.append(Opened(part.number, kind, name=item.name or None, call_id=item.call_id))
            else:
                events.append(Opened(part.number, kind))
        return part

    def _open_call(self, item: Item, events: list[Event], *, known: bool = False) -> None:
        """Open a function call once its id and its name are known, or no more will be."""
        if known:
            item.call_id = item.call_id or item.item_id or f"call_{len(self._items)}"
        if (item.name and item.call_id) or known:
            part = self._part(item, "tool_call", None, events)
            if item.held:
                events.append(Delta(part.number, self._halves.whole(part.number, "".join(item.held))))
                item.held.clear()
                part.said = True

    def _number(self) -> int:
        self.parts += 1
        return self.parts - 1

    def _close(self, item: Item, events: list[Event], *, signature: str = "") -> None:
        for part in item.parts.values():
            self._open.discard(part.number)
            if mark := self._halves.left(part.number):
                events.append(Delta(part.number, mark))
            meta: dict[str, Json] = {}
            if signature:
                meta["signature"] = signature
            if part.citations:
                meta["citations"] = part.citations
            if item.rest:
                meta[NAME] = item.rest
            events.append(Closed(part.number, meta or None))
        self._plain = {place: number for place, number in self._plain.items() if number in self._open}

    def _end(self, status: str, response: Loose, events: list[Event]) -> None:
        """The last event. Its `response` says how it ended, what it cost, and, where nothing else did, what was said."""
        loaded: dict[str, Loose] = response if isinstance(response, dict) else {}
        self._learn(loaded, events)
        stated = loaded.get("status")
        if isinstance(stated, str) and stated in _ENDS.values():
            status = stated
        if not self._items:
            for index, item in enumerate(objects_of(loaded.get("output"))):
                self._done(Said(output_index=index), item, events)
        usage = usage_of(loaded.get("usage"))
        if status == "failed":
            self.fail(loaded.get("error"))
        elif status == "cancelled":
            self.break_off(Broken("provider_error", f"{self._host} cancelled the answer"))
        elif status == "incomplete":
            details = loaded.get("incomplete_details")
            reason = name_of(details.get("reason")) if isinstance(details, dict) else None
            self._finish(_LIMITS.get(reason or "", reason or "length"), usage, events)
        else:
            self._finish("tool_calls" if self._calls else "stop", usage, events)

    def _finish(self, reason: str, usage: Usage | None, events: list[Event]) -> None:
        for item in self._items:
            if not item.done:
                item.done = True
                if item.held:
                    self._open_call(item, events, known=True)
                if item.box is not None:
                    self._unbox(item, item.box[1], events)
                self._close(item, events)
        if usage is not None:
            events.append(usage)
        self.ended = True
        events.append(Finished(reason))
