"""One item of a Responses answer while it is told, and what its members are called among our events."""

from __future__ import annotations

import msgspec

from penstock.core.events import Json, Kind, Usage
from penstock.sources.loose import Loose, count_of, name_of, storable

NAME = "openai-responses"

_TOLD = frozenset(
    {"id", "type", "status", "role", "content", "summary", "name", "call_id", "arguments", "encrypted_content"}
)
"""Members of an item that our events have words for, or that nobody can use."""


class Part:
    """One part of an item: its number, whether it has said anything, and at which index of its kind it stands."""

    __slots__ = ("citations", "index", "number", "said")

    def __init__(self, number: int) -> None:
        self.number = number
        self.said = False
        self.index: int | None = None
        self.citations: list[Json] = []


class Item:
    """One item of the output, while it is told."""

    __slots__ = ("box", "call_id", "done", "held", "item_id", "name", "parts", "rest", "states", "type")

    def __init__(self, item_type: str) -> None:
        self.type = item_type
        self.item_id = self.name = self.call_id = ""
        self.done = False
        self.box: tuple[int, bytes] | None = None
        """Of an item that our events have no words for, while it is not done: its part, and its JSON as it was added."""
        self.states: set[str] = set()
        """How far it was said to have come."""
        self.parts: dict[tuple[Kind, int | None], Part] = {}
        self.held: list[str] = []
        self.rest: dict[str, Json] = {}

    def learn(self, loaded: dict[str, Loose]) -> None:
        self.item_id = self.item_id or name_of(loaded.get("id")) or ""
        self.name = self.name or name_of(loaded.get("name")) or ""
        self.call_id = self.call_id or name_of(loaded.get("call_id")) or ""
        self.rest.update({k: storable(v) for k, v in loaded.items() if k not in _TOLD and v is not None})


def signature_of(item_id: str, encrypted: str) -> str:
    """Encrypted thoughts are only taken back under the id they were given with, so the two travel as one."""
    return f"{item_id}:{encrypted}" if item_id.startswith("rs_") else encrypted


def citation_of(annotation: dict[str, Loose]) -> Json:
    """An annotation in our words: `url`, `title`, where it stands, and the original beside them."""
    citation: dict[str, Json] = {}
    if url := name_of(annotation.get("url")):
        citation["url"] = url
    if title := name_of(annotation.get("title")) or name_of(annotation.get("filename")):
        citation["title"] = title
    for name, place in (("start", "start_index"), ("end", "end_index")):
        if (index := count_of(annotation.get(place))) is not None:
            citation[name] = index
    return {**citation, NAME: storable(annotation)}


def json_of(loaded: Loose) -> bytes:
    """A value of the provider as one JSON value that readers can be given."""
    return msgspec.json.encode(storable(loaded))


def usage_of(loaded: Loose) -> Usage | None:
    """The `usage` of a response; None where it counts nothing."""
    if not isinstance(loaded, dict):
        return None
    told, said = count_of(loaded.get("input_tokens")), count_of(loaded.get("output_tokens"))
    if told is None and said is None:
        return None
    into, out = loaded.get("input_tokens_details"), loaded.get("output_tokens_details")
    into, out = (details if isinstance(details, dict) else {} for details in (into, out))
    return Usage(
        told or 0,
        said or 0,
        "reported",
        cached=count_of(into.get("cached_tokens")),
        reasoning=count_of(out.get("reasoning_tokens")),
        cache_written=count_of(into.get("cache_write_tokens")),
    )
