"""What a route decides about flow: the bounds of a log, slow readers, time limits, and what happens when everybody leaves."""

from __future__ import annotations

from typing import Literal

import msgspec

SlowReader = Literal["pause", "coalesce", "disconnect"]
KiB = 1024
MiB = 1024 * KiB


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes. *Owed* is what lies after a reader's cursor, *kept* what a run holds."""

    high: int = 64 * KiB
    """The source waits while even the fastest reader owes more."""
    low: int = 32 * KiB
    """… and goes on when it owes no more than this."""
    turn_bytes: int = 64 * KiB
    """What one reader takes at a time."""
    merge_above: int = 16 * KiB
    """A reader that owes more gets merged deltas."""
    detached_bytes: int = 1 * MiB
    """How far a run goes ahead with nobody attached."""
    max_run_bytes: int = 8 * MiB
    """What one run keeps; the oldest is dropped when every attached reader has it."""


class TimeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    connect: float = 5.0
    """To connect to a provider, for each that is asked."""
    first_token: float = 300.0
    gap: float = 120.0
    total: float = 1800.0
    floor: float = 0.0
    """Events a second below which a source that speaks is too slow; 0 is no floor."""
    stall: float = 20.0
    """A reader that owes and makes no progress for so long is dropped."""
    retention: float = 600.0
    """How long an ended run can still be read."""
    own: frozenset[str] = frozenset()
    """The codes of the limits that the request set itself, below what it would have been given."""


class OnDisconnect(msgspec.Struct, frozen=True):
    """When the last reader leaves: stop at once, after `grace` seconds, or finish whoever listens."""

    what: Literal["cancel", "grace", "finish"] = "grace"
    grace: float = 60.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run is bound by."""

    slow_reader: SlowReader = "pause"
    on_disconnect: OnDisconnect = OnDisconnect()
    bounds: Bounds = Bounds()
    limits: TimeLimits = TimeLimits()
