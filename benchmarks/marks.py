"""The check on tokens for what Python reads itself: the numbers of the markers (`native/marker.h`) in a body."""

from __future__ import annotations

import re

MARK = re.compile(rb"\^(\d+)\.(\d+)\.(\d+);")


def wrong(body: bytes, *, stream: int, tokens: int) -> str:
    """What is not as it has to be, in words; empty when tokens 0 … `tokens` - 1 came once each, in order, and no other."""
    found = [(int(mark[1]), int(mark[2])) for mark in MARK.finditer(body)]
    expected = [(stream, number) for number in range(tokens)]
    if found == expected:
        return ""
    distinct = set(found)
    return (
        f"{len(set(expected) - distinct)} lost, {len(found) - len(distinct)} repeated, "
        f"{len(distinct - set(expected))} of others, {'in' if found == sorted(found) else 'out of'} order"
    )
