"""What may follow what."""

from __future__ import annotations

import pytest

from penstock.core.errors import fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Note,
    Opened,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.lifecycle import TRANSITIONS, IllegalEvent, Parts, Phase, step

ONE_OF_EACH: list[Event] = [
    Started("st_x", "m", 0),
    Opened(0, "text"),
    Delta(0, "x"),
    Chunk(0, b"x"),
    Closed(0),
    ToolReturned("c", None),
    Note("n", None),
    Usage(1, 1, "reported"),
    Finished(),
    Failed(fault("internal")),
    Cancelled("client"),
]

ALLOWED = {
    Phase.IDLE: "Started Note Failed Cancelled",
    Phase.WAITING: "Opened ToolReturned Note Usage Finished Failed Cancelled",
    Phase.SPEAKING: "Opened Delta Chunk Closed ToolReturned Note Usage Finished Failed Cancelled",
    Phase.ENDED: "",
}


@pytest.mark.parametrize("phase", Phase)
def test_the_table_allows_just_these(phase: Phase) -> None:
    allowed = [type(event).__name__ for event in ONE_OF_EACH if _may_follow(phase, event)]
    assert allowed == ALLOWED[phase].split()


def _may_follow(phase: Phase, event: Event) -> bool:
    try:
        step(phase, event)
    except IllegalEvent:
        return False
    return True


def test_an_event_out_of_place_is_named_with_the_state_of_the_run() -> None:
    with pytest.raises(IllegalEvent, match="Delta is not allowed while the run is waiting"):
        step(Phase.WAITING, Delta(0, "x"))


def test_every_phase_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_a_run_speaks_from_its_first_part_and_ends_with_its_terminal_event() -> None:
    phases = [Phase.IDLE]
    for event in (Started("st_x", "m", 0), Note("n", None), Opened(0, "text"), Delta(0, "x"), Closed(0), Finished()):
        phases.append(step(phases[-1], event))
    assert phases[1:] == [
        Phase.WAITING,
        Phase.WAITING,
        Phase.SPEAKING,
        Phase.SPEAKING,
        Phase.SPEAKING,
        Phase.ENDED,
    ]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([Delta(0, "x")], "Delta for part 0, which is not open"),
        ([Opened(0, "text"), Delta(1, "x")], "Delta for part 1, which is not open"),
        ([Opened(0, "text"), Chunk(0, b"x")], "Chunk for part 0, which is text"),
        ([Opened(0, "binary"), Delta(0, "x")], "Delta for part 0, which is binary"),
        ([Opened(0, "text"), Opened(0, "text")], "part 0 was opened twice"),
        ([Opened(0, "text"), Closed(0), Opened(0, "text")], "part 0 was opened twice"),
        ([Opened(0, "text"), Closed(0), Closed(0)], "part 0 was closed without being open"),
        ([Opened(0, "text"), Closed(0), Delta(0, "x")], "Delta for part 0, which is not open"),
    ],
)
def test_a_part_is_opened_once_added_to_while_open_and_closed_once(events: list[Event], said: str) -> None:
    parts = Parts()
    for event in events[:-1]:
        parts.admit(event)
    with pytest.raises(IllegalEvent, match=said):
        parts.admit(events[-1])


def test_parts_may_be_open_at_once() -> None:
    parts = Parts()
    for event in (Opened(0, "text"), Opened(1, "binary"), Delta(0, "x"), Chunk(1, b"x"), Closed(0), Note("n", None)):
        parts.admit(event)
    assert parts.open == {1: "binary"}
