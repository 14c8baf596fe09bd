"""OpenAI chat completions: `chat.completion.chunk` objects in a stream, one `chat.completion` without.

Shapes follow openai-python (`types/chat/chat_completion_chunk.py`); `reasoning_content` is the member that vLLM, DeepSeek and
litellm have made usual. Binary parts, notes and results of server tools have no words here and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
    Json,
    Kind,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.finish_reason import FinishReason
from penstock.core.frame import Frame, Traits, View, one_line
from penstock.core.request import ChatRequest
from penstock.core.snapshot import PartSoFar, Snapshot
from penstock.core.turn import call_id
from penstock.dialects.openai_common import cancelled, failed, finish_reason, head, last_words, refusal, whole
from penstock.dialects.openai_fields import check_chat, check_messages

ID = "chatcmpl-"
"""What the id of an answer begins with."""

_MEMBER: dict[Kind, bytes] = {"text": b"content", "reasoning": b"reasoning_content", "refusal": b"refusal"}
_AGAIN = "extra_content"
"""The member of a tool call in which Gemini has its thought signatures, and misses them in the next question."""
_ROLE = b'{"role":"assistant","content":""}'


class OpenAIChatRenderer:
    """Remembers which choices have begun and how they ended, what each tool call is numbered, and the usage."""

    __slots__ = ("_around", "_calls", "_head", "_open", "_past", "_reasons", "_said", "_tail", "_usage", "_view")

    def __init__(self, view: View):
        self._view = view
        self._head = _head(view, view.model, view.created)
        self._tail = b',"usage":null}' if view.include_usage else b"}"
        self._past = Snapshot()
        self._open: dict[int, Opened] = {}
        self._around: dict[int, tuple[bytes, bytes]] = {}
        """What stands before and after the text of a part, once that part has said something."""
        self._reasons: dict[int, FinishReason] = {}
        """Why each choice ended that has begun."""
        self._calls: dict[int, int] = {}
        """How many tool calls each choice has."""
        self._said: set[tuple[int, Kind]] = set()
        """What was said at all: the next part of the same choice and kind then begins with a blank line."""
        self._usage: Usage | None = None

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        if so_far.started:
            self._start(so_far.started)
        self._usage = so_far.usage
        for part in so_far.parts:
            opened = part.opening()
            self._opened(opened)
            if part.kind in _MEMBER and (part.text or part.elided):
                self._begin(opened)
            if part.closed:
                self._closed(Closed(part.part, part.meta))

    def rejoin(self) -> Sequence[Frame]:
        fresh = OpenAIChatRenderer(self._view)
        fresh._head = self._head
        frames: list[Frame] = []
        for part in self._past.parts:
            frames += fresh._opened(part.opening())
            for delta in part.retold():
                frames += fresh._delta(delta)
            if part.closed:
                frames += fresh._closed(Closed(part.part, part.meta))
        return frames

    def reopen(self) -> Sequence[Frame]:
        fresh = OpenAIChatRenderer(self._view)
        fresh._head = self._head
        return [frame for part in self._past.parts for frame in fresh._opened(part.opening(), calls=not part.closed)]

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta and event.logprobs is None:
            around = self._around.get(event.part)
            if around is not None:
                return (Frame(b"%b%b%b" % (around[0], orjson.dumps(event.text), around[1])),) if event.text else ()
        match event:
            case Delta():
                return self._delta(event)
            case Opened():
                return self._opened(event)
            case Closed():
                return self._closed(event)
            case Started():
                self._start(event)
            case Usage():
                self._usage = event
            case Chunk() | ToolReturned() | Note():
                pass
            case Finished():
                return self._finished(event)
            case Failed():
                return (failed(event.error),)
            case Cancelled():
                return (cancelled(event.by),)
            case _:
                assert_never(event)
        return ()

    def _start(self, event: Started) -> None:
        self._head = _head(self._view, event.model, event.created)

    def _opened(self, event: Opened, *, calls: bool = True) -> list[Frame]:
        frames = []
        self._open[event.part] = event
        if event.choice not in self._reasons:
            self._reasons[event.choice] = FinishReason()
            frames.append(self._chunk(event.choice, _ROLE))
        if event.kind == "tool_call":
            index = self._calls.get(event.choice, 0)
            self._calls[event.choice] = index + 1
            self._around[event.part] = self._wrap(
                event.choice, b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index, b"}}]}"
            )
            call = {
                "index": index,
                "id": call_id(event),
                "type": "function",
                "function": {"name": event.name or "", "arguments": ""},
            }
            if calls:
                frames.append(self._chunk(event.choice, b'{"tool_calls":[%b]}' % orjson.dumps(call)))
        return frames

    def _delta(self, event: Delta) -> Sequence[Frame]:
        """A delta off the beaten track: the first of its part, or one with log probabilities."""
        opened = self._open[event.part]
        text = self._begin(opened) + event.text if event.text else ""
        if not text and event.logprobs is None:
            return ()
        before, after = self._around.get(event.part) or self._wrap_text(opened)
        if event.logprobs is not None:
            after = after.replace(
                b',"finish_reason"', b',"logprobs":%b,"finish_reason"' % one_line(bytes(event.logprobs)), 1
            )
        return (Frame(b"%b%b%b" % (before, orjson.dumps(text), after)),)

    def _begin(self, opened: Opened) -> str:
        """Note that a part has something to say; what stands between it and the part of its kind before it."""
        if opened.part in self._around:
            return ""
        self._around[opened.part] = self._wrap_text(opened)
        place = opened.choice, opened.kind
        if place in self._said:
            return "\n\n"
        self._said.add(place)
        return ""

    def _closed(self, event: Closed) -> list[Frame]:
        """Nothing is told of an end but what a provider wants to see again with a tool call."""
        opened = self._open.pop(event.part)
        around = self._around.pop(event.part, None)
        self._reasons[opened.choice].closed(event.part, event.meta)
        if opened.kind == "tool_call" and around is not None and event.meta and (again := event.meta.get(_AGAIN)):
            after = around[1].replace(b"}}]}", b'},"%b":%b}]}' % (_AGAIN.encode(), orjson.dumps(again)), 1)
            return [Frame(b'%b""%b' % (around[0], after))]
        return []

    def _finished(self, event: Finished) -> list[Frame]:
        frames = []
        if not self._reasons:
            self._reasons[0] = FinishReason()
            frames.append(self._chunk(0, _ROLE))
        for choice in sorted(self._reasons):
            reason = finish_reason(self._reasons[choice].word(event.reason))
            frames.append(self._chunk(choice, b"{}", orjson.dumps(reason)))
        return [*frames, *last_words(self._view, self._head, self._usage)]

    def _chunk(self, choice: int, delta: bytes, reason: bytes = b"null") -> Frame:
        before, after = self._wrap(choice, delta, b"", reason)
        return Frame(before + after)

    def _wrap_text(self, opened: Opened) -> tuple[bytes, bytes]:
        return self._wrap(opened.choice, b'{"%b":' % _MEMBER[opened.kind], b"}")

    def _wrap(self, choice: int, before: bytes, after: bytes, reason: bytes = b"null") -> tuple[bytes, bytes]:
        return (
            b'%b"choices":[{"index":%d,"delta":%b' % (self._head, choice, before),
            b'%b,"finish_reason":%b}]%b' % (after, reason, self._tail),
        )


class OpenAIChatDialect:
    """The dialect of `/v1/chat/completions` and `/v1/chat/stream`."""

    name = "openai-chat"
    traits = Traits(cursor_key="cursor")

    def parse(self, body: bytes) -> ChatRequest:
        """As OpenAI reads it: `messages` is required, and a missing `stream` means false."""
        fields = read_object(body)
        if fields.get("messages") is None:
            raise Refused("invalid_request", "'messages' is required: a list of {role, content}", param="messages")
        if fields.get("stream") is None:
            fields["stream"] = False
        request = read_chat(fields)
        check_messages(request.messages)
        check_chat(request.params)
        return request

    def renderer(self, view: View) -> OpenAIChatRenderer:
        return OpenAIChatRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        return whole(snapshot, view, ID, "chat.completion", partial(_choice, snapshot))

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return refusal(fault, request_id)


def _head(view: View, model: str, created: int) -> bytes:
    return head(view, ID, "chat.completion.chunk", model=model, created=created)


def _choice(snapshot: Snapshot, choice: int) -> dict[str, object]:
    parts = [part for part in snapshot.parts if part.choice == choice]
    message: dict[str, object] = {"role": "assistant", "content": snapshot.text(choice)}
    kinds = {part.kind for part in parts}
    if "text" not in kinds and kinds & {"tool_call", "refusal"}:
        message["content"] = None
    message["refusal"] = snapshot.text(choice, "refusal") if "refusal" in kinds else None
    if "reasoning" in kinds:
        message["reasoning_content"] = snapshot.text(choice, "reasoning")
    calls = [
        {
            "id": call_id(part),
            "type": "function",
            "function": {"name": part.name or "", "arguments": part.text},
            **({_AGAIN: part.meta[_AGAIN]} if part.meta and part.meta.get(_AGAIN) else {}),
        }
        for part in parts
        if part.kind == "tool_call"
    ]
    if calls:
        message["tool_calls"] = calls
    reason = finish_reason(snapshot.finish_reason(choice))
    return {"index": choice, "message": message, "logprobs": _logprobs(parts), "finish_reason": reason}


def _logprobs(parts: Sequence[PartSoFar]) -> Json:
    """The log probabilities of a whole choice: the lists of its deltas, one after the other."""
    merged: dict[str, Json] = {}
    for part in parts:
        for raw in part.logprobs:
            value: Json = msgspec.json.decode(raw)
            if not isinstance(value, dict):
                continue
            for name, tokens in value.items():
                so_far = merged.get(name)
                if isinstance(so_far, list) and isinstance(tokens, list):
                    so_far += tokens
                elif so_far is None:
                    merged[name] = tokens
    return merged or None
