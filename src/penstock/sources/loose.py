"""Values that a provider chose, looked at and never trusted: what can be made of each, and None where nothing can.

The strict reader of every protocol is fast and takes what providers usually send; what it turns down is read again with these.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from penstock.sources.halves import marked

MOST = 2**53
"""No index and no count is as large; what is could not be written as JSON for everybody."""
DEEPEST = 64
"""Levels of nesting that a value which is passed on may have."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Loose = Any  # a value a provider chose; looked at, never trusted


class NotAnObject(Exception):
    """The data of an event is neither JSON nor an object."""


def loosely(data: bytes) -> dict[str, Loose]:
    """The object that is the data of an event. Raises `NotAnObject`."""
    try:
        # The one reader that takes half of a surrogate pair, which JavaScript servers cut strings into.
        loaded = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise NotAnObject from None
    if not isinstance(loaded, dict):
        raise NotAnObject
    return loaded


def text_of(loaded: Loose) -> str | None:
    """A text that more may follow: halves of surrogate pairs stay, since the other half may come (`halves.Halves`)."""
    return loaded if isinstance(loaded, str) else None


def name_of(loaded: Loose) -> str | None:
    """A text that is not joined with another: halves of surrogate pairs have no place in it."""
    return marked(loaded) if isinstance(loaded, str) else None


def count_of(loaded: Loose) -> int | None:
    """A whole number of tokens, an index: from 0 to below `MOST`."""
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
    except (ValueError, OverflowError):
        try:
            return msgspec.json.decode(marked(json.dumps(loaded, ensure_ascii=False)))
        except ValueError:
            return None
    return loaded


def _deeper(value: Loose, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(one, levels - 1) for one in inner)
