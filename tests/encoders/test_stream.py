"""A reader's way from entries to wire: ids given, frames skipped, the past told again."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.cursor import Entry
from penstock.core.events import Cancelled, Delta, Event, Finished, Note, Opened
from penstock.core.frame import Frame
from penstock.core.snapshot import Snapshot
from penstock.encoders.chunked import NdjsonEncoder
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream


class Wordy:
    """A dialect that says nothing of notes, one thing of a delta, three of an opening, and a sentinel at the end."""

    def prime(self, so_far: Snapshot) -> None:
        pass

    def reopen(self) -> Sequence[Frame]:
        return ()

    def rejoin(self) -> Sequence[Frame]:
        return (Frame(b'{"again":1}'), Frame(b'{"again":2}'))

    def render(self, entry: Entry) -> Sequence[Frame]:
        match entry.event:
            case Delta():
                return (Frame(b'{"d":1}'),)
            case Opened():
                return (Frame(b'{"o":1}'), Frame(b'{"o":2}'), Frame(b'{"o":3}'))
            case Finished():
                return (Frame(b'{"f":1}'), Frame(b"[END]", sentinel=True))
            case Cancelled():
                return (Frame(b"[END]", sentinel=True),)
            case _:
                return ()


def lines(*events: Event, skip: int = 0, first: int = 1) -> list[bytes]:
    stream = Stream(Wordy(), NdjsonEncoder(), run="st_x", epoch="a1", skip=skip)
    return stream.feed([Entry(offset, offset, 0, event) for offset, event in enumerate(events, first)])


def test_the_last_frame_of_an_entry_has_the_plain_offset() -> None:
    assert lines(Opened(0, "text"), Delta(0, "x")) == [
        b'{"o":1,"id":"st_x:a1:1.1"}\n',
        b'{"o":2,"id":"st_x:a1:1.2"}\n',
        b'{"o":3,"id":"st_x:a1:1"}\n',
        b'{"d":1,"id":"st_x:a1:2"}\n',
    ]


def test_an_entry_of_which_the_dialect_says_nothing_is_nothing() -> None:
    assert lines(Note("n", None), Delta(0, "x")) == [b'{"d":1,"id":"st_x:a1:2"}\n']


def test_a_merged_entry_has_the_cursor_of_its_last_offset() -> None:
    stream = Stream(Wordy(), NdjsonEncoder(), run="st_x", epoch="a1")
    assert stream.feed([Entry(3, 9, 0, Delta(0, "x"))]) == [b'{"d":1,"id":"st_x:a1:9"}\n']


def test_frames_a_reader_has_are_left_out_of_the_first_entry_alone() -> None:
    assert lines(Opened(0, "text"), Opened(1, "text"), skip=2) == [
        b'{"o":3,"id":"st_x:a1:1"}\n',
        b'{"o":1,"id":"st_x:a1:2.1"}\n',
        b'{"o":2,"id":"st_x:a1:2.2"}\n',
        b'{"o":3,"id":"st_x:a1:2"}\n',
    ]


def test_a_position_counted_in_another_dialect_still_owes_the_last_frame() -> None:
    assert lines(Opened(0, "text"), skip=40) == [b'{"o":3,"id":"st_x:a1:1"}\n']
    assert lines(Delta(0, "x"), skip=40) == [b'{"d":1,"id":"st_x:a1:1"}\n']


def test_a_position_within_an_entry_of_which_nothing_is_said_skips_nothing_else() -> None:
    assert lines(Note("n", None), Opened(0, "text"), skip=1) == [
        b'{"o":1,"id":"st_x:a1:2.1"}\n',
        b'{"o":2,"id":"st_x:a1:2.2"}\n',
        b'{"o":3,"id":"st_x:a1:2"}\n',
    ]


def test_a_sentinel_has_no_id_and_is_left_out_where_it_is_not_carried() -> None:
    assert lines(Finished()) == [b'{"f":1,"id":"st_x:a1:1"}\n']
    assert lines(Cancelled("client")) == []
    stream = Stream(Wordy(), SseEncoder(), run="st_x", epoch="a1")
    assert stream.feed([Entry(1, 1, 0, Finished())]) == [
        b'data: {"f":1}\nretry: 1000\nid: st_x:a1:1\n\n',
        b"data: [END]\n\n",
    ]


def test_the_terminal_event_is_known_once_it_was_fed() -> None:
    stream = Stream(Wordy(), NdjsonEncoder(), run="st_x", epoch="a1")
    stream.feed([Entry(1, 1, 0, Delta(0, "x"))])
    assert stream.terminal is None
    stream.feed([Entry(2, 2, 0, Finished("length"))])
    assert stream.terminal == Finished("length")


def test_of_what_is_told_again_only_the_last_is_a_place_to_resume_from() -> None:
    stream = Stream(Wordy(), NdjsonEncoder(), run="st_x", epoch="a1")
    assert stream.retell(stream.renderer.rejoin(), 7) == [b'{"again":1}\n', b'{"again":2,"id":"st_x:a1:7"}\n']
    assert stream.retell([], 7) == []
