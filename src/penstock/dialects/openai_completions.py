"""OpenAI's older completions: `text_completion` objects, in a stream and without.

Shapes follow openai-python (`types/completion.py`, `completion_choice.py`). The words of a choice are its texts and refusals, one after
the other with a blank line between; `?reasoning=1` shows reasoning too. Tools, notes and bytes have no words here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, assert_never

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
from penstock.core.spoken import JOINT, kinds_spoken
from penstock.dialects.openai_common import cancelled, failed, finish_reason, head, last_words, refusal, whole
from penstock.dialects.openai_completions_request import read_completion

ID = "cmpl-"
"""What the id of an answer begins with."""
OBJECT = "text_completion"


class _Choice:
    """One answer while it is told."""

    __slots__ = ("after", "length", "number", "reason", "said")

    def __init__(self, number: int, tail: bytes):
        self.number = number
        self.after = b',"index":%d,"logprobs":null,"finish_reason":null}]%b' % (number, tail)
        """What stands behind a text of it."""
        self.length = 0
        """Characters told so far, those of the prompt included."""
        self.said = False
        """It has said something of its own: its next part begins with a blank line."""
        self.reason = FinishReason()


class OpenAICompletionsRenderer:
    """Remembers which choices have begun, how long each is, and how they ended."""

    __slots__ = (
        "_before",
        "_choices",
        "_echo",
        "_fresh",
        "_head",
        "_kinds",
        "_open",
        "_past",
        "_tail",
        "_told",
        "_usage",
        "_view",
    )

    def __init__(self, view: View):
        self._view = view
        self._kinds = kinds_spoken(reasoning=view.reasoning)
        self._echo = _echo(view)
        self._tail = b',"usage":null}' if view.include_usage else b"}"
        self._past = Snapshot()
        self._choices: dict[int, _Choice] = {}
        self._open: dict[int, _Choice] = {}
        """Whose each open part is."""
        self._told: dict[int, _Choice] = {}
        """Those of them whose words are told."""
        self._fresh: set[int] = set()
        """Those again that have said nothing yet."""
        self._usage: Usage | None = None
        self._start(view.model, view.created)

    def prime(self, so_far: Snapshot) -> None:
        self._past = so_far
        if so_far.started:
            self._start(so_far.started.model, so_far.started.created)
        self._usage = so_far.usage
        for part in so_far.parts:
            self._opened(part.opening())
            if part.part in self._fresh and (part.text or part.elided):
                self._told[part.part].length += len(self._joint(part.part)) + part.elided + len(part.text)
            if part.closed:
                self._closed(Closed(part.part, part.meta))

    def rejoin(self) -> Sequence[Frame]:
        fresh = OpenAICompletionsRenderer(self._view)
        fresh._head, fresh._before = self._head, self._before
        frames: list[Frame] = []
        for part in self._past.parts:
            frames += fresh._opened(part.opening())
            for delta in part.retold():
                frames += fresh._delta(delta)
            if part.logprobs and not part.text:
                frames += fresh._delta(Delta(part.part, "", part.logprobs[-1]))  # a choice that is there, without words
        return frames

    def reopen(self) -> Sequence[Frame]:
        """Nothing: words need no opening."""
        return ()

    def render(self, entry: Entry) -> Sequence[Frame]:
        event = entry.event
        if type(event) is Delta and event.logprobs is None and event.part not in self._fresh:
            choice, text = self._told.get(event.part), event.text
            if choice is None or not text:
                return ()
            choice.length += len(text)
            return (Frame(b"%b%b%b" % (self._before, orjson.dumps(text), choice.after)),)
        match event:
            case Delta():
                return self._delta(event)
            case Opened():
                return self._opened(event)
            case Closed():
                self._closed(event)
            case Started():
                self._start(event.model, event.created)
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

    def _start(self, model: str, created: int) -> None:
        self._head = head(self._view, ID, OBJECT, model=model, created=created)
        self._before = self._head + b'"choices":[{"text":'

    def _opened(self, event: Opened) -> list[Frame]:
        frames = self._begin(event.choice)
        self._open[event.part] = self._choices[event.choice]
        if event.kind in self._kinds:
            self._told[event.part] = self._choices[event.choice]
            self._fresh.add(event.part)
        return frames

    def _begin(self, number: int) -> list[Frame]:
        """A choice begins, where it has not yet: with the prompt, where that was asked for."""
        if number in self._choices:
            return []
        choice = self._choices[number] = _Choice(number, self._tail)
        if not self._echo:
            return []
        choice.length = len(self._echo)
        return [Frame(b"%b%b%b" % (self._before, orjson.dumps(self._echo), choice.after))]

    def _delta(self, event: Delta) -> Sequence[Frame]:
        """A delta off the beaten track: the first of its part, or one with log probabilities."""
        choice = self._told.get(event.part)
        if choice is None:
            return ()
        text, logprobs = event.text, event.logprobs
        if text and event.part in self._fresh:
            text = self._joint(event.part) + text
        choice.length += len(text)
        after = choice.after
        if logprobs is not None:
            told = _tokens(logprobs, choice.length - len(event.text))
            after = after.replace(b"null", orjson.dumps(told), 1)
        elif not text:
            return ()
        return (Frame(b"%b%b%b" % (self._before, orjson.dumps(text), after)),)

    def _joint(self, part: int) -> str:
        """What stands between a part that begins to speak and what its choice has said before."""
        self._fresh.discard(part)
        choice = self._told[part]
        joint = JOINT if choice.said else ""
        choice.said = True
        return joint

    def _closed(self, event: Closed) -> None:
        choice = self._open.pop(event.part)
        self._told.pop(event.part, None)
        self._fresh.discard(event.part)
        choice.reason.closed(event.part, event.meta)

    def _finished(self, event: Finished) -> list[Frame]:
        frames = [] if self._choices else self._begin(0)
        for number in sorted(self._choices):
            choice = self._choices[number]
            reason = orjson.dumps(finish_reason(choice.reason.word(event.reason)))
            ending = b'"",' + b'"index":%d,"logprobs":null,"finish_reason":%b}]%b' % (number, reason, self._tail)
            frames.append(Frame(self._before + ending))
        return [*frames, *last_words(self._view, self._head, self._usage)]


class OpenAICompletionsDialect:
    """The dialect of `/v1/completions`."""

    name = "openai-completions"
    traits = Traits(cursor_key="cursor")

    def parse(self, body: bytes) -> ChatRequest:
        """As OpenAI reads it, but for what a chat cannot do; a missing `stream` means false."""
        return read_completion(body)

    def renderer(self, view: View) -> OpenAICompletionsRenderer:
        return OpenAICompletionsRenderer(view)

    def whole(self, snapshot: Snapshot, view: View) -> bytes:
        return whole(snapshot, view, ID, OBJECT, partial(_choice, snapshot, view))

    def refuse(self, fault: Fault, request_id: str) -> bytes:
        return refusal(fault, request_id)


def _echo(view: View) -> str:
    """The prompt, where an answer is to begin with it."""
    return str(orjson.loads(view.echo).get("prompt", "")) if view.echo else ""


def _choice(snapshot: Snapshot, view: View, choice: int) -> dict[str, object]:
    text = _echo(view)
    kinds = kinds_spoken(reasoning=view.reasoning)
    told: list[PartSoFar] = [part for part in snapshot.parts if part.choice == choice]
    logprobs: dict[str, list[Json]] | None = None
    said = False
    for part in told:
        if part.kind not in kinds or not part.text:
            continue
        text += JOINT if said else ""
        offset = len(text)
        for raw in part.logprobs:
            more = _tokens(raw, offset)
            for name, values in (more or {}).items():
                logprobs = logprobs or {key: [] for key in more or {}}
                logprobs[name] += values
            offset += sum(len(str(token)) for token in (more or {}).get("tokens", []))
        text += part.text
        said = True
    reason = finish_reason(snapshot.finish_reason(choice))
    return {"text": text, "index": choice, "logprobs": logprobs, "finish_reason": reason}


def _tokens(raw: msgspec.Raw, offset: int) -> dict[str, list[Json]] | None:
    """A provider's log probabilities of chat in the lists of the older API; None where they are of another shape.

    `offset` is where the first token stands among the characters of its choice.
    """
    value: Any = msgspec.json.decode(raw)
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list) or not all(isinstance(token, dict) for token in content):
        return None
    tokens: list[Json] = []
    offsets: list[Json] = []
    tops: list[Json] = []
    for token in content:
        word = str(token.get("token", ""))
        tokens.append(word)
        offsets.append(offset)
        offset += len(word)
        top = token.get("top_logprobs")
        tops.append(
            {str(each.get("token", "")): each.get("logprob") for each in top if isinstance(each, dict)}
            if isinstance(top, list)
            else None
        )
    return {
        "tokens": tokens,
        "token_logprobs": [token.get("logprob") for token in content],
        "top_logprobs": tops,
        "text_offset": offsets,
    }
