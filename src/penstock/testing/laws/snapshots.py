"""The law of what has been said: however it is added up, it is the same; and forgetting its beginning changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.cursor import Entry
from penstock.core.snapshot import Folder, PartSoFar, Snapshot, fold
from penstock.encoders.coalesce import coalesce
from penstock.testing.laws.dialects import same


def check_snapshot(batches: Sequence[Sequence[Entry]]) -> None:
    """`Folder` and `fold` agree at every position, over merged entries as over single ones."""
    entries = [entry for batch in batches for entry in batch]
    folder = Folder()
    for count, entry in enumerate(entries, 1):
        folder.add(entry)
        same(folder.snapshot(), fold(entries[:count]), f"the snapshot after {count}")
    same(fold(entry for batch in batches for entry in coalesce(batch)), fold(entries), "the snapshot of merged entries")


def check_trimming(entries: Sequence[Entry], limit: int) -> None:
    """A bounded folder holds at most `limit` of the parts' text and data: the end of each part, and all else as it was."""
    folder = Folder(limit)
    for entry in entries:
        folder.add(entry)
        if folder.size > limit:
            raise AssertionError(f"{folder.size} held, {limit} allowed")
    trimmed, complete = folder.snapshot(), fold(entries)
    for held, part in zip(trimmed.parts, complete.parts, strict=True):
        said = part.data if part.kind == "binary" else part.text
        kept = held.data if part.kind == "binary" else held.text
        same(kept, said[held.elided :], f"what is held of part {part.part}")
    same(_without_words(trimmed), _without_words(complete), "all but the words")


def _without_words(snapshot: Snapshot) -> Snapshot:
    def shell(part: PartSoFar) -> PartSoFar:
        return msgspec.structs.replace(part, text="", data=b"", logprobs=(), elided=0)

    return msgspec.structs.replace(snapshot, parts=tuple(shell(part) for part in snapshot.parts))
