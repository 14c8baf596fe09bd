"""The AI SDK's UI message stream, version 1: what `useChat` reads (`vercel/ai`, `packages/ai/src/ui-message-stream`).

One run is one UI message, told as chunks: `start`, then per step `start-step` … `finish-step`, then `finish`, `abort` or `error`,
and `[DONE]` in any case, as the SDK's own server has it. A new step begins where the model goes on after the result of a tool.
Only choice 0 is told: a UI message has no others. What the client gets in `message-metadata` is `run`, `model`, `createdAt`
(Unix time in milliseconds) and, at the end, `usage` in the words of the SDK's `LanguageModelUsage`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

import msgspec
import orjson

from penstock.core.body import read_object
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
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.finish_reason import FinishReason
from penstock.core.frame import Frame, Traits, View
from penstock.core.request import ChatRequest
from penstock.core.snapshot import PartSoFar, Snapshot
from penstock.core.turn import call_id
from penstock.dialects.ai_sdk_earlier import chunks, earlier
from penstock.dialects.ai_sdk_parts import Call, Shown, output, shown
from penstock.dialects.ai_sdk_request import read_ui

ID = "msg_"
"""What the id of a message begins with. The rest is the run's, for every reader: a client that resumes replaces what it has."""

_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}
"""Why an answer ended, in the words of the SDK (`FinishReason`); for all others it has `other`."""

_ASIDE = frozenset({"block"})
"""Topics of notes that are not told: where a text cites, its sources say so at its end."""

_STEP = Frame(b'{"type":"start-step"}')
_STEP_OVER = Frame(b'{"type":"finish-step"}')
_DONE = Frame(b"[DONE]", sentinel=True)
_TOPIC = re.compile(r"[^A-Za-z0-9_-]+")

_encode = msgspec.json.Encoder().encode


