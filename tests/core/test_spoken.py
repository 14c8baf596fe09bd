"""What people read of a run."""

from __future__ import annotations

from penstock.core.cursor import Entry
from penstock.core.events import Delta, Event, Opened
from penstock.core.snapshot import fold
from penstock.core.spoken import Spoken


def told(*events: Event, reasoning: bool = False, primed: int = 0) -> list[str]:
    spoken = Spoken(reasoning=reasoning)
    spoken.prime(fold(Entry(offset, offset, 0, event) for offset, event in enumerate(events[:primed], 1)))
    words = []
    for event in events[primed:]:
        if isinstance(event, Opened):
            spoken.open(event)
        elif isinstance(event, Delta):
            words.append(spoken.more(event))
    return words


TWO: tuple[Event, ...] = (
    Opened(0, "text"),
    Delta(0, "one"),
    Opened(1, "text"),
    Delta(1, ""),
    Delta(1, "two"),
    Delta(1, " three"),
)


def test_a_blank_line_comes_with_the_first_words_of_the_next_part() -> None:
    assert told(*TWO) == ["one", "", "\n\ntwo", " three"]


def test_it_is_the_same_for_whoever_joins_later() -> None:
    assert [told(*TWO, primed=primed) for primed in (2, 3, 4, 5)] == [
        ["", "\n\ntwo", " three"],
        ["", "\n\ntwo", " three"],
        ["\n\ntwo", " three"],
        [" three"],
    ]


def test_a_part_that_says_nothing_leaves_no_blank_line() -> None:
    assert told(Opened(0, "text"), Opened(1, "text"), Delta(1, "x")) == ["x"]


def test_a_refusal_is_read_and_other_choices_tools_and_reasoning_are_not() -> None:
    events = (
        Opened(0, "reasoning"), Delta(0, "hm"), Opened(1, "tool_call"), Delta(1, "{}"), Opened(2, "text", 1), Delta(2, "no"),
        Opened(3, "refusal"), Delta(3, "I will not."),
    )  # fmt: skip
    assert told(*events) == ["", "", "", "I will not."]
    assert told(*events, reasoning=True) == ["hm", "", "", "\n\nI will not."]


def test_the_whole_is_what_the_pieces_add_up_to() -> None:
    snapshot = fold(Entry(offset, offset, 0, event) for offset, event in enumerate(TWO, 1))
    assert Spoken().whole(snapshot) == "".join(told(*TWO))
