"""One event of an OpenAI Responses stream as a value, read from JSON as strictly as it pays and as leniently as it must be.

The strict reader is fast and takes what providers usually send. Whatever it turns down is read again, member by member.
"""

from __future__ import annotations

import msgspec

from penstock.sources.loose import Count, Loose, count_of, loosely, name_of, text_of


class Said(msgspec.Struct, gc=False):
    """One event. Of the many types there are each has a few of these members; others are ignored."""

    type: str = ""
    delta: str | None = None
    output_index: Count | None = None
    """Which item of the answer it belongs to. Servers that send none have `item_id`."""
    content_index: Count | None = None
    summary_index: Count | None = None
    item_id: str | None = None
    logprobs: Loose = None
    text: str | None = None
    """The whole of a text, a refusal or of arguments, once it is done."""
    refusal: str | None = None
    arguments: str | None = None
    item: Loose = None
    part: Loose = None
    annotation: Loose = None
    response: Loose = None
    sequence_number: Count | None = None
    error: Loose = None
    code: Loose = None
    message: Loose = None


strict = msgspec.json.Decoder(Said).decode
"""JSON bytes → event. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> Said:
    """Read an event member by member, leaving out what cannot be understood. Raises `NotAnObject`."""
    loaded = loosely(data)
    return Said(
        name_of(loaded.get("type")) or "",
        text_of(loaded.get("delta")),
        count_of(loaded.get("output_index")),
        count_of(loaded.get("content_index")),
        count_of(loaded.get("summary_index")),
        name_of(loaded.get("item_id")),
        loaded.get("logprobs"),
        text_of(loaded.get("text")),
        text_of(loaded.get("refusal")),
        text_of(loaded.get("arguments")),
        loaded.get("item"),
        loaded.get("part"),
        loaded.get("annotation"),
        loaded.get("response"),
        count_of(loaded.get("sequence_number")),
        loaded.get("error"),
        loaded.get("code"),
        loaded.get("message"),
    )
