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
        ("It was a", "and a half", "and a half"),
        ("banana", "anana", "anana"),
        ("x", "x", "x"),
        ("one, two, ", "three", "three"),
        ("one ", "one two", "two"),
        ("a brown", "brownies", "brownies"),
        ("It ends.", ". And", ". And"),
        ("Ein Wörtchen ü", "Wörtchen über", "ber"),
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
