"""Where two texts meet: how much of what a second one begins with the first had said already. Pure."""

from __future__ import annotations

REACH = 400
"""Characters at the end of the first text that the second may repeat."""
LEAST = 6
"""Characters that are no coincidence. Shorter overlaps count where they are whole words."""


class Joint:
    """Takes the second text piece by piece, holds back what may be a repetition, and gives what is new."""

    __slots__ = ("_held", "_tail", "trimmed")

    def __init__(self, said: str):
        self._tail = said[-REACH:]
        self._held: str | None = ""
        self.trimmed = 0
        """Characters that were left out because they had been said."""

    def more(self, text: str) -> str:
        """What is certain to be new of everything up to this piece; empty while it may all be a repetition."""
        if self._held is None:
            return text
        self._held += text
        if self._undecided(self._held):
            return ""
        return self.rest()

    def rest(self) -> str:
        """What is new of what was held back: nothing more will come that could decide it."""
        if self._held is None:
            return ""
        held, self._held = self._held, None
        self.trimmed = overlap(self._tail, held)
        return held[self.trimmed :]

    def _undecided(self, held: str) -> bool:
        """Whether what came so far stands somewhere in the tail, so that more of it may be a repetition up to its end."""
        at = self._tail.find(held)
        while at >= 0:
            # Whether a short word ends there shows in what follows it.
            if at + len(held) < len(self._tail) or len(held) < LEAST:
                return True
            at = self._tail.find(held, at + 1)
        return False


def overlap(said: str, more: str) -> int:
    """How many characters at the beginning of `more` repeat the end of `said`: the most that are no coincidence, else none."""
    for length in range(min(len(said), len(more), REACH), 0, -1):
        if said.endswith(more[:length]) and _meant(said, more, length):
            return length
    return 0


def _meant(said: str, more: str, length: int) -> bool:
    if length >= LEAST:
        return True
    # "... the" + "the cat", and "one " + "one two": whole words are repeated. "... a" + "and": none is.
    again = more[:length]
    begins = not (again[0].isalnum() and said[-length - 1 : -length].isalnum())
    ends = not (again[-1].isalnum() and more[length : length + 1].isalnum())
    return length > 1 and begins and ends and any(letter.isalnum() for letter in again)
