"""A budget for what costs a provider more than one request: asking again, asking another beside it."""

from __future__ import annotations


class Budget:
    """What may be spent: every request earns a share of one, up to a reserve."""

    __slots__ = ("_most", "left")

    def __init__(self, most: float):
        self._most = self.left = most

    def earn(self, share: float) -> None:
        self.left = min(self._most, self.left + share)

    def spend(self) -> bool:
        """Whether there was one left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
