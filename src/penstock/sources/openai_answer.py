"""Chunks of an OpenAI chat stream → events: the whole state of one answer, and nothing of the network.

Every provider's habits meet here: several choices, two spellings of reasoning, tool calls in fragments, usage anywhere,
`finish_reason` absent, null, empty or repeated, `[DONE]` or none.
"""

from __future__ import annotations

import msgspec

from penstock.core.events import Closed, Delta, Event, Finished, Json, Kind, Opened, Usage
from penstock.sources.ending import Ending
from penstock.sources.halves import Halves
from penstock.sources.loose import Loose, NotAnObject
from penstock.sources.openai_chunks import CallPiece, ChatChunk, Choice, Tokens, lenient, strict


class _Call:
    """One tool call while its fragments come in. It is opened when its id and its name are known."""

    __slots__ = ("again", "call_id", "held", "name", "part")

    def __init__(self) -> None:
        self.call_id = self.name = ""
        self.again: Json = None  # what the provider wants to see again with the call
        self.held: list[str] = []
        self.part: int | None = None


class _Answering:
    """One choice: its parts, its tool calls, and why it ended."""

    __slots__ = ("by_id", "by_index", "calls", "finish", "index", "opened", "parts", "thinking")

    def __init__(self, index: int):
        self.index = index
        self.finish: str | None = None
        self.thinking = False  # the last content was a thought, see `Delta.thought`
        self.parts: dict[Kind, int] = {}
        self.opened: list[int] = []
        self.calls: list[_Call] = []
        self.by_index: dict[int, _Call] = {}
        self.by_id: dict[str, _Call] = {}


