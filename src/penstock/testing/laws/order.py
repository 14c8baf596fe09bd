"""The law of order: every event stands where it may, every part is closed, and one terminal event is the last."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.events import Event
from penstock.core.lifecycle import Parts, Phase, step


def check_order(events: Iterable[Event], *, phase: Phase = Phase.IDLE, whole: bool = True) -> None:
    """`events` follow `phase` to the end of a run. What a source that broke leaves open is closed by the pump: with `whole` false
    that is passed over. Raises `IllegalEvent` and `AssertionError`."""
    parts = Parts()
    for event in events:
        phase = step(phase, event)
        parts.admit(event)
    if phase is not Phase.ENDED:
        raise AssertionError(f"the run is still {phase.value} after its last event")
    if whole and parts.open:
        raise AssertionError(f"parts that were never closed: {parts.open}")
