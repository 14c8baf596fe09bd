"""One event of Anthropic's message stream as a value, read from JSON as strictly as it pays and as leniently as it must be.

The event's name stands in its `type`, too (platform.claude.com/docs/en/build-with-claude/streaming), so the line of SSE that
names it is not needed. The strict reader is fast and takes what providers usually send; what it turns down is read again.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from penstock.sources.halves import marked

MOST = 2**53
"""No index and no count is as large; what is could not be written as JSON for everybody."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Loose = Any  # a value a provider chose; looked at, never trusted


class Piece(msgspec.Struct, gc=False):
    """The `delta` of a block, or of the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Loose = None
    stop_reason: str | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Which output tokens were thought."""

    thinking_tokens: Count | None = None


class Tokens(msgspec.Struct, gc=False):
    """A `usage` object: totals so far. What it does not name is as it was."""

    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None
    output_tokens_details: OutputDetails | None = None


class Head(msgspec.Struct, gc=False):
    """The message as it begins."""

    usage: Tokens | None = None


class StreamEvent(msgspec.Struct, gc=False):
    """One event, of any type; members that are not here are ignored."""

    type: str = ""
    index: Count | None = None
    delta: Piece | None = None
    content_block: Loose = None
    message: Head | None = None
    usage: Tokens | None = None
    error: Loose = None


class NotAnEvent(Exception):
    """The data of an event is neither JSON nor an object."""


strict = msgspec.json.Decoder(StreamEvent).decode
"""JSON bytes → event. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> StreamEvent:
    """Read an event field by field, leaving out what cannot be understood. Raises `NotAnEvent`."""
    loaded = loosely(data)
    message = loaded.get("message")
    return StreamEvent(
        _word(loaded.get("type")) or "",
        _count(loaded.get("index")),
        _piece(loaded.get("delta")),
        _storable(loaded.get("content_block")),
        Head(_tokens(message.get("usage"))) if isinstance(message, dict) else None,
        _tokens(loaded.get("usage")),
        _storable(loaded.get("error")),
    )


def loosely(data: bytes) -> dict[str, Loose]:
    """The whole object of an event. Raises `NotAnEvent`."""
    try:
        # The one reader that takes half of a surrogate pair, which JavaScript servers cut strings into.
        loaded = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise NotAnEvent from None
    if not isinstance(loaded, dict):
        raise NotAnEvent
    return loaded


def members(data: bytes, name: str, *known: str) -> dict[str, Loose]:
    """The members of one object of an event beside the known ones, without those that are null. Raises `NotAnEvent`."""
    found = _storable(loosely(data).get(name))
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if key not in known and value is not None}


def _piece(loaded: Loose) -> Piece | None:
    if not isinstance(loaded, dict):
        return None
    return Piece(
        _word(loaded.get("type")) or "",
        _text(loaded.get("text")),
        _text(loaded.get("thinking")),
        _text(loaded.get("partial_json")),
        _word(loaded.get("signature")),
        _storable(loaded.get("citation")),
        _word(loaded.get("stop_reason")),
    )


def _tokens(loaded: Loose) -> Tokens | None:
    if not isinstance(loaded, dict):
        return None
    details = loaded.get("output_tokens_details")
    return Tokens(
        _count(loaded.get("input_tokens")),
        _count(loaded.get("cache_creation_input_tokens")),
        _count(loaded.get("cache_read_input_tokens")),
        _count(loaded.get("output_tokens")),
        OutputDetails(_count(details.get("thinking_tokens"))) if isinstance(details, dict) else None,
    )


def _text(loaded: Loose) -> str | None:
    return loaded if isinstance(loaded, str) else None


def _word(loaded: Loose) -> str | None:
    """A text that is not joined with another: halves of surrogate pairs have no place in it."""
    return marked(loaded) if isinstance(loaded, str) else None


def _storable(loaded: Loose) -> Loose:
    """A value that can be written as JSON again: halves of surrogate pairs are marked. None where that does not help."""
    try:
        return msgspec.json.decode(marked(json.dumps(loaded, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None


def _count(loaded: Loose) -> int | None:
    return int(loaded) if isinstance(loaded, int | float) and 0 <= loaded < MOST else None
