"""`[limits]` and `[bounds]`: how long things may take, and how much is held."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.config.units import SHORTEST, Bytes, KiB, MiB, Seconds


class TimeLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things may take."""

    connect: Annotated[
        Seconds,
        Meta(
            description="To connect to a provider: its name, the connection and TLS together. Through litellm it is litellm's."
        ),
    ] = Seconds(5)
    first_token: Annotated[
        Seconds, Meta(description="From the question to its first token; anew for each target that is asked.")
    ] = Seconds(300)
    gap: Annotated[Seconds, Meta(description="Between two tokens.")] = Seconds(120)
    total: Annotated[Seconds, Meta(description="The whole run.")] = Seconds(1800)
    floor: Annotated[
        float,
        Meta(
            ge=0,
            description="Tokens per second below which an answer is too slow to be waited for, over ten seconds; 0 is no floor.",
        ),
    ] = 0.0
    stall: Annotated[
        Seconds, Meta(description="A reader that owes and takes nothing for so long is dropped; it may come back.")
    ] = Seconds(20)
    retention: Annotated[Seconds, Meta(description="How long a run can be read after its end.")] = Seconds(600)

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "gap", "total", "stall"):
            if getattr(self, name) < SHORTEST:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be below {SHORTEST}")


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is held. What lies after a reader's position is *owed*; what a run holds is *kept*."""

    high: Annotated[Bytes, Meta(description="The source waits while even the fastest reader owes more.")] = Bytes(
        64 * KiB
    )
    low: Annotated[Bytes, Meta(description="The source goes on when it owes no more than this.")] = Bytes(32 * KiB)
    turn_bytes: Annotated[Bytes, Meta(description="What one reader takes at a time.")] = Bytes(64 * KiB)
    merge_above: Annotated[
        Bytes, Meta(description="A reader that owes more gets fewer, larger deltas; the text is the same.")
    ] = Bytes(16 * KiB)
    detached_bytes: Annotated[Bytes, Meta(description="How far a run goes ahead with nobody attached.")] = Bytes(
        1 * MiB
    )
    max_run_bytes: Annotated[
        Bytes, Meta(description="What one run keeps; the oldest is dropped when every attached reader has it.")
    ] = Bytes(8 * MiB)

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError(f"low ({self.low}) must be above 0 and not above high ({self.high})")
        if self.turn_bytes <= 0:
            raise ValueError("turn_bytes must be above 0")
        if self.max_run_bytes < self.high:
            raise ValueError(f"max_run_bytes ({self.max_run_bytes}) must not be below high ({self.high})")
