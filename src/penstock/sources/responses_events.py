"""One event of an OpenAI Responses stream as a value, read from JSON as strictly as it pays and as leniently as it must be.

The strict reader is fast and takes what providers usually send. Whatever it turns down is read again, member by member.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

MOST = 2**53
"""No index and no count is as large; what is could not be written as JSON for everybody."""

DEEPEST = 64
"""Levels of nesting that an item may have."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Loose = Any  # a value a provider chose; looked at, never trusted


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


class NotAnEvent(Exception):
    """The data of an event is neither JSON nor an object."""


strict = msgspec.json.Decoder(Said).decode
"""JSON bytes → event. Raises a `ValueError` for what only `lenient` can read, and `RecursionError`."""


def lenient(data: bytes) -> Said:
    """Read an event member by member, leaving out what cannot be understood. Raises `NotAnEvent`."""
    try:
        # The one reader that takes half of a surrogate pair, which JavaScript servers cut strings into.
        loaded = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise NotAnEvent from None
    if not isinstance(loaded, dict):
        raise NotAnEvent
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


def text_of(loaded: Loose) -> str | None:
    return loaded if isinstance(loaded, str) else None


def name_of(loaded: Loose) -> str | None:
    """A text that is not joined with another: halves of surrogate pairs have no place in it."""
    return loaded.encode(errors="replace").decode() if isinstance(loaded, str) else None


def count_of(loaded: Loose) -> int | None:
    return int(loaded) if isinstance(loaded, int | float) and 0 <= loaded < MOST else None


def objects_of(loaded: Loose) -> list[dict[str, Loose]]:
    """The objects of a list; nothing of anything else."""
    return [one for one in loaded if isinstance(one, dict)] if isinstance(loaded, list) else []


def storable(loaded: Loose) -> Loose:
    """A value as readers can be given it in JSON: halves of surrogate pairs are marked, and what is nested too deeply is null."""
    if _deeper(loaded, DEEPEST):
        return None
    try:
        msgspec.json.encode(loaded)
    except UnicodeEncodeError:
        return json.loads(json.dumps(loaded, ensure_ascii=False).encode(errors="replace"))
    return loaded


def _deeper(value: Loose, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(one, levels - 1) for one in inner)
