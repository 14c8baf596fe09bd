"""Why a choice ended, in the word its parts give when they close.

Providers say it of a choice (`Closed.meta["finish_reason"]`), and a run ends but once (`Finished.reason`): with several choices, or
parts that close in any order, the part that was opened last has the say.
"""

from __future__ import annotations

from penstock.core.events import Json


class FinishReason:
    """Follows the parts of one choice, in whatever order they close."""

    __slots__ = ("_part", "_word")

    def __init__(self) -> None:
        self._part = -1
        self._word = ""

    def closed(self, part: int, meta: dict[str, Json] | None) -> None:
        """A part closed, and this is what it says of itself."""
        word = meta.get("finish_reason") if meta else None
        if word and isinstance(word, str) and part > self._part:
            self._part, self._word = part, word

    def word(self, otherwise: str) -> str:
        """The word of the last part that has one; `otherwise` where none has."""
        return self._word or otherwise
