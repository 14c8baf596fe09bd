"""One event of Anthropic's message stream as a value, read from JSON as strictly as it pays and as leniently as it must be.

The event's name stands in its `type`, too (platform.claude.com/docs/en/build-with-claude/streaming), so the line of SSE that
names it is not needed. The strict reader is fast and takes what providers usually send; what it turns down is read again.
"""

from __future__ import annotations

import msgspec

from penstock.sources.loose import Count, Loose, count_of, loosely, name_of, storable, text_of


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


strict = msgspec.json.Decoder(StreamEvent).decode
"""JSON bytes → event. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> StreamEvent:
    """Read an event field by field, leaving out what cannot be understood. Raises `NotAnObject`."""
    loaded = loosely(data)
    message = loaded.get("message")
    return StreamEvent(
        name_of(loaded.get("type")) or "",
        count_of(loaded.get("index")),
        _piece(loaded.get("delta")),
        storable(loaded.get("content_block")),
        Head(_tokens(message.get("usage"))) if isinstance(message, dict) else None,
        _tokens(loaded.get("usage")),
        storable(loaded.get("error")),
    )


def members(data: bytes, name: str, *known: str) -> dict[str, Loose]:
    """The members of one object of an event beside the known ones, without those that are null. Raises `NotAnObject`."""
    found = storable(loosely(data).get(name))
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if key not in known and value is not None}


def _piece(loaded: Loose) -> Piece | None:
    if not isinstance(loaded, dict):
        return None
    return Piece(
        name_of(loaded.get("type")) or "",
        text_of(loaded.get("text")),
        text_of(loaded.get("thinking")),
        text_of(loaded.get("partial_json")),
        name_of(loaded.get("signature")),
        storable(loaded.get("citation")),
        name_of(loaded.get("stop_reason")),
    )


def _tokens(loaded: Loose) -> Tokens | None:
    if not isinstance(loaded, dict):
        return None
    details = loaded.get("output_tokens_details")
    return Tokens(
        count_of(loaded.get("input_tokens")),
        count_of(loaded.get("cache_creation_input_tokens")),
        count_of(loaded.get("cache_read_input_tokens")),
        count_of(loaded.get("output_tokens")),
        OutputDetails(count_of(details.get("thinking_tokens"))) if isinstance(details, dict) else None,
    )
