"""What happens when memory is short: ended runs are dropped first, the oldest before the others, and then new ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import Protocol, TypeVar

T = TypeVar("T")

SHED_ABOVE = 0.9
"""Share of the memory there may be beyond which it is short."""
SHED_SECONDS = 5
"""When those who are refused for it are asked to come back."""
FEW = 64
"""Ended runs that are dropped at once where there are not many more."""


class Memory(Protocol):
    """What bounds the memory of this process."""

    def reading(self) -> tuple[int, int]:
        """Bytes used, and how many may be."""

    def release(self) -> None:
        """Give back to the system what was let go of."""


def short(memory: Memory, ended: Collection[T], drop: Callable[[T], None]) -> bool:
    """Whether memory is short, also after the first half of what has `ended` was dropped."""
    if not _nearly_used(memory):
        return False
    if ended:
        for each in list(islice(ended, max(FEW, len(ended) // 2))):
            drop(each)
        memory.release()
    return _nearly_used(memory)


def _nearly_used(memory: Memory) -> bool:
    used, most = memory.reading()
    return used > SHED_ABOVE * most
