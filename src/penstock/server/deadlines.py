"""Time limits that a request sets for itself: `Penstock-Timeout: first_token=10, gap=2.5, total=60`, in seconds.

A client may be less patient than the server, never more: what a provider may be waited for is the operator's to say.
"""

from __future__ import annotations

import math

import msgspec

from penstock.core.errors import Refused
from penstock.flow.policy import TimeLimits

HEADER = "penstock-timeout"
NAMES = ("first_token", "gap", "total")
SHORTEST = 0.01


def limited(limits: TimeLimits, header: str) -> TimeLimits:
    """The limits of one request, given those that hold without its header. Raises `Refused`."""
    wanted: dict[str, float] = {}
    for item in filter(None, (piece.strip() for piece in header.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        if name not in NAMES or name in wanted:
            raise _bad(
                f"{item[:64]!r} is no limit, or is there twice; there are {', '.join(NAMES)}, as in 'first_token=10'"
            )
        most = getattr(limits, name)
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not SHORTEST <= seconds <= most:
            raise _bad(f"{name} is a number of seconds from {SHORTEST} to {most:g} here, not {value[:32]!r}")
        wanted[name] = seconds
    return msgspec.structs.replace(limits, **wanted)


def _bad(message: str) -> Refused:
    return Refused("invalid_request", f"the header Penstock-Timeout: {message}", param="Penstock-Timeout")
