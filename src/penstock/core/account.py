"""What several attempts at one answer used, added up."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.events import Grade, Spent, Usage

GRADES: tuple[Grade, ...] = ("reported", "drained", "counted")
"""From the best known to the worst."""

DIGITS = 12
"""Of a cost, behind the point. What is smaller is not money, but how floats add up."""


def summed(attempts: Sequence[Spent]) -> Usage:
    """All attempts together, known no better than the worst of them. A cost that is missing in one is missing in the sum.

    One attempt alone is its own sum; of several each is named that used anything. Raises `ValueError` for none.
    """
    attempts = [it for it in attempts if it.usage.input or it.usage.output] or attempts[:1]
    usages = [attempt.usage for attempt in attempts]
    if len(usages) == 1:
        return usages[0]
    costs = [usage.cost for usage in usages if usage.cost is not None]
    return Usage(
        sum(usage.input for usage in usages),
        sum(usage.output for usage in usages),
        max((usage.grade for usage in usages), key=GRADES.index),
        cached=_sum([usage.cached for usage in usages]),
        reasoning=_sum([usage.reasoning for usage in usages]),
        cache_written=_sum([usage.cache_written for usage in usages]),
        cost=round(sum(costs), DIGITS) if len(costs) == len(usages) else None,
        attempts=tuple(attempts),
    )


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
