"""One `chat.completion.chunk` as a value, read from JSON as strictly as it pays and as leniently as it must be.

The strict reader is fast and takes what providers usually send. Whatever it turns down is read again, field by field.
"""

from __future__ import annotations

import json

import msgspec

from penstock.sources.loose import Count, Loose, count_of, loosely, name_of, objects_of, storable, text_of


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


strict = msgspec.json.Decoder(ChatChunk).decode
"""JSON bytes → chunk. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> ChatChunk:
    """Read a chunk field by field, leaving out what cannot be understood. Raises `NotAnObject`."""
    return loosely_chunk(loosely(data))


def loosely_chunk(loaded: dict[str, Loose]) -> ChatChunk:
    """A chunk from an object that may have anything anywhere."""
    error = loaded.get("error")
    if loaded.get("object") == "error" and not error:
        error = loaded
    choices = [_choice(one) for one in objects_of(loaded.get("choices"))]
    return ChatChunk(choices, _tokens(loaded.get("usage")), error)


def _choice(loaded: dict[str, Loose]) -> Choice:
    delta = loaded.get("delta")
    return Choice(
        _integer(loaded.get("index")) or 0,
        _delta(delta) if isinstance(delta, dict) else None,
        name_of(loaded.get("finish_reason")),
        storable(loaded.get("logprobs")),
    )


def _delta(loaded: dict[str, Loose]) -> Delta:
    content, thought = _pieces(loaded.get("content"))
    return Delta(
        content,
        text_of(loaded.get("reasoning_content")) or thought,
        text_of(loaded.get("reasoning")),
        text_of(loaded.get("refusal")),
        [_call(one) for one in objects_of(loaded.get("tool_calls"))] or None,
        storable(loaded.get("extra_content")),
    )


def _call(loaded: dict[str, Loose]) -> CallPiece:
    function = loaded.get("function")
    piece = FunctionPiece()
    if isinstance(function, dict):
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        piece = FunctionPiece(name_of(function.get("name")), text_of(arguments))
    return CallPiece(
        _integer(loaded.get("index")), name_of(loaded.get("id")), piece, storable(loaded.get("extra_content"))
    )


def _pieces(content: Loose) -> tuple[str | None, str | None]:
    """Text and reasoning of a `content` that may be a list of typed pieces, as Mistral's reasoning models send it."""
    if not isinstance(content, list):
        return text_of(content), None
    text, thought = [], []
    for piece in objects_of(content):
        text.append(text_of(piece.get("text")) or "")
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


def _integer(loaded: Loose) -> int | None:
    if isinstance(loaded, str) and loaded.isdecimal():
        loaded = float(loaded)
    return count_of(loaded)
