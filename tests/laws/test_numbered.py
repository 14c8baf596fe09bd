"""The law of numbered frames: whoever comes back with the number of the last frame they have gets exactly the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.errors import Refused
from penstock.core.frame import View
from penstock.encoders.coalesce import coalesce
from penstock.encoders.websocket import PlainWebSocketEncoder
from penstock.flow.handle import Place, RunHandle
from penstock.flow.log import Log
from penstock.flow.policy import Bounds, MiB
from penstock.server.joining import numbered, pipeline
from penstock.testing.readings import READERS
from penstock.testing.strategies import RUN, runs
from penstock.testing.wire import Received
from tests.laws.pairs import DIALECTS, laws

NUMBERED = [dialect for dialect in DIALECTS if dialect.traits.sequence_key]
VIEW = View(run=RUN, model="asked-for", created=1_749_999_999, include_usage=True)
ROOMY = Bounds(high=4 * MiB, low=4 * MiB, turn_bytes=4 * MiB, max_run_bytes=16 * MiB)


def logged(entries: list[Entry]) -> RunHandle:
    log = Log(epoch="a1", bounds=ROOMY)
    for entry in entries:
        log.append(entry.event, entry.at)
    return cast("RunHandle", SimpleNamespace(id=RUN, log=log))


def told(dialect: Any, handle: RunHandle, place: Place, *, merged: bool = False) -> list[str]:
    """What a reader at this place is sent to the end of what was said."""
    stream = pipeline(dialect, VIEW, PlainWebSocketEncoder(), handle, place)
    entries = handle.log.read(place.after, 16 * MiB)
    return [str(message) for message in stream.feed(coalesce(entries) if merged else entries)]


def number(dialect: Any, message: str) -> int:
    value: int = msgspec.json.decode(message)[dialect.traits.sequence_key]
    return value


def reading(dialect: Any, messages: list[str]) -> Any:
    values = [msgspec.json.decode(message) for message in messages]
    return READERS[dialect.name]([Received(value=value, event=value["type"]) for value in values])


@settings(laws, max_examples=40)
@given(entries=runs(), data=st.data())
def test_the_tail_after_every_number_is_the_tail_of_the_whole(entries: list[Entry], data: st.DataObject) -> None:
    said = data.draw(st.integers(1, len(entries)), label="how much was said so far")
    handle = logged(entries[:said])
    for dialect in NUMBERED:
        whole = told(dialect, handle, Place(0))
        assert [number(dialect, message) for message in whole] == list(range(len(whole)))
        for last in range(len(whole)):
            place = numbered(dialect, VIEW, handle, last)
            assert told(dialect, handle, place) == whole[last + 1 :]
        with pytest.raises(Refused) as beyond:
            numbered(dialect, VIEW, handle, len(whole))
        assert beyond.value.fault.code == "cursor_ahead"


@settings(laws, max_examples=40)
@given(entries=runs())
def test_a_number_of_a_merged_stream_means_the_same(entries: list[Entry]) -> None:
    handle = logged(entries)
    for dialect in NUMBERED:
        whole = told(dialect, handle, Place(0))
        merged = told(dialect, handle, Place(0), merged=True)
        for index, message in enumerate(merged):
            place = numbered(dialect, VIEW, handle, number(dialect, message))
            rest = told(dialect, handle, place, merged=True)
            assert rest == merged[index + 1 :]
            assert reading(dialect, [*merged[: index + 1], *rest]) == reading(dialect, whole)


def test_there_are_dialects_that_number_their_frames() -> None:
    assert [dialect.name for dialect in NUMBERED] == ["openai-responses"]
