"""A recorded run says again what was said and when, and nothing that looks like a key."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cassette import BLACK, Line, load, record, scrubbed
from penstock.core.cursor import Entry
from penstock.core.errors import fault
from penstock.core.events import Chunk, Closed, Delta, Event, Failed, Note, Opened, ToolReturned
from penstock.testing.strategies import runs

KEYS = [
    "sk-proj-abcdefghijklmnop1234",
    "psk_" + "a1" * 20,
    "ghp_" + "Ab1" * 12,
    "xoxb-123456789012-abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "AIza" + "S" * 35,
    "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4",
]


def entries(*events: Event) -> list[Entry]:
    return [Entry(number, number, 10 * number, event) for number, event in enumerate(events, 1)]


@given(said=runs(steps=12))
def test_what_is_recorded_is_loaded_again(said: list[Entry]) -> None:
    cassette = load(b"".join(record(said, model="m", created=7)))
    assert (cassette.model, cassette.created) == ("m", 7)
    assert [_plain(line) for line in cassette.lines] == [_plain(Line(it.at, it.event)) for it in scrubbed(said)]


def _plain(line: Line) -> object:
    """The JSON of a line: log probabilities are bytes, which may be written in more than one way."""
    return json.loads(msgspec.json.encode(line))


@pytest.mark.parametrize("key", KEYS)
@given(data=st.data())
def test_a_key_is_blackened_however_many_pieces_it_came_in(key: str, data: st.DataObject) -> None:
    text = f"The key is {key}, keep it."
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    places = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    clean = scrubbed(entries(*(Delta(0, piece) for piece in pieces)))
    told = [entry.event.text for entry in clean if isinstance(entry.event, Delta)]
    assert "".join(told) == f"The key is {BLACK * len(key)}, keep it."
    assert [len(piece) for piece in told] == [len(piece) for piece in pieces]


def test_a_key_between_the_words_of_two_parts_is_found_in_its_own() -> None:
    key = KEYS[0]
    said = entries(Delta(0, key[:10]), Delta(1, "other words"), Delta(0, key[10:]))
    assert [entry.event.text for entry in scrubbed(said) if isinstance(entry.event, Delta)] == [
        BLACK * 10, "other words", BLACK * (len(key) - 10),
    ]  # fmt: skip


def test_log_probabilities_that_spell_a_key_go_with_it() -> None:
    (entry,) = scrubbed(entries(Delta(0, KEYS[0], msgspec.Raw(b'{"content":[{"token":"sk"}]}'))))
    assert entry.event == Delta(0, BLACK * len(KEYS[0]))


def test_notes_and_tool_results_are_looked_through_to_the_bottom() -> None:
    key = KEYS[2]
    said = entries(
        Note("hits", {"found": [{"text": f"token {key}"}]}), ToolReturned("c", {"url": "https://me:secret@host/"})
    )
    note, returned = (entry.event for entry in scrubbed(said))
    assert note == Note("hits", {"found": [{"text": f"token {BLACK * len(key)}"}]})
    assert returned == ToolReturned("c", {"url": f"https://{BLACK * 9}@host/"})


def test_what_a_part_carries_beside_its_words_and_how_a_run_failed_are_looked_through_too() -> None:
    key = KEYS[0]
    block = json.dumps({"type": "server_tool_use", "input": {"q": [key]}}).encode()
    said = entries(
        Opened(0, "binary", meta={"anthropic": {"id": key}}),
        Chunk(0, block),
        Chunk(0, b"\xff" + key.encode()),
        Closed(0, {"citations": [{"url": f"https://me:{key}@host/"}]}),
        Failed(fault("provider_error", f"Incorrect API key provided: {key}")),
    )
    told = [entry.event for entry in scrubbed(said)]
    assert key not in str(told[:2] + told[3:])
    assert told[1] == Chunk(0, block.replace(key.encode(), (BLACK * len(key)).encode()))
    assert told[2] == Chunk(0, b"\xff" + key.encode())  # no text, but sound or a picture


@pytest.mark.parametrize("text", ["risk-free and task-based", "sk-short", "https://host/path@x", "Bearer in mind"])
def test_words_stay_as_they_are(text: str) -> None:
    (entry,) = scrubbed(entries(Delta(0, text)))
    assert entry.event == Delta(0, text)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "line 1: this is no cassette"),
        (b'{"type":"delta"}\n', "line 1: this is no cassette"),
        (b'{"cassette":9,"model":"m","created":0}\n', "line 1: a cassette of version 9"),
        (b'{"cassette":1,"model":"m","created":0}\n\n{"at":0}\n', "line 3: "),
        (b'{"cassette":1,"model":"m","created":0}\n{"at":0,"event":{"type":"news"}}\n', "line 2: "),
        (b'{"cassette":1,"model":"m","created":0}\n{"at":0,"event":' + b"[" * 100_000, "line 2: "),
        (b'{"cassette":1,"model":"m","created":0}\n{"at":-1,"event":{"type":"finished"}}\n', "line 2: "),
        (b'{"cassette":1,"model":"m","created":0}\n{"at":1e300,"event":{"type":"finished"}}\n', "line 2: "),
        (b'{"cassette":1,"model":"m","created":0}\n{"at":0,"event":{"type":"fini', "line 2: "),
    ],
)
def test_what_is_no_cassette_is_named_with_its_line(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(data)
