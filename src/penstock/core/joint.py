"""Where two texts meet: how much of what a second one begins with the first had said already. Pure."""

from __future__ import annotations

from itertools import takewhile

REACH = 16_384
"""Characters at the end of the first text that the second may repeat. The first as a whole it may repeat however long it is."""
LEAST = 6
"""Characters that are no coincidence. Shorter overlaps count where they are whole words, or of letters that say more."""


class Joint:
    """Takes the second text piece by piece, holds back what may be a repetition, and gives what is new."""

    __slots__ = ("_at", "_begins", "_held", "_said", "_withheld", "held", "trimmed")

    def __init__(self, said: str, *, withheld: int = 0):
        """`withheld` characters at the end of `said` whoever says the second text was not shown."""
        self._said = said
        self._withheld = withheld
        self._at = max(0, len(said) - REACH)
        self._begins = True
        """Whether the first text begins with what is held back."""
        self._held: list[str] | None = []
        self.held = 0
        """Characters that are held back."""
        self.trimmed = 0
        """Characters that were left out because they had been said."""

    def more(self, text: str) -> str:
        """What is certain to be new of everything up to this piece; empty while it may all be a repetition."""
        if self._held is None:
            return text
        self._held.append(text)
        if self._undecided(self._held, text):
            return ""
        return self.rest()

    def rest(self) -> str:
        """What is new of what was held back: nothing more will come that could decide it."""
        if self._held is None:
            return ""
        held, shown = "".join(self._held), len(self._said) - self._withheld
        said, withheld = self._said[:shown], self._said[shown:]
        self._held, self._said, self.held = None, "", 0
        again = overlap(said, held)
        # What was withheld may come behind that.
        self.trimmed = again + _alike(withheld, held[again:])
        return held[self.trimmed :]

    def _undecided(self, held: list[str], latest: str) -> bool:
        """Whether what came so far stands somewhere in the first text, so that more of it may be a repetition up to its end. Where
        it stood, only the latest piece is compared: what repeats a long text comes in many."""
        said, before = self._said, self.held
        self.held = length = before + len(latest)
        # Where less of it did not stand, more of it does not.
        self._begins = self._begins and length < len(said) and said.startswith(latest, before)
        if self._at >= 0 and not said.startswith(latest, self._at + before):
            self._at = said.find("".join(held), self._at)
        # Whether a short word ends there shows in what follows it.
        if self._at >= 0 and (self._at + length < len(said) or length < LEAST):
            return True
        return self._begins


def _alike(one: str, other: str) -> int:
    """With how many of the same characters two texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def overlap(said: str, more: str) -> int:
    """How many characters at the beginning of `more` repeat the end of `said`: the most that are no coincidence, else none."""
    length = _long(said, more)
    if length:
        return 0 if _patterned(said, length) else length
    for length in range(min(len(said), len(more), LEAST - 1), 0, -1):
        if said.endswith(more[:length]) and _meant(said, more, length):
            return 0 if _patterned(said, length) else length
    return 0


def _long(said: str, more: str) -> int:
    """The longest overlap of at least `LEAST` characters, or the whole of `said` where that is more than a letter or two; 0 where
    there is none."""
    if len(said) >= LEAST // 2 and more.startswith(said):
        return len(said)
    head, at = more[:LEAST], max(0, len(said) - REACH)
    while len(head) >= LEAST and (at := said.find(head, at)) >= 0:
        if more.startswith(said[at:]):
            return len(said) - at
        at += 1
    return 0


def _patterned(said: str, length: int) -> bool:
    """Whether the overlap may be more rounds of a pattern that `said` ends in, as in "ha ha ha " + "ha ha!", in a row of dashes or of
    zeros: then it is no sign of a repetition. The white space in which a line begins comes once."""
    again = said[-length:]
    if again.isspace():
        return said.endswith(again[0] + again)
    return said.endswith(again + again) or (again + again).find(again, 1) < length


def _meant(said: str, more: str, length: int) -> bool:
    again = more[:length]
    if sum(2 if letter >= "\u2e80" else 1 for letter in again) >= LEAST:
        return True  # an ideograph, or a syllable, says as much as several letters
    # "... the" + "the cat", and "one " + "one two": whole words are repeated. "... a" + "and": none is.
    begins = not (again[0].isalnum() and said[-length - 1 : -length].isalnum())
    ends = not (again[-1].isalnum() and more[length : length + 1].isalnum())
    return length > 1 and begins and ends and any(letter.isalnum() for letter in again)
