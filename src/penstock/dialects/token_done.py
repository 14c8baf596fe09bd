"""The token/done dialect of `/api/chat`: `{"token", "done"}` objects, one per piece of text, and one with `"done": true` at the end.

Its words are those of `penstock.core.spoken`: choice 0, one stream of text. `timestamp` is Unix time in seconds with three decimals,
`response_time` seconds since the run began. `total_tokens` is what the provider counted as output, else the pieces of text there were.
A tool is told when its result is there; a call that is left to the client is told before the end, without a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec
import orjson

from penstock.core.body import read_chat, read_messages, read_object, take
from penstock.core.cursor import Entry
from penstock.core.errors import TABLE, Refused
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Failed,
    Fault,
    Finished,
    Json,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.finish_reason import FinishReason
from penstock.core.frame import Frame, Traits, View
from penstock.core.request import ChatRequest
from penstock.core.snapshot import Snapshot
from penstock.core.spoken import Spoken

_encode = msgspec.json.Encoder().encode


class _Call:
    """A tool call while its arguments arrive."""

    __slots__ = ("call_id", "elided", "name", "pieces")

    def __init__(self, opened: Opened):
        self.name = opened.name or ""
        self.call_id = opened.call_id
        self.pieces: list[str] = []
        self.elided = False

    def told(self, result: Json, *, ok: bool = True) -> dict[str, Json]:
        """The tool object; its input is null where the beginning of it is no longer held."""
        text = "".join(self.pieces)
        arguments: Json = None
        if not self.elided:
            try:
                arguments = orjson.loads(text or "{}")
            except orjson.JSONDecodeError:
                arguments = text
        told = {"tool_name": self.name, "tool_input": arguments, "tool_result": result, "token": "", "done": False}
        return told if ok else {**told, "tool_failed": True}


class TokenDoneRenderer:
    """Remembers the tool calls, so that a result can be told with its call, and how much was said."""

    __slots__ = ("_answered", "_began", "_calls", "_count", "_past", "_reason", "_spoken", "_tail", "_usage", "_view")

    def __init__(self, view: View):
        self._view = view
        self._past = Snapshot()
        self._spoken = Spoken(reasoning=view.reasoning)
        self._calls: dict[int, _Call] = {}
        """The tool calls of choice 0 by part."""
        self._answered: set[str] = set()
        self._count = 0
        self._reason = FinishReason()
        """Of choice 0."""
        self._usage: Usage | None = None
        self._start(view.model, view.created)

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        self._spoken.prime(so_far)
        for part in so_far.parts:
            if self._spoken.shows(part.part):
                self._count += part.deltas
            elif (call := self._open(part.opening())) is not None:
                call.pieces, call.elided = [part.text], bool(part.elided)
            self._close(part.part, part.meta)
        self._answered = {tool.call_id for tool in so_far.tools}
        self._usage = so_far.usage
        if so_far.started:
            self._start(so_far.started.model, so_far.started.created)

    def rejoin(self) -> Sequence[Frame]:
        spoken = Spoken(reasoning=self._view.reasoning)
        frames = []
        for part in self._past.parts:
            if spoken.open(part.opening()):
                frames += [self._token(spoken.more(delta), self._past.at) for delta in part.retold()]
        return frames + [Frame(_encode(self._tool(event))) for event in self._past.tools]

    def reopen(self) -> Sequence[Frame]:
        """Nothing: words need no opening."""
        return ()

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        match event:
            case Delta():
                if self._spoken.shows(event.part):
                    self._count += entry.last - entry.first + 1
                    text = self._spoken.more(event)
                    return (self._token(text, entry.at),) if text else ()
                if (call := self._calls.get(event.part)) is not None:
                    call.pieces.append(event.text)
            case Opened():
                self._open(event)
            case Started():
                self._start(event.model, event.created)
            case Usage():
                self._usage = event
            case ToolReturned():
                return (Frame(_encode(self._tool(event))),)
            case Closed():
                self._close(event.part, event.meta)
            case Chunk() | Note():
                pass
            case Finished():
                return [Frame(_encode(body)) for body in self._ending(event, entry.at)]
            case Failed():
                return (Frame(_encode(_error(event.error))),)
            case Cancelled():
                return (Frame(_encode(_failure(f"the answer was cancelled ({event.by})", "CANCELLED"))),)
            case _:
                assert_never(event)
        return ()

    def _start(self, model: str, created: int) -> None:
        self._began = created * 1000
        self._tail = b',"done":false,"model":%b,"timestamp":' % orjson.dumps(model)

    def _open(self, opened: Opened) -> _Call | None:
        """Take note of a part; returns the call, if the part is one."""
        if opened.kind == "tool_call" and opened.choice == 0:
            call = self._calls[opened.part] = _Call(opened)
            return call
        self._spoken.open(opened)
        return None

    def _close(self, part: int, meta: dict[str, Json] | None) -> None:
        if part in self._calls or self._spoken.shows(part):
            self._reason.closed(part, meta)

    def _token(self, text: str, at: int) -> Frame:
        return Frame(b'{"token":%b%b%d.%03d}' % (orjson.dumps(text), self._tail, *divmod(self._began + at, 1000)))

    def _tool(self, event: ToolReturned) -> dict[str, Json]:
        self._answered.add(event.call_id)
        for call in self._calls.values():
            if call.call_id == event.call_id:
                return call.told(event.body, ok=event.ok)
        return _Call(Opened(-1, "tool_call", name=event.call_id)).told(event.body, ok=event.ok)

    def _ending(self, event: Finished, at: int) -> list[dict[str, Json]]:
        """The calls that are left to the client, and the end object."""
        unanswered = [call.told(None) for call in self._calls.values() if call.call_id not in self._answered]
        total = self._usage.output if self._usage else self._count
        end: dict[str, Json] = {
            "done": True,
            "total_tokens": total,
            "finish_reason": self._reason.word(event.reason),
            "response_time": at / 1000,
        }
        return [*unanswered, end]


class TokenDoneDialect:
    """The dialect of `/api/chat`."""

    name = "token-done"
    traits = Traits()

    def parse(self, body: bytes) -> ChatRequest:
        """`{"message"}` is enough; `history` holds the messages before it, or `messages` the whole conversation."""
        fields = read_object(body)
        message = take(fields, "message", str, None)
        history = take(fields, "history", list, None)
        if message is None:
            if fields.get("messages") is None and fields.get("prompt") is None:
                raise Refused("invalid_request", "'message' is required: the text to answer", param="message")
            if history is not None:
                raise Refused("invalid_request", "'history' goes with 'message'", param="history")
        else:
            if fields.get("messages") is not None or fields.get("prompt") is not None:
                raise Refused("invalid_request", "send 'message' or 'messages', not both", param="message")
            before = read_messages(history, "history") if history else ()
            fields["messages"] = [*before, {"role": "user", "content": message}]
        return read_chat(fields)

    def renderer(self, view: View) -> TokenDoneRenderer:
        return TokenDoneRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        """The end object with all the text as its token; `tools` holds the tool objects, where there are any."""
        pen = TokenDoneRenderer(view)
        pen.prime(snapshot)
        *unanswered, end = pen._ending(snapshot.end if isinstance(snapshot.end, Finished) else Finished(), snapshot.at)
        body: dict[str, Json] = {
            "token": Spoken(reasoning=view.reasoning).whole(snapshot),
            **end,
            "model": snapshot.started.model if snapshot.started else view.model,
        }
        if tools := [*(pen._tool(event) for event in snapshot.tools), *unanswered]:
            body["tools"] = list(tools)
        return _encode(body)

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return _encode({**_error(fault), "request_id": request_id})


def _error(fault: Fault) -> dict[str, Json]:
    row = TABLE.get(fault.code)
    code = "RATE_LIMIT" if row and row.status == 429 else fault.code.upper()
    return _failure(fault.message, code, fault.retry_after)


def _failure(message: str, code: str, retry_after: float | None = None) -> dict[str, Json]:
    return {"error": message, "error_code": code, "done": True, "retry_after": retry_after}