class AiSdkRenderer:
    """Remembers which parts are open, the arguments of open calls, the bytes of open files, and which tools have returned."""

    __slots__ = (
        "_before",
        "_begun",
        "_calls",
        "_earlier",
        "_latest",
        "_open",
        "_past",
        "_reason",
        "_returned",
        "_usage",
        "_view",
    )

    def __init__(self, view: View):
        self._view = view
        self._earlier = earlier(view.echo)
        self._past = Snapshot()
        self._begun = False
        self._open: dict[int, Shown] = {}
        self._before: dict[int, tuple[bytes, list[str] | None]] = {}
        """What stands before the words of an open part; for a call, where its arguments are gathered."""
        self._latest: Shown | None = None
        """The part that was opened last."""
        self._calls: dict[str, Call] = {}
        self._returned: dict[str, ToolReturned] = {}
        """The last result of each call, also of calls that nobody has made yet."""
        self._reason = FinishReason()
        self._usage: Usage | None = None

    # -- joining -------------------------------------------------------------------------------------------------------

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        self._begun = so_far.through > 0
        self._usage = so_far.usage
        self._returned = {tool.call_id: tool for tool in so_far.tools}
        for past in so_far.parts:
            if (part := shown(past.opening())) is not None:
                part.recall(past)
                self._open_part(past.part, part)
                if past.closed:
                    self._close(past.part, past.meta)
        for call in self._calls.values():
            call.told = call.closed and (bool(call.pieces) or call is not self._latest or call.id in self._returned)

    def rejoin(self) -> Sequence[Frame]:
        """All of the message: where it goes on from an earlier one of the client, that one's parts first."""
        past = self._past
        if not self._begun:
            return ()
        fresh = AiSdkRenderer(msgspec.structs.replace(self._view, afresh=True))
        frames = fresh._start(past.started)
        frames += [_data(note.topic, note.body) for note in past.notes if note.topic not in _ASIDE]
        results = list(past.tools)
        for part in past.parts:
            if part.kind != "tool_call":
                frames += fresh._results(results)
            frames += fresh._part(part)
        frames += fresh._results(results)
        return frames + [frame for tool in results for frame in fresh._tool(tool)]

    def reopen(self) -> Sequence[Frame]:
        if not self._begun:
            return ()
        # A result may still come for any call, so the parser must know of all.
        calls = [call.tell() for call in self._calls.values() if call.told]
        parts = [frame for part in self._open.values() for frame in part.opening()]
        return [*self._start(self._past.started), *calls, *parts]

    def _part(self, part: PartSoFar) -> list[Frame]:
        """All of one part of the past."""
        frames = self._opened(part.opening())
        if part.kind == "binary":
            self._chunk(Chunk(part.part, part.data))
        for delta in part.retold():
            frames += self._delta(delta)
        return frames + self._closed(Closed(part.part, part.meta)) if part.closed else frames

    def _results(self, results: list[ToolReturned]) -> list[Frame]:
        """The results of the calls that were told by now, which are then no longer among `results`."""
        mine = [tool for tool in results if tool.call_id in self._calls]
        results[:] = [tool for tool in results if tool.call_id not in self._calls]
        return [frame for tool in mine for frame in self._tool(tool)]

    # -- telling -------------------------------------------------------------------------------------------------------

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta:
            return self._delta(event)
        frames = self._begin(event)
        match event:
            case Delta():
                frames += self._delta(event)
            case Opened():
                frames += self._opened(event)
            case Closed():
                frames += self._closed(event)
            case Chunk():
                self._chunk(event)
            case ToolReturned():
                frames += self._tool(event)
            case Note():
                if event.topic not in _ASIDE:
                    frames.append(_data(event.topic, event.body))
            case Usage():
                self._usage = event
            case Started():
                pass
            case Finished():
                frames += self._finished(event)
            case Failed():
                frames += self._broken({"type": "error", "errorText": event.error.message})
            case Cancelled():
                frames += self._broken({"type": "abort", "reason": event.by})
            case _:
                assert_never(event)
        return frames

    def _begin(self, event: object) -> list[Frame]:
        """The message begins with the first thing said, whatever it is: the client gives it a name of its own otherwise."""
        started = event if isinstance(event, Started) else None
        if self._begun:
            return [] if started is None else [_frame(type="message-metadata", messageMetadata=self._metadata(started))]
        self._begun = True
        return self._start(started)

    def _start(self, started: Started | None) -> list[Frame]:
        start: dict[str, Json] = {"type": "start", "messageId": self._earlier.id or self._view.answer_id(ID)}
        if started is not None:
            start["messageMetadata"] = self._metadata(started)
        earlier = [Frame(_encode(chunk)) for chunk in chunks(self._earlier.parts)] if self._view.afresh else []
        return [Frame(_encode(start)), *earlier, _STEP]

    def _metadata(self, started: Started) -> dict[str, Json]:
        return {"run": self._view.run, "model": started.model, "createdAt": started.created * 1000}

    def _open_part(self, number: int, part: Shown) -> None:
        """Take note of a part that is told."""
        self._open[number] = self._latest = part
        self._before[number] = part.before, part.pieces
        if isinstance(part, Call):
            self._calls[part.id] = part

    def _opened(self, opened: Opened) -> list[Frame]:
        part = shown(opened)
        if part is None:
            return []
        latest = self._latest
        frames = self._settle()
        if isinstance(latest, Call) and latest.id in self._returned and not self._open:
            frames += [_STEP_OVER, _STEP]
        self._open_part(opened.part, part)
        return frames + part.opening()

    def _delta(self, event: Delta) -> list[Frame]:
        said = self._before.get(event.part)
        if said is None or not event.text:
            return []
        if said[1] is not None:
            said[1].append(event.text)
        return [Frame(b"%b%b}" % (said[0], orjson.dumps(event.text)))]

    def _chunk(self, event: Chunk) -> None:
        part = self._open.get(event.part)
        if part is not None:
            part.add(event.data)

    def _close(self, number: int, meta: dict[str, Json] | None) -> Shown | None:
        """Take note of the end of a part; None where it is not told."""
        part = self._open.pop(number, None)
        self._before.pop(number, None)
        if part is not None:
            part.close(meta)
            self._reason.closed(number, meta)
        return part

    def _closed(self, event: Closed) -> list[Frame]:
        part = self._close(event.part, event.meta)
        if part is None:
            return []
        if not isinstance(part, Call):
            return part.closing(event.meta)
        result = self._returned.get(part.id)
        if result is None and part is self._latest and not part.pieces:
            return []
        return [part.tell(), *([output(part.id, result)] if result is not None else [])]

    def _settle(self) -> list[Frame]:
        """A call without arguments is told when something follows it: until then it may be one that was cut off."""
        latest = self._latest
        return [latest.tell()] if isinstance(latest, Call) and latest.closed and not latest.told else []

    def _tool(self, event: ToolReturned) -> list[Frame]:
        self._returned[event.call_id] = event
        call = self._calls.get(event.call_id)
        if call is None:
            body: dict[str, Json] = {"toolCallId": event.call_id, "output": event.body, "ok": event.ok}
            return [_data("tool-returned", body)]
        if not call.closed:
            return []  # told when it is known what was asked
        return [*([] if call.told else [call.tell()]), output(call.id, event)]

    def _finished(self, event: Finished) -> list[Frame]:
        reason = self._reason.word(event.reason)
        finish: dict[str, Json] = {"type": "finish", "finishReason": _REASONS.get(reason, "other")}
        if self._usage:
            finish["messageMetadata"] = {"usage": _usage(self._usage)}
        return [*self._settle(), _STEP_OVER, Frame(_encode(finish)), *self._sentinel()]

    def _broken(self, last: dict[str, Json]) -> list[Frame]:
        """The end of an answer that is not complete. A call that was cut off must not look like one to be made."""
        frames = []
        latest = self._latest
        if isinstance(latest, Call) and not latest.told:
            frames.append(latest.error("the call was cut off"))
        if self._usage:
            frames.append(_frame(type="message-metadata", messageMetadata={"usage": _usage(self._usage)}))
        return [*frames, Frame(_encode(last)), *self._sentinel()]

    def _sentinel(self) -> list[Frame]:
        return [_DONE] if self._view.sentinel else []


