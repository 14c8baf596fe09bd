"""How fast: token buckets, one per name, for runs that are begun and for keys that are guessed. Bounded, no timers."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from penstock.auth.grant import Grant
from penstock.core.errors import Refused

MOST = 10_000
"""Names a table remembers; the least recently used is forgotten first, and begins with a full bucket again."""

GUESSES = 20
"""Wrong keys an address may show at once."""
GUESSES_PER_MINUTE = 10.0


class Buckets:
    """A table of token buckets: each holds up to `burst` tokens and gains `per_minute`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = MOST):
        self._clock = clock
        self._most = most
        self._held: dict[str, tuple[float, float]] = {}
        """Name → the tokens it had, and when."""

    def __len__(self) -> int:
        return len(self._held)

    def take(self, name: str, *, per_minute: float, burst: float) -> float:
        """Take a token and return 0; where there is none, take nothing and return the seconds until there is."""
        now = self._clock()
        tokens, then = self._held.pop(name, (burst, now))
        tokens = min(burst, tokens + (now - then) * per_minute / 60)
        wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute
        self._held[name] = (tokens if wait else tokens - 1, now)
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]
        return wait


class Quota:
    """Counts the runs that principals begin and the wrong keys that addresses show."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._starts = Buckets(clock=clock)
        self._guesses = Buckets(clock=clock)

    def begin(self, grant: Grant) -> None:
        """Somebody wants to begin a run. Raises `Refused(rate_limited)`."""
        allowed = grant.allowance
        if not allowed.runs_per_minute:
            return
        burst = float(allowed.burst or max(1.0, allowed.runs_per_minute))
        wait = self._starts.take(grant.principal.name, per_minute=allowed.runs_per_minute, burst=burst)
        if wait:
            raise Refused(
                "rate_limited",
                f"this key may begin {allowed.runs_per_minute:g} runs a minute; wait a moment",
                retry_after=wait,
            )

    def guessed(self, address: str) -> None:
        """An address showed a key that is none. Raises `Refused(rate_limited)` where it does so too often.

        A right key is let in all the same: many people may share an address, and no wrong one comes near a right one.
        """
        wait = self._guesses.take(_network(address), per_minute=GUESSES_PER_MINUTE, burst=GUESSES)
        if wait:
            raise Refused("rate_limited", "too many wrong keys from this address; wait a moment", retry_after=wait)


def _network(address: str) -> str:
    """What one client has: an IPv4 address, or the 64-bit network an IPv6 one is free to choose from."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped.exploded if found.ipv4_mapped else found.exploded[:19]
    return address
