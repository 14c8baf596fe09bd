"""One `chat.completion.chunk` as a value, read from JSON as strictly as it pays and as leniently as it must be.

The strict reader is fast and takes what providers usually send. Whatever it turns down is read again, field by field.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

MOST = 2**53
"""No index and no count is as large; what is could not be written as JSON for everybody."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Loose = Any  # a value a provider chose; looked at, never trusted


class FunctionPiece(msgspec.Struct, gc=False):
    """The function of a tool-call fragment."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct, gc=False):
    """A fragment of a tool call: `id` and the name usually come in the first of an index, arguments in pieces."""

    index: Count | None = None
    id: str | None = None
    function: FunctionPiece | None = None
    extra_content: Loose = None
    """What the provider wants to see again with the call."""


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to one choice. Providers spell reasoning in two ways."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None
    extra_content: Loose = None
    """Gemini marks its thoughts here, which stand in `content`."""

    @property
    def thought(self) -> bool:
        """Whether `content` is a thought (ai.google.dev/gemini-api/docs/openai, "Thinking")."""
        google = self.extra_content.get("google") if isinstance(self.extra_content, dict) else None
        return isinstance(google, dict) and google.get("thought") is True


class Choice(msgspec.Struct, gc=False):
    """One alternative answer's share of a chunk."""

    index: Count = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Loose = None


class InputDetails(msgspec.Struct, gc=False):
    """Which input tokens were cheaper."""

    cached_tokens: Count | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Which output tokens were not shown."""

    reasoning_tokens: Count | None = None


class Tokens(msgspec.Struct, gc=False):
    """The `usage` object; `prompt_tokens` counts the input."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    total_tokens: Count | None = None


class ChatChunk(msgspec.Struct, gc=False):
    """One chunk; keys that are not here are ignored."""

    choices: list[Choice] | None = None
    usage: Tokens | None = None
    error: Loose = None


class NotAChunk(Exception):
    """The data of an event is neither JSON nor an object."""


strict = msgspec.json.Decoder(ChatChunk).decode
"""JSON bytes → chunk. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> ChatChunk:
    """Read a chunk field by field, leaving out what cannot be understood. Raises `NotAChunk`."""
    try:
        # The one reader that takes half of a surrogate pair, which JavaScript servers cut strings into.
        loaded = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise NotAChunk from None
    if not isinstance(loaded, dict):
        raise NotAChunk
    return loosely(loaded)


def loosely(loaded: dict[str, Loose]) -> ChatChunk:
    """A chunk from an object that may have anything anywhere."""
    error = loaded.get("error")
    if loaded.get("object") == "error" and not error:
        error = loaded
    choices = [_choice(one) for one in _objects(loaded.get("choices"))]
    return ChatChunk(choices, _tokens(loaded.get("usage")), error)


def _choice(loaded: dict[str, Loose]) -> Choice:
    delta = loaded.get("delta")
    return Choice(
        _integer(loaded.get("index")) or 0,
        _delta(delta) if isinstance(delta, dict) else None,
        _name(loaded.get("finish_reason")),
        _storable(loaded.get("logprobs")),
    )


def _delta(loaded: dict[str, Loose]) -> Delta:
    content, thought = _pieces(loaded.get("content"))
    return Delta(
        content,
        _text(loaded.get("reasoning_content")) or thought,
        _text(loaded.get("reasoning")),
        _text(loaded.get("refusal")),
        [_call(one) for one in _objects(loaded.get("tool_calls"))] or None,
        _storable(loaded.get("extra_content")),
    )


def _call(loaded: dict[str, Loose]) -> CallPiece:
    function = loaded.get("function")
    piece = FunctionPiece()
    if isinstance(function, dict):
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        piece = FunctionPiece(_name(function.get("name")), _text(arguments))
    return CallPiece(
        _integer(loaded.get("index")), _name(loaded.get("id")), piece, _storable(loaded.get("extra_content"))
    )


def _pieces(content: Loose) -> tuple[str | None, str | None]:
    """Text and reasoning of a `content` that may be a list of typed pieces, as Mistral's reasoning models send it."""
    if not isinstance(content, list):
        return _text(content), None
    text, thought = [], []
    for piece in _objects(content):
        text.append(_text(piece.get("text")) or "")
        if "thinking" in piece:
            inner, _ = _pieces(piece["thinking"])
            thought.append(inner or "")
    return "".join(text) or None, "".join(thought) or None


def _tokens(loaded: Loose) -> Tokens | None:
    if not isinstance(loaded, dict):
        return None
    into, out = loaded.get("prompt_tokens_details"), loaded.get("completion_tokens_details")
    return Tokens(
        _integer(loaded.get("prompt_tokens")),
        _integer(loaded.get("completion_tokens")),
        InputDetails(_integer(into.get("cached_tokens"))) if isinstance(into, dict) else None,
        OutputDetails(_integer(out.get("reasoning_tokens"))) if isinstance(out, dict) else None,
        _integer(loaded.get("total_tokens")),
    )


def _objects(loaded: Loose) -> list[dict[str, Loose]]:
    return [one for one in loaded if isinstance(one, dict)] if isinstance(loaded, list) else []


def _text(loaded: Loose) -> str | None:
    return loaded if isinstance(loaded, str) else None


def _name(loaded: Loose) -> str | None:
    """A text that is not joined with another: halves of surrogate pairs have no place in it."""
    return loaded.encode(errors="replace").decode() if isinstance(loaded, str) else None


def _storable(loaded: Loose) -> Loose:
    """A value that can be written as JSON again, or None."""
    try:
        msgspec.json.encode(loaded)
    except UnicodeEncodeError:
        return None
    return loaded


def _integer(loaded: Loose) -> int | None:
    if isinstance(loaded, str) and loaded.isdecimal():
        loaded = float(loaded)
    return int(loaded) if isinstance(loaded, int | float) and 0 <= loaded < MOST else None
