from __future__ import annotations

from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Note, Opened, Usage
from penstock.core.snapshot import Folder, fold
from penstock.flow.history import OVERHEAD, History, weight
from penstock.testing.strategies import batches, runs
from tests.flow.scripted import OPENED, STARTED, answer, entries, sized

PLENTY = 1 << 30


def history_of(pieces: list[list[Entry]], limit: int = PLENTY) -> History:
    history = History(limit)
    said = 0
    for piece in pieces:
        ends = list(accumulate((weight(entry.event) for entry in piece), initial=said))[1:]
        history.fold(piece, ends)
        said = ends[-1] if ends else said
    return history


def ends_of(found: list[Entry]) -> list[int]:
    return list(accumulate(weight(entry.event) for entry in found))


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (Delta(0, "hello"), 5),
        (Delta(0, "größer €"), 12),
        (Delta(0, "hi", msgspec.Raw(b'{"a":1}')), 9),
        (Chunk(0, b"\0" * 7), 7),
        (Note("n", "x" * 100), len('{"type":"note","topic":"n","body":""}') + 100),
    ],
    ids=["ascii", "utf-8", "logprobs", "bytes", "json"],
)
def test_an_event_weighs_what_it_carries_and_an_overhead(event: Event, payload: int) -> None:
    assert weight(event) == payload + OVERHEAD


def test_words_that_no_transport_can_carry_cannot_be_weighed() -> None:
    with pytest.raises(UnicodeEncodeError):
        weight(Delta(0, "\ud800"))


@given(pieces=runs().flatmap(batches))
def test_every_entry_is_given_again_exactly_whatever_was_folded_together(pieces: list[list[Entry]]) -> None:
    complete = [entry for piece in pieces for entry in piece]
    history = history_of(pieces)
    for after in range(len(complete) + 1):
        assert history.read(after, PLENTY) == complete[after:]


@given(pieces=runs().flatmap(batches), budget=st.integers(1, 200))
def test_a_reading_in_turns_misses_nothing_and_exceeds_its_budget_by_one_entry(
    pieces: list[list[Entry]], budget: int
) -> None:
    complete = [entry for piece in pieces for entry in piece]
    history = history_of(pieces)
    found: list[Entry] = []
    while turn := history.read(len(found), budget):
        assert sum(weight(entry.event) for entry in turn[:-1]) < budget
        found += turn
    assert found == complete


@given(pieces=runs().flatmap(batches))
def test_bytes_up_to_any_offset_are_known(pieces: list[list[Entry]]) -> None:
    complete = [entry for piece in pieces for entry in piece]
    history = history_of(pieces)
    assert [history.size_at(offset) for offset in range(len(complete) + 1)] == [0, *ends_of(complete)]


@given(pieces=runs().flatmap(batches))
def test_the_fold_up_to_any_offset_is_the_fold_of_the_entries(pieces: list[list[Entry]]) -> None:
    complete = [entry for piece in pieces for entry in piece]
    history = history_of(pieces)
    for through in range(len(complete) + 1):
        folder = Folder()
        history.fold_to(folder, through)
        assert folder.snapshot() == fold(complete[:through])


@given(pieces=runs().flatmap(batches), data=st.data())
def test_what_is_left_after_dropping_is_exact_and_the_rest_is_in_the_fold(
    pieces: list[list[Entry]], data: st.DataObject
) -> None:
    complete = [entry for piece in pieces for entry in piece]
    ends = ends_of(complete)
    history = history_of(pieces)
    taken = data.draw(st.integers(0, ends[-1]))
    history.drop(taken, PLENTY)
    gone = history.first - 1
    assert gone == 0 or ends[gone - 1] <= taken
    assert history.read(gone, PLENTY) == complete[gone:]
    for through in range(gone, len(complete) + 1):
        folder = history.past()
        history.fold_to(folder, through)
        assert folder.snapshot() == fold(complete[:through])
        assert history.size_at(through) == (ends[through - 1] if through else 0)


def test_dropping_stops_once_enough_was_freed() -> None:
    history = history_of([[entry] for entry in entries([STARTED, OPENED, *[sized(5000)] * 10])], limit=0)
    assert history.drop(PLENTY, 12_500) == 15_000
    assert history.first == 6


def test_dropping_keeps_what_a_reader_has_not_taken() -> None:
    complete = entries([STARTED, OPENED, *[sized(100)] * 10])
    history = history_of([complete])
    assert history.drop(ends_of(complete)[-1] - 1, PLENTY) == 0
    assert history.first == 3, "the passage is dropped whole or not at all"


def test_what_the_fold_goes_on_holding_is_not_freed() -> None:
    complete = entries([STARTED, Note("input", "x" * 500), OPENED, sized(100), Usage(1, 1, "reported")])
    history = history_of([complete])
    assert history.drop(PLENTY, PLENTY) == OVERHEAD, "84 characters are in the fold, and so is the note"
    assert history.past().size == 100 - OVERHEAD
    assert history.past().snapshot() == fold(complete)


def test_log_probabilities_that_the_fold_holds_are_not_freed() -> None:
    told = msgspec.Raw(b'{"content":[%b]}' % (b"0," * 200 + b"0"))
    history = history_of([entries([STARTED, OPENED, Delta(0, "hi", told)])])
    assert history.drop(PLENTY, PLENTY) == OVERHEAD


def test_words_beyond_the_limit_of_the_fold_are_freed_and_said_to_be_missing() -> None:
    history = history_of([entries(answer(*["0123456789"] * 20))], limit=100)
    freed = history.drop(PLENTY, PLENTY)
    snapshot = history.past().snapshot()
    assert snapshot.elided
    assert snapshot.parts[0].elided + len(snapshot.parts[0].text) == 200
    assert snapshot.parts[0].text == ("0123456789" * 20)[snapshot.parts[0].elided :]
    assert freed == 20 * OVERHEAD + snapshot.parts[0].elided


def test_interleaved_parts_are_kept_apart() -> None:
    events: list[Event] = [STARTED, OPENED, Opened(1, "text", 1)]
    events += [Delta(index % 2, str(index)) for index in range(10)]
    events += [Closed(1), Closed(0), Finished()]
    assert history_of([entries(events)]).read(0, PLENTY) == entries(events)