class AiSdkDialect:
    """The dialect of `/v1/chat/ui`."""

    name = "ai-sdk"
    traits = Traits(
        cursor_key="cursor",
        retells=True,
        headers=((b"x-vercel-ai-ui-message-stream", b"v1"),),
        chats=True,
    )

    def parse(self, body: bytes) -> ChatRequest:
        """What `DefaultChatTransport` sends: `{id, messages: [{id, role, parts}], trigger, messageId, …}`.

        A missing `stream` means true.
        """
        return read_ui(read_object(body))

    def renderer(self, view: View) -> AiSdkRenderer:
        return AiSdkRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        """One `UIMessage`, as `useChat` would have it at the end of the stream, with `finishReason` beside it."""
        pen = AiSdkRenderer(view)
        pen.prime(snapshot)
        reason = pen._reason.word(snapshot.end.reason if isinstance(snapshot.end, Finished) else "stop")
        metadata: dict[str, Json] = pen._metadata(snapshot.started) if snapshot.started else {"run": view.run}
        if snapshot.usage:
            metadata["usage"] = _usage(snapshot.usage)
        notes = (note for note in snapshot.notes if note.topic not in _ASIDE)
        parts: list[Json] = [{"type": _data_type(note.topic), "data": note.body} for note in notes]
        parts.append({"type": "step-start"})
        for part in snapshot.parts:
            if (mine := shown(part.opening())) is not None:
                parts += mine.whole(part, pen._returned.get(call_id(part)))
        return _encode(
            {
                "id": pen._earlier.id or view.answer_id(ID),
                "role": "assistant",
                "metadata": metadata,
                "parts": [*pen._earlier.parts, *parts],
                "finishReason": _REASONS.get(reason, "other"),
            }
        )

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        """JSON, which `useChat` makes the message of its error as it is."""
        told = {"message": fault.message, "code": fault.code, "param": fault.param, "retryAfter": fault.retry_after}
        return _encode(
            {"error": {name: value for name, value in told.items() if value is not None}, "requestId": request_id}
        )


def _data_type(topic: str) -> str:
    return "data-" + (_TOPIC.sub("-", topic).strip("-") or "note")


def _data(topic: str, body: Json) -> Frame:
    return _frame(type=_data_type(topic), data=body)


def _frame(**members: Json) -> Frame:
    return Frame(_encode(members))


def _usage(usage: Usage) -> dict[str, Json]:
    """`LanguageModelUsage` of the SDK: what is not known is left out."""
    counts: dict[str, Json] = {
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
    }
    known = {"cacheReadTokens": usage.cached, "cacheWriteTokens": usage.cache_written}
    if details := _known(known):
        counts["inputTokenDetails"] = details
    if usage.reasoning is not None:
        counts["outputTokenDetails"] = {"reasoningTokens": usage.reasoning}
    return counts


def _known(counts: dict[str, int | None]) -> dict[str, Json]:
    return {name: count for name, count in counts.items() if count is not None}
