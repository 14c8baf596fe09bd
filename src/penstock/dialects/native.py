"""penstock's own vocabulary: the events as they are, the same words on every transport."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from penstock.core.body import read_chat, read_object
from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Fault
from penstock.core.frame import Frame, Traits, View, one_line
from penstock.core.request import ChatRequest
from penstock.core.snapshot import Snapshot, pieces

_encode = msgspec.json.Encoder().encode


class NativeRenderer:
    """Stateless: every entry is one frame."""

    __slots__ = ("_binary", "_heads", "_named", "_past")

    def __init__(self, view: View):
        self._binary = view.binary
        self._named = view.event_names
        self._heads: dict[int, bytes] = {}
        self._past = Snapshot()

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far

    def rejoin(self) -> Sequence[Frame]:
        events: list[Event] = []
        if self._past.started:
            events.append(self._past.started)
        events.extend(self._past.notes)
        for part in self._past.parts:
            events.append(part.opening())
            events.extend(part.retold())
            events.extend(Chunk(part.part, data) for data in pieces(part.data))
            if part.closed:
                events.append(Closed(part.part, part.meta))
        events.extend(self._past.tools)
        if self._past.usage:
            events.append(self._past.usage)
        return [self._frame(event) for event in events]

    def reopen(self) -> Sequence[Frame]:
        events: list[Event] = [self._past.started] if self._past.started else []
        events.extend(part.opening() for part in self._past.parts if not part.closed)
        return [self._frame(event) for event in events]

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta and event.logprobs is None and not self._named:
            part = event.part
            head = self._heads.get(part)
            if head is None:
                head = self._heads[part] = b'{"type":"delta","part":%d,"text":' % part
            return (Frame(b"%b%b}" % (head, orjson.dumps(event.text))),)
        return (self._frame(event),)

    def _frame(self, event: Event) -> Frame:
        if self._binary and isinstance(event, Chunk):
            return Frame(event.data, part=event.part)
        data = _encode(event)
        if isinstance(event, Delta) and event.logprobs is not None:
            data = one_line(data)
        return Frame(data, f"penstock.{event.__struct_config__.tag}" if self._named else "")


class NativeDialect:
    """The dialect of `/v1/streams` and of the WebSocket."""

    name = "native"
    traits = Traits()

    def parse(self, body: bytes) -> ChatRequest:
        return read_chat(read_object(body))

    def renderer(self, view: View) -> NativeRenderer:
        return NativeRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        """The snapshot itself, under the run's id."""
        said = _encode(snapshot)[1:]
        return b'{"id":%b,"state":"ended"%b%b' % (_encode(view.run), b"" if said == b"}" else b",", said)

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return _encode({"type": "error", "error": fault, "request_id": request_id})

    def gap(self, start: int, end: int, reason: str) -> Sequence[Frame]:
        return (Frame(_encode({"type": "gap", "from": start, "to": end, "reason": reason})),)
