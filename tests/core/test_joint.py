"""What a second text begins with that the first had said already is left out, whatever the pieces it comes in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.joint import Joint, overlap


def joined(said: str, pieces: list[str]) -> str:
    joint = Joint(said)
    return "".join(joint.more(piece) for piece in pieces) + joint.rest()


@pytest.mark.parametrize(
    ("said", "more", "new"),
    [
        ("The quick brown fox", " jumps.", " jumps."),
        ("The quick brown fox", "brown fox jumps.", " jumps."),
        ("The quick brown fox", "fox jumps.", " jumps."),
        ("The quick brown", "The quick brown fox", " fox"),
        ("The q", "The quick brown fox", "uick brown fox"),
        ("It was a", "and a half", "and a half"),
        ("banana", "anana", "anana"),
        ("x", "x", "x"),
        ("one, two, ", "three", "three"),
        ("one ", "one two", "two"),
        ("a brown", "brownies", "brownies"),
        ("It ends.", ". And", ". And"),
        ("Ein Wörtchen ü", "Wörtchen über", "ber"),
        ("今天天气很好", "气很好。", "。"),
        ("ありがとうございます", "ございます！", "！"),
        ("e\u0301te\u0301", "\u0301x", "\u0301x"),
        ("| a | b |\n| --- | --- |", "| --- | --- |\n| 1 | 2 |", "\n| 1 | 2 |"),
        ("def f():\n        ", "        return 1", "return 1"),
        # One more round of a pattern is no repetition: nobody can tell, and no word is to be missing.
        ("aaaaaaaaaaaa", "aaaaaaab", "aaaaaaab"),
        ("ha ha ha ha ", "ha ha!", "ha ha!"),
        ("-----------", "-------|", "-------|"),
        ("[0, 0, 0, 0, ", "0, 0, 1]", "0, 0, 1]"),
        ("👍👍👍👍👍👍👍👍", "👍👍👍👍", "👍👍👍👍"),
        ("- item\n- item\n", "- item\n- last", "- item\n- last"),
        ("ha ha ", "ha ha ha!", "ha ha ha!"),
        ("again: ha ha ", "ha ha ha!", "ha ha ha!"),
        ("x:\n    ", "        y", "        y"),
    ],
)
def test_a_repetition_is_left_out_and_a_coincidence_is_not(said: str, more: str, new: str) -> None:
    assert joined(said, [more]) == new
    assert joined(said, list(more)) == new


@given(
    said=st.text("ab ", max_size=30), more=st.text("ab ", max_size=30), cuts=st.lists(st.integers(0, 30), max_size=4)
)
def test_the_pieces_it_comes_in_change_nothing(said: str, more: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(more)) for cut in cuts), len(more)]
    pieces = [more[start:end] for start, end in pairwise(places)]
    assert joined(said, pieces) == joined(said, list(more)) == joined(said, [more])


@given(said=st.text(max_size=50), more=st.text(max_size=50))
def test_what_is_left_is_the_end_of_what_came(said: str, more: str) -> None:
    assert more.endswith(joined(said, [more]))
    assert overlap(said, more) <= len(more)


def test_a_text_that_repeats_nothing_is_held_back_for_no_piece() -> None:
    joint = Joint("The quick brown fox")
    assert joint.more(" jumps") == " jumps"
    assert joint.more(" over") == " over"


@pytest.mark.parametrize(
    ("said", "more", "new"),
    [
        ("one ", " two", "two"),
        ("one ", "two", "two"),
        ("one:\n\n", "\n\n- a", "- a"),
        ("one:\n\n", "\n- a", "- a"),
        ("def f():\n        ", "\n        return", "return"),
        ("one ", "\ntwo", "\ntwo"),
        ("again: ha ha ha ", " ha ha ha ha!", "ha ha ha ha!"),
        ("The quick brown ", "quick brown fox", "fox"),
    ],
)
def test_white_space_that_was_not_shown_may_come_again(said: str, more: str, new: str) -> None:
    for pieces in ([more], list(more)):
        joint = Joint(said, withheld=len(said) - len(said.rstrip()))
        assert "".join(map(joint.more, pieces)) + joint.rest() == new


LONG = "".join(f"Sentence {number} of many. " for number in range(1500))


@pytest.mark.parametrize("size", [4, 1000, 40_000])
@pytest.mark.parametrize("start", [0, len(LONG) - 16_000, len(LONG) - 401])
def test_a_repetition_may_be_long_and_the_whole_text_of_any_length(start: int, size: int) -> None:
    again = LONG[start:] + "The end."
    assert joined(LONG, [again[at : at + size] for at in range(0, len(again), size)]) == "The end."


def test_a_repetition_that_leaves_its_text_on_the_way_is_said_whole() -> None:
    other = LONG[:2000] + "but not so"
    assert joined(LONG, [other[at : at + 7] for at in range(0, len(other), 7)]) == other
