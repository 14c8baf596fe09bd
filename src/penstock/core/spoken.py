"""What a person reads of a run: the texts and refusals of choice 0, one after the other with a blank line between.

For dialects that have one stream of words and no parts. A refusal counts, since an answer of nothing would pass for a complete one.
"""

from __future__ import annotations

from penstock.core.events import Delta, Kind, Opened
from penstock.core.snapshot import Snapshot

JOINT = "\n\n"
"""Stands between two parts, sent with the first words of the second, so that nothing dangles."""


def kinds_spoken(*, reasoning: bool) -> tuple[Kind, ...]:
    """The kinds of parts that people read."""
    return ("text", "refusal", "reasoning") if reasoning else ("text", "refusal")


class Spoken:
    """Follows one run. `reasoning` counts the parts of reasoning as well."""

    __slots__ = ("_fresh", "_kinds", "_said", "_shown")

    def __init__(self, *, reasoning: bool = False):
        self._kinds = kinds_spoken(reasoning=reasoning)
        self._shown: set[int] = set()
        self._fresh: set[int] = set()
        self._said = False

    def prime(self, so_far: Snapshot) -> None:
        """Learn what was said before."""
        for part in so_far.parts:
            if self.open(part.opening()) and (part.text or part.elided):
                self._fresh.discard(part.part)
                self._said = True

    def open(self, opened: Opened) -> bool:
        """A part begins. Returns whether people read it."""
        shown = opened.choice == 0 and opened.kind in self._kinds
        if shown:
            self._shown.add(opened.part)
            self._fresh.add(opened.part)
        return shown

    def shows(self, part: int) -> bool:
        """Whether people read this part."""
        return part in self._shown

    def more(self, delta: Delta) -> str:
        """The words a delta adds; empty for the deltas of parts nobody reads."""
        part, text = delta.part, delta.text
        if part not in self._fresh:
            return text if part in self._shown else ""
        if not text:
            return ""
        self._fresh.discard(part)
        if self._said:
            return JOINT + text
        self._said = True
        return text

    def whole(self, so_far: Snapshot) -> str:
        """The words of everything said so far."""
        return JOINT.join(p.text for p in so_far.parts if p.choice == 0 and p.kind in self._kinds and p.text)
