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
    """One block of a part: what of it was said, and which citations of the part the blocks before it ended with."""

    opened: Opened
    text: str
    begin: int
    closed: bool
    meta: dict[str, Json] | None
    cited: list[Json]


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


def borders_of(notes: Iterable[Note]) -> dict[int, list[Border]]:
    """The borders that notes speak of, by their part."""
    found: dict[int, list[Border]] = {}
    for border in map(border_of, notes):
        if border is not None:
            found.setdefault(border.part, []).append(border)
    return found


def cited_by(meta: dict[str, Json] | None) -> list[Json]:
    """The citations of a part, or of a piece of it."""
    cited = meta.get("citations") if meta else None
    return cited if isinstance(cited, list) else []


def untold(meta: dict[str, Json] | None, cited: list[Json]) -> dict[str, Json] | None:
    """What a part says at its end, without the citations that its earlier blocks ended with, which come first."""
    if not cited or meta is None or cited_by(meta)[: len(cited)] != cited:
        return meta
    return {**meta, "citations": cited_by(meta)[len(cited) :]}


def blocks_of(part: PartSoFar, borders: Iterable[Border]) -> list[Piece]:
    """The blocks that a part is, in their order."""
    opened, begin = part.opening(), 0
    cited: list[Json] = []
    found: list[Piece] = []
    for border in borders if part.kind == "text" else ():
        found.append(Piece(opened, part.text[begin : border.at], begin, True, border.ended, cited))
        opened, begin = msgspec.structs.replace(opened, meta=border.begun), border.at
        cited += cited_by(border.ended)
    found.append(Piece(opened, part.text[begin:], begin, part.closed, untold(part.meta, cited), cited))
    return found
