"""Where one text of a run is several blocks of a message: a provider that cites says its sentences in many.

A note of the topic `block` stands at each border (`penstock.core.events.Note`). Where there is none, a part is a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from penstock.core.events import Json, Note, Opened
from penstock.core.snapshot import PartSoFar
from penstock.dialects.anthropic_fields import is_object

TOPIC = "block"


class Border(NamedTuple):
    """Where a block of a text ends and the next begins: in which part, behind how many of its characters."""

    part: int
    at: int
    ended: dict[str, Json]
    """What is known of the block that ended: its `citations`."""
    begun: dict[str, Json] | None
    """What is known of the one that begins, as `Opened.meta` has it."""


class Piece(NamedTuple):
    """One block of a part: what of it was said, and what of the citations of the part was told in blocks before."""

    opened: Opened
    text: str
    begin: int
    closed: bool
    meta: dict[str, Json] | None
    cited: tuple[Json, ...]


def border_of(note: Note) -> Border | None:
    """The border a note speaks of; None where it speaks of something else, or cannot be understood."""
    body = note.body
    if note.topic != TOPIC or not is_object(body):
        return None
    part, at, cited = body.get("part"), body.get("at"), body.get("citations", [])
    if not isinstance(part, int) or not isinstance(at, int) or not isinstance(cited, list):
        return None
    begun = {name: value for name, value in body.items() if name not in ("part", "at", "citations")}
    return Border(part, at, {"citations": cited}, begun or None)


def cited_by(meta: dict[str, Json] | None) -> tuple[Json, ...]:
    """The citations of a part, or of a piece of it."""
    cited = meta.get("citations") if meta else None
    return tuple(cited) if isinstance(cited, list) else ()


def untold(meta: dict[str, Json] | None, cited: tuple[Json, ...]) -> dict[str, Json] | None:
    """What a part says at its end, without the citations that its earlier blocks ended with."""
    if not cited or meta is None:
        return meta
    return {**meta, "citations": [citation for citation in cited_by(meta) if citation not in cited]}


def blocks_of(part: PartSoFar, notes: Iterable[Note]) -> list[Piece]:
    """The blocks that a part is, in their order."""
    opened, begin, cited = part.opening(), 0, tuple[Json, ...]()
    found: list[Piece] = []
    for border in map(border_of, notes if part.kind == "text" else ()):
        if border is not None and border.part == part.part:
            found.append(Piece(opened, part.text[begin : border.at], begin, True, border.ended, ()))
            opened, begin = msgspec.structs.replace(opened, meta=border.begun), border.at
            cited += cited_by(border.ended)
    found.append(Piece(opened, part.text[begin:], begin, part.closed, untold(part.meta, cited), cited))
    return found
