"""Laws 1, 2 and 7: resume, coalesce and refusal, for every registered dialect on every transport that carries it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.frame import Dialect, View
from penstock.testing.laws.dialects import (
    check_coalesce,
    check_every_fault,
    check_merged_resume,
    check_refusal,
    check_rejoin,
    check_reopen,
    check_resume,
    check_shape,
    check_whole,
)
from penstock.testing.readings import READERS, WHOLE
from penstock.testing.strategies import RUN, batches, bodies, runs
from penstock.testing.wire import expected
from tests.laws.pairs import BARE, DIALECTS, PAIRS, Pair, laws, naming

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@laws
@given(entries=runs(), reasoning=st.booleans(), usage=st.booleans(), sentinel=st.booleans(), names=st.booleans())
def test_what_follows_any_id_is_the_tail_of_the_uninterrupted_stream(
    entries: list[Entry], reasoning: bool, usage: bool, sentinel: bool, names: bool
) -> None:
    for pair in [*PAIRS, BARE]:
        view = pair.view(reasoning=reasoning, include_usage=usage, sentinel=sentinel, event_names=names)
        with naming(pair):
            check_resume(pair.dialect, view, pair.encoder, entries)


@laws
@given(entries=runs(kinds=["text", "reasoning", "refusal", "binary"]), limit=st.integers(0, 40))
def test_a_resume_is_exact_where_the_beginning_of_the_words_is_no_longer_held(entries: list[Entry], limit: int) -> None:
    for pair in PAIRS:
        if not pair.dialect.traits.retells:
            with naming(pair):
                check_resume(pair.dialect, pair.view(), pair.encoder, entries, limit=limit)


@laws
@given(pieces=runs().flatmap(batches))
def test_a_reader_that_was_sent_merged_deltas_resumes_to_the_same_answer(pieces: list[list[Entry]]) -> None:
    for pair in PAIRS:
        with naming(pair):
            check_merged_resume(pair.dialect, pair.view(), pair.encoder, pieces, pair.read)


@laws
@given(pieces=runs().flatmap(batches))
def test_merging_changes_how_many_frames_never_what_they_add_up_to(pieces: list[list[Entry]]) -> None:
    for pair in PAIRS:
        with naming(pair):
            check_coalesce(pair.dialect, pair.view(), pieces, pair.read)


@laws
@given(entries=runs(overlapping=False))
def test_a_reader_that_joins_anywhere_has_the_same_parts(entries: list[Entry]) -> None:
    for pair in PAIRS:
        with naming(pair):
            check_rejoin(pair.dialect, pair.view(), entries, pair.read)


@laws
@given(entries=runs(overlapping=False))
def test_a_client_with_a_new_parser_that_comes_back_is_told_a_legal_stream(entries: list[Entry]) -> None:
    for pair in PAIRS:
        with naming(pair):
            check_reopen(pair.dialect, pair.view(), entries, pair.read)


@laws
@given(entries=runs(), sentinel=st.booleans(), names=st.booleans())
def test_frames_are_what_encoders_take(entries: list[Entry], sentinel: bool, names: bool) -> None:
    for pair in [*PAIRS, BARE]:
        with naming(pair):
            check_shape(pair.dialect, pair.view(sentinel=sentinel, event_names=names), entries)


@laws
@given(entries=runs(overlapping=False))
def test_the_whole_answer_is_what_a_stream_of_it_adds_up_to(entries: list[Entry]) -> None:
    for dialect in DIALECTS:
        with naming(dialect.name):
            value = check_whole(dialect, View(run=RUN), entries)
            told = dialect.renderer(Pair(dialect, "sse").view(reasoning=False))
            frames = [expected(frame, "") for entry in entries for frame in told.render(entry)]
            assert WHOLE[dialect.name](value) == READERS[dialect.name](frames).text()


@every_dialect
@laws
@given(
    body=bodies(
        b'{"model":"demo","messages":[{"role":"user","content":"hi"}],"stream":true,"n":2}',
        b'{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","call_id":"c","name":"f",'
        b'"arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"y"}],"tools":[{"type":"function","name":"f"}],'
        b'"tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_object"}},"reasoning":{"effort":"low"}}',
        b'{"message":"hi","history":[{"role":"user","content":[{"type":"text","text":"x"}]}]}',
        b'{"prompt":"hi","stream_options":{"include_usage":true},"background":false}',
    )
)
def test_any_bytes_are_a_request_or_refused(dialect: Dialect, body: bytes) -> None:
    request = check_refusal(dialect, body)
    if request is not None:
        assert msgspec.json.decode(msgspec.json.encode(request), type=type(request)) == request


@every_dialect
@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"messages":' + b"[" * 70 + b"]" * 70 + b"}", b'"\xff"', b"{} {}", b"\0"],
    ids=["arrays", "objects", "deep", "not-utf8", "two", "nul"],
)
def test_hostile_bodies_are_a_request_or_refused(dialect: Dialect, body: bytes) -> None:
    request = check_refusal(dialect, body)
    assert request is None or dialect.name == "plain"


@every_dialect
def test_every_error_of_the_table_can_be_told(dialect: Dialect) -> None:
    check_every_fault(dialect)


def test_every_registered_dialect_has_a_reading() -> None:
    assert sorted(READERS) == sorted(WHOLE) == sorted(dialect.name for dialect in DIALECTS)
