"""Adjacent deltas of one part become one, for readers that are behind.

Merging changes how many frames there are, never what they add up to. Structural entries, notes, tool results, the terminal
event and deltas with data of their own per token are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.cursor import Entry
from penstock.core.events import Delta

LONGEST = 16 * 1024
"""Characters of text in a merged delta."""


def coalesce(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries with runs of plain deltas merged; a delta longer than `LONGEST` alone stays as it is."""
    merged: list[Entry] = []
    pending: list[Entry] = []
    part, size = -1, 0
    for entry in entries:
        event = entry.event
        plain = type(event) is Delta and event.logprobs is None
        if plain and pending and event.part == part and size + len(event.text) <= LONGEST:  # type: ignore[union-attr]
            pending.append(entry)
            size += len(event.text)  # type: ignore[union-attr]
            continue
        if pending:
            merged.append(_join(pending))
            pending = []
        if plain:
            pending = [entry]
            part, size = event.part, len(event.text)  # type: ignore[union-attr]
        else:
            merged.append(entry)
    if pending:
        merged.append(_join(pending))
    return merged


def _join(entries: list[Entry]) -> Entry:
    head, last = entries[0], entries[-1]
    if head is last:
        return head
    texts = [entry.event.text for entry in entries if isinstance(entry.event, Delta)]
    return Entry(head.first, last.last, last.at, Delta(head.event.part, "".join(texts)))  # type: ignore[union-attr]
