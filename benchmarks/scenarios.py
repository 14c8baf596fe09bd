"""The scenarios, by letter, and the goals for the figures they give."""

from __future__ import annotations

import msgspec


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What `load` is told. Times in milliseconds; `rate` in tokens per second, 0 as fast as they are taken."""

    title: str
    streams: int
    tokens: int
    rate: float
    first_ms: int = 0
    """Silence of the provider before the first token."""
    pad: int = 0
    """Further characters in each token."""
    ramp_ms: int = 0
    settle_ms: int = 0
    limit_ms: int = 60_000
    """When to give up; never reached by a server that keeps up."""
    each: int = 1
    """Streams on each connection, one after the other."""
    until_ms: int = 0
    """Begin no stream after this; 0: only `each` counts."""

    @property
    def paced(self) -> bool:
        return self.rate > 0


# In the order in which they run: `f` asks for a process whose memory has not grown yet.
SCENARIOS = {
    "f": Scenario(title="2,000 streams × 1 token/s", streams=2000, tokens=8, rate=1, ramp_ms=3000, settle_ms=4000),
    "a": Scenario(title="1 stream × 50 tokens/s", streams=1, tokens=50, rate=50, each=5),
    "h": Scenario(title="25 streams × 50 tokens/s", streams=25, tokens=300, rate=50, ramp_ms=500, settle_ms=1000),
    "b": Scenario(title="100 streams × 50 tokens/s", streams=100, tokens=350, rate=50, ramp_ms=1000, settle_ms=1500),
    "c": Scenario(title="500 streams × 50 tokens/s", streams=500, tokens=350, rate=50, ramp_ms=2000, settle_ms=2500),
    "d": Scenario(title="1,000 streams × 30 tokens/s", streams=1000, tokens=240, rate=30, ramp_ms=2000, settle_ms=2500),
    "e": Scenario(
        title="64 streams unpaced, 2,000 tokens each",
        streams=64, tokens=2000, rate=0, ramp_ms=100, settle_ms=500, each=1_000_000, until_ms=4000,
    ),
    "g": Scenario(
        title="64 streams at a time, unpaced, 10 tokens each",
        streams=64, tokens=10, rate=0, ramp_ms=100, settle_ms=500, each=1_000_000, until_ms=4000,
    ),
}  # fmt: skip
