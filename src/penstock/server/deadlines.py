"""Limits that a request sets for itself: `Penstock-Timeout: connect=1, first_token=10, gap=2.5, total=60, floor=5`.

Times are in seconds, the floor is in tokens per second. A client may be less patient than the server, never more: what a
provider may be waited for is the operator's to say.
"""

from __future__ import annotations

import math

import msgspec

from penstock.core.errors import Refused
from penstock.flow.policy import TimeLimits

HEADER = "penstock-timeout"
TIMES = ("connect", "first_token", "gap", "total")
NAMES = (*TIMES, "floor")
CODES = {"floor": "throughput_timeout"}
"""The errors of those limits of which the name does not say it."""
SHORTEST = 0.01
FASTEST = 10_000.0
"""Tokens a second: no floor lies higher."""


def limited(limits: TimeLimits, header: str) -> TimeLimits:
    """The limits of one request, given those that hold without its header. Raises `Refused`."""
    wanted: dict[str, float] = {}
    for item in filter(None, (piece.strip() for piece in header.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        if name not in NAMES or name in wanted:
            raise _bad(
                f"{item[:64]!r} is no limit, or is there twice; there are {', '.join(NAMES)}, as in 'first_token=10'"
            )
        held = getattr(limits, name)
        least, most = (SHORTEST, held) if name in TIMES else (held, FASTEST)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            unit = "seconds" if name in TIMES else "tokens a second"
            raise _bad(f"{name} is a number of {unit} from {least:g} to {most:g} here, not {value[:32]!r}")
        wanted[name] = number
    own = frozenset(CODES.get(name, f"{name}_timeout") for name in wanted if wanted[name] != getattr(limits, name))
    return msgspec.structs.replace(limits, **wanted, own=own)


def _bad(message: str) -> Refused:
    return Refused("invalid_request", f"the header Penstock-Timeout: {message}", param="Penstock-Timeout")
