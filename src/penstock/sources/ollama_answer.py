"""Lines of Ollama's `/api/chat` → our events: the whole state of one answer, and nothing of the network.

`{"message": {"content", "thinking", "tool_calls"}, "done": false}` line by line; the last one says `done`, why, and what it cost
(docs.ollama.com/api/chat). An error in the middle is one more line, `{"error": "…"}`. A tool call comes whole.
"""

from __future__ import annotations

import json

import msgspec

from penstock.core.events import Closed, Delta, Event, Finished, Kind, Opened, Usage
from penstock.sources.ending import Ending
from penstock.sources.halves import marked
from penstock.sources.loose import Loose, count_of


class Message(msgspec.Struct, gc=False):
    """What a line adds to the answer."""

    content: Loose = None
    thinking: Loose = None
    tool_calls: Loose = None


class Line(msgspec.Struct, gc=False):
    """One line; members that are not here are ignored."""

    message: Message | None = None
    done: bool = False
    done_reason: Loose = None
    created_at: Loose = None
    prompt_eval_count: Loose = None
    eval_count: Loose = None
    logprobs: Loose = None
    error: Loose = None


_strict = msgspec.json.Decoder(Line).decode


def lenient(data: bytes) -> Line:
    """A line that holds halves of surrogate pairs, which no Go program writes: they are marked. Raises `ValueError` for no such object."""
    try:
        loaded = json.loads(data.decode("utf-8", "replace"))
        return _strict(marked(json.dumps(loaded, ensure_ascii=False)).encode())
    except RecursionError as deep:
        raise ValueError("nested too deep") from deep


class Answer(Ending):
    """Takes lines, gives events. Once `ended`, it takes nothing more."""

    __slots__ = ("_calls", "_open")

    def __init__(self, host: str, *, secret: str | None = None):
        super().__init__(host, secret=secret)
        self._open: dict[Kind, int] = {}
        self._calls = 0

    def read(self, payload: bytes, events: list[Event]) -> None:
        try:
            line = _strict(payload)
        except (ValueError, RecursionError):
            self._odd(payload, events)
        else:
            self._take(line, events)

    def over(self, rest: bytes, events: list[Event]) -> None:
        """The last line may lack its end, or be half of one."""
        try:
            self._take(lenient(rest), events)
        except ValueError:
            events.clear()
        self.truncate()

    def _odd(self, payload: bytes, events: list[Event]) -> None:
        try:
            line = lenient(payload)
        except ValueError:
            self.garble("a line that is not an answer's JSON object")
        else:
            self._take(line, events)

    def _take(self, line: Line, events: list[Event]) -> None:
        if line.error:
            self.fail(line.error)
            return
        if (message := line.message) is not None:
            if message.thinking:
                self._say("reasoning", message.thinking, None, events)
            if message.content or line.logprobs:
                self._say("text", message.content or "", line.logprobs, events)
            if message.tool_calls:
                self._call(message.tool_calls, line.created_at, events)
        if line.done:
            self._complete(line, events)

    def _say(self, kind: Kind, text: Loose, logprobs: Loose, events: list[Event]) -> None:
        if not isinstance(text, str):
            self.garble(f"{kind} that is not text")
            return
        part = self._open.get(kind)
        if part is None:
            part = self._open[kind] = self._begin(Opened(self.parts, kind), events)
        # As the clients of OpenAI chat know them; each of Ollama's has the same members.
        told = (
            msgspec.Raw(msgspec.json.encode({"content": logprobs})) if isinstance(logprobs, list) and logprobs else None
        )
        events.append(Delta(part, text, told))

    def _begin(self, opened: Opened, events: list[Event]) -> int:
        events.append(opened)
        self.parts = opened.part + 1
        return opened.part

    def _call(self, calls: Loose, created: Loose, events: list[Event]) -> None:
        for call in calls if isinstance(calls, list) else (calls,):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(name := function.get("name"), str):
                self.garble("a tool call without a function")
                return
            call_id = call.get("id")
            if not (isinstance(call_id, str) and call_id):
                # Older versions give none; the moment makes it differ from those of the conversation's other answers.
                moment = "".join(filter(str.isdecimal, created)) if isinstance(created, str) else ""
                call_id = "_".join(filter(None, ("call", moment, str(self._calls))))
            self._calls += 1
            arguments = function.get("arguments")
            said = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
            part = self._begin(Opened(self.parts, "tool_call", name=name, call_id=call_id), events)
            events += (Delta(part, said or "{}"), Closed(part))

    def _complete(self, line: Line, events: list[Event]) -> None:
        if self.ended:
            return
        self.ended = True
        events.extend(Closed(part) for part in self._open.values())
        asked, answered = count_of(line.prompt_eval_count), count_of(line.eval_count)
        if asked is not None or answered is not None:
            events.append(Usage(asked or 0, answered or 0, "reported"))
        reason = line.done_reason if isinstance(line.done_reason, str) and line.done_reason else "stop"
        events.append(Finished("tool_calls" if self._calls and reason == "stop" else reason))
