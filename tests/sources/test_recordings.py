"""Providers' streams as recorded become the events beside them, however the network cuts them."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.events import Event, Failed
from penstock.core.lifecycle import Phase
from penstock.testing.laws.order import check_order
from tests.sources.asking import text
from tests.sources.recordings import FOLDER, PROTOCOLS, RECORDINGS, cut, parsed, parser_of


def read(recording: Path, *pieces: bytes) -> list[Event]:
    return parsed(parser_of(recording), *pieces)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_the_events_beside_it(recording: Path) -> None:
    stored = recording.with_suffix(".events.jsonl").read_bytes().splitlines()
    events = read(recording, recording.read_bytes())
    assert [msgspec.json.decode(msgspec.json.encode(event)) for event in events] == [
        msgspec.json.decode(line) for line in stored
    ]


def test_every_kind_of_provider_has_recordings_and_every_one_is_described() -> None:
    assert len(RECORDINGS) > 10
    told = (FOLDER / "README.md").read_text()
    assert [path.stem for path in RECORDINGS if f"`{path.stem}`" not in told] == []
    assert {path.stem.partition("_")[0] for path in RECORDINGS} >= set(PROTOCOLS)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_byte_by_byte_gives_the_same_legal_events(recording: Path) -> None:
    stream = recording.read_bytes()
    events = read(recording, *(stream[at : at + 1] for at in range(len(stream))))
    assert events == read(recording, stream)
    check_order(events, phase=Phase.WAITING, whole=False)


@given(st.sampled_from(RECORDINGS), st.lists(st.integers(min_value=0), max_size=8))
def test_a_recording_cut_anywhere_gives_the_same_events(recording: Path, places: list[int]) -> None:
    stream = recording.read_bytes()
    assert read(recording, *cut(stream, places)) == read(recording, stream)


@given(st.sampled_from(RECORDINGS), st.integers(min_value=0), st.lists(st.integers(min_value=0), max_size=5))
def test_a_recording_that_is_cut_off_gives_a_prefix_and_never_a_false_end(
    recording: Path, length: int, places: list[int]
) -> None:
    stream = recording.read_bytes()
    whole = read(recording, stream)
    events = read(recording, *cut(stream[: length % len(stream)], places))
    last = events[-1]
    if isinstance(last, Failed):
        assert events[:-1] == whole[: len(events) - 1]
        assert last == whole[-1] or last.error.code == "provider_truncated"
    else:
        assert text(events) == text(whole)
        assert last == whole[-1]
