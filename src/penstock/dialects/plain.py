"""The words alone, as `penstock.core.spoken` has them: choice 0, one stream of text.

A bare transport carries the text itself and has no words for how it ended. Others get JSON objects: `{"text"}`, and a last one
of `{"done": true}`, `{"error": …}` or `{"cancelled": true}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec
import orjson

from penstock.core.body import read_chat, read_object
from penstock.core.cursor import Entry
from penstock.core.errors import Refused
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Fault,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.frame import Frame, Traits, View
from penstock.core.request import ChatRequest
from penstock.core.snapshot import Snapshot, pieces
from penstock.core.spoken import Spoken

_encode = msgspec.json.Encoder().encode


class PlainRenderer:
    """Remembers which parts are read, and which of them have begun."""

    __slots__ = ("_bare", "_past", "_reasoning", "_spoken")

    def __init__(self, view: View):
        self._bare = view.bare
        self._reasoning = view.reasoning
        self._spoken = Spoken(reasoning=view.reasoning)
        self._past = Snapshot()

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        self._spoken.prime(so_far)

    def rejoin(self) -> Sequence[Frame]:
        return [self._words(text) for text in pieces(Spoken(reasoning=self._reasoning).whole(self._past))]

    def reopen(self) -> Sequence[Frame]:
        """Nothing: words need no opening."""
        return ()

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        match event:
            case Delta():
                text = self._spoken.more(event)
                return (self._words(text),) if text else ()
            case Opened():
                self._spoken.open(event)
            case Started() | Chunk() | Closed() | ToolReturned() | Note() | Usage():
                pass
            case Finished() | Failed() | Cancelled() if self._bare:
                pass
            case Finished():
                return (Frame(b'{"done":true}'),)
            case Failed():
                return (Frame(_encode({"error": event.error})),)
            case Cancelled():
                return (Frame(b'{"cancelled":true}'),)
            case _:
                assert_never(event)
        return ()

    def _words(self, text: str) -> Frame:
        return Frame(text.encode() if self._bare else b'{"text":%b}' % orjson.dumps(text))


class PlainDialect:
    """The dialect of `/v1/chat/chunked`."""

    name = "plain"
    traits = Traits()

    def parse(self, body: bytes) -> ChatRequest:
        """A JSON object as in `native`, or anything else as the prompt itself, in UTF-8."""
        if body.lstrip()[:1] == b"{":
            return read_chat(read_object(body))
        try:
            prompt = body.decode()
        except UnicodeDecodeError:
            raise Refused("invalid_request", "the body is neither a JSON object nor a prompt in UTF-8") from None
        if not prompt.strip():
            raise Refused("invalid_request", 'the body is empty: send a prompt, or {"prompt": "Hello"}')
        return read_chat({"prompt": prompt})

    def renderer(self, view: View) -> PlainRenderer:
        return PlainRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        return _encode({"text": Spoken(reasoning=view.reasoning).whole(snapshot)})

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return _encode({"error": fault, "request_id": request_id})
