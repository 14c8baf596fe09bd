"""Halves of surrogate pairs: servers written in JavaScript cut strings between them, and neither half is a character.

`json.loads` alone lets them through, so only what the strict readers turned down can hold any.
"""

from __future__ import annotations


def marked(text: str) -> str:
    """A text of its own, with U+FFFD for every half of a pair that stands alone."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """Joins the halves of each part's text; what stays alone is marked with U+FFFD."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[int, str] = {}  # part → a first half whose other half is to come

    def __contains__(self, part: int) -> bool:
        """Whether a half of this part is held back."""
        return part in self._held

    def whole(self, part: int, text: str) -> str:
        """`text` behind what was held of the part; a first half at its end is held back until the other comes."""
        if text.isascii() and part not in self._held:
            return text
        text = self._held.pop(part, "") + text
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
            if "\ud800" <= text[-1] <= "\udbff":
                self._held[part] = text[-1]
                text = text[:-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def left(self, part: int) -> str:
        """What ends the text of a part: the mark, where a half was held, else nothing."""
        return "\ufffd" if self._held.pop(part, "") else ""

    def parts(self) -> list[int]:
        """The parts of which a half is held."""
        return list(self._held)