class Answer(Ending):
    """Takes chunks, gives events. Once `ended`, it takes nothing more."""

    __slots__ = ("_choices", "_halves", "_plain", "_tokens")

    def __init__(self, host: str, *, secret: str | None = None):
        super().__init__(host, secret=secret)
        self._choices: dict[int, _Answering] = {}
        self._plain: dict[int, int] = {}  # choice → its open text part, where the next piece may go straight out
        self._halves = Halves()
        self._tokens: Tokens | None = None

    def read(self, payload: bytes, events: list[Event]) -> None:
        """A chunk, or `[DONE]`. Nearly every one is just another piece of text."""
        try:
            chunk = strict(payload)
        except (ValueError, RecursionError):
            self._odd(payload, events)
            return
        choices = chunk.choices
        if choices and len(choices) == 1 and chunk.usage is None and chunk.error is None:
            choice = choices[0]
            delta = choice.delta
            if (
                delta is not None
                and delta.content
                and choice.finish_reason is None
                and choice.logprobs is None
                and delta.tool_calls is None
                and delta.reasoning_content is None
                and delta.reasoning is None
                and delta.refusal is None
                and delta.extra_content is None
                and (part := self._plain.get(choice.index)) is not None
            ):
                events.append(Delta(part, delta.content))
                return
        if choices is None and chunk.error is None:
            self._odd(payload, events)
        else:
            self.take(chunk, events)

    def over(self, rest: bytes, events: list[Event]) -> None:
        """Some providers send no `[DONE]`. Then a choice that has not begun is one that is missing."""
        if len(self._choices) < self.choices:
            self.truncate()
        else:
            self.complete(events)

    def _odd(self, payload: bytes, events: list[Event]) -> None:
        """What is no chunk as providers usually send them."""
        payload = payload.strip()
        if payload == b"[DONE]":
            self.complete(events)
        elif payload:
            try:
                self.take(lenient(payload), events)
            except NotAnObject:
                self.garble("an event that is not a JSON object")

    def take(self, chunk: ChatChunk, events: list[Event]) -> None:
        """Add to `events` what the chunk says."""
        if self.ended:
            return
        if chunk.error:
            self.fail(chunk.error)
            return
        if chunk.usage is not None:
            self._tokens = chunk.usage
        for choice in chunk.choices or ():
            self._add(choice, events)

    def complete(self, events: list[Event]) -> None:
        """The stream is over, cleanly. Add the last events, or break where a choice did not say why it ended."""
        if self.ended:
            return
        choices = [self._choices[index] for index in sorted(self._choices)]
        if not choices or any(choice.finish is None for choice in choices):
            self.truncate()
            return
        self.ended = True
        events.extend(Delta(part, self._halves.left(part)) for part in self._halves.parts())
        for choice in choices:
            again = {call.part: {"extra_content": call.again} for call in choice.calls if call.again}
            reason = choice.finish
            events.extend(Closed(part, {"finish_reason": reason, **again.get(part, {})}) for part in choice.opened)
        if (usage := self._usage()) is not None:
            events.append(usage)
        events.append(Finished(choices[0].finish or ""))

    def _add(self, piece: Choice, events: list[Event]) -> None:
        choice = self._choices.get(piece.index)
        if choice is None:
            choice = self._choices[piece.index] = _Answering(piece.index)
        if (delta := piece.delta) is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                self._say(choice, "reasoning", thought, events)
            if delta.thought:
                self._think(choice, delta.content or "", events)
            elif delta.content or piece.logprobs:
                said = delta.content or ""
                if choice.thinking:
                    choice.thinking, said = False, said.removeprefix("</thought>")
                self._say(choice, "text", said, events, logprobs=piece.logprobs)
            if delta.refusal:
                self._say(choice, "refusal", delta.refusal, events)
            for fragment in delta.tool_calls or ():
                self._call(choice, fragment, events)
        if piece.finish_reason and choice.finish is None:
            if piece.finish_reason == "error":
                self.fail("")
                return
            choice.finish = piece.finish_reason
            for call in choice.calls:
                self._open_call(choice, call, events)

    def _think(self, choice: _Answering, text: str, events: list[Event]) -> None:
        """A thought of Gemini's. It stands in `content` within tags, which end in front of the next words."""
        choice.thinking = True
        self._plain.pop(choice.index, None)
        if text := text.removeprefix("<thought>").removesuffix("</thought>"):
            self._say(choice, "reasoning", text, events)

    def _say(self, choice: _Answering, kind: Kind, text: str, events: list[Event], *, logprobs: Loose = None) -> None:
        part = choice.parts.get(kind)
        if part is None:
            if not text and not _tells(logprobs):
                return
            part = choice.parts[kind] = self._open(choice, Opened(self.parts, kind, choice.index), events)
        text = self._halves.whole(part, text)
        if kind == "text" and part not in self._halves:
            self._plain[choice.index] = part
        else:
            self._plain.pop(choice.index, None)
        if _tells(logprobs):
            events.append(Delta(part, text, msgspec.Raw(msgspec.json.encode(logprobs))))
        elif text:
            events.append(Delta(part, text))

    def _open(self, choice: _Answering, opened: Opened, events: list[Event]) -> int:
        events.append(opened)
        choice.opened.append(opened.part)
        self.parts = opened.part + 1
        return opened.part

    def _call(self, choice: _Answering, fragment: CallPiece, events: list[Event]) -> None:
        call = self._call_of(choice, fragment)
        function = fragment.function
        arguments = ""
        if fragment.id and not call.call_id:
            call.call_id = fragment.id
            choice.by_id[fragment.id] = call
        call.again = call.again or fragment.extra_content
        if function is not None:
            if function.name and not call.name:
                call.name = function.name
            arguments = function.arguments or ""
        if call.part is not None:
            if arguments:
                events.append(Delta(call.part, self._halves.whole(call.part, arguments)))
            return
        if arguments:
            call.held.append(arguments)
        if (call.call_id and call.name) or choice.finish is not None:
            self._open_call(choice, call, events)

    def _call_of(self, choice: _Answering, fragment: CallPiece) -> _Call:
        """Which call a fragment belongs to: its id where known, else its index, else the latest."""
        index = fragment.index
        call = choice.by_id.get(fragment.id) if fragment.id else None
        if call is None and index is not None:
            call = choice.by_index.get(index)
        elif call is None and not fragment.id and choice.calls:
            call = choice.calls[-1]
        if call is None or (fragment.id and call.call_id and fragment.id != call.call_id):
            # Some providers give all calls the index 0 and tell them apart by id alone.
            call = _Call()
            choice.calls.append(call)
        if index is not None:
            choice.by_index[index] = call
        return call

    def _open_call(self, choice: _Answering, call: _Call, events: list[Event]) -> None:
        if call.part is not None:
            return
        call_id = call.call_id or f"call_{choice.index}_{choice.calls.index(call)}"
        again: dict[str, Json] | None = {"extra_content": call.again} if call.again else None
        opened = Opened(self.parts, "tool_call", choice.index, name=call.name or None, call_id=call_id, meta=again)
        call.part = self._open(choice, opened, events)
        if call.held:
            events.append(Delta(call.part, self._halves.whole(call.part, "".join(call.held))))
            call.held.clear()

    def _usage(self) -> Usage | None:
        tokens = self._tokens
        if tokens is None or (tokens.prompt_tokens is None and tokens.completion_tokens is None):
            return None
        into, out = tokens.prompt_tokens_details, tokens.completion_tokens_details
        told, said = tokens.prompt_tokens or 0, tokens.completion_tokens or 0
        reasoning = out.reasoning_tokens if out is not None else None
        # Gemini and xAI count thoughts in the total alone.
        if (thought := (tokens.total_tokens or 0) - told - said) > 0:
            said += thought
            reasoning = reasoning or thought
        return Usage(
            told, said, "reported", cached=into.cached_tokens if into is not None else None, reasoning=reasoning
        )


def _tells(logprobs: Loose) -> bool:
    """Whether a `logprobs` value holds anything: providers send null, and empty lists beside role and finish."""
    return any(logprobs.values()) if isinstance(logprobs, dict) else bool(logprobs)
