"""What has been said so far."""

from __future__ import annotations

import msgspec

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Note, Opened, Started, ToolReturned, Usage
from penstock.core.snapshot import Folder, PartSoFar, Snapshot, fold


def placed(*events: Event) -> list[Entry]:
    return [Entry(offset, offset, offset * 10, event) for offset, event in enumerate(events, 1)]


def test_everything_said_is_in_it() -> None:
    raw = msgspec.Raw(b'{"content":[]}')
    said = placed(
        Started("st_x", "m", 5),
        Note("progress", 1),
        Opened(0, "text", 1, "planner"),
        Delta(0, "Hel"),
        Delta(0, "lo", raw),
        Opened(1, "binary", name="a.png", media_type="image/png"),
        Chunk(1, b"\x00"),
        Chunk(1, b"\x01"),
        Closed(0, {"finish_reason": "stop"}),
        ToolReturned("c", {"x": 1}),
        Usage(1, 2, "reported"),
        Finished("length"),
    )
    assert fold(said) == Snapshot(
        through=12,
        at=120,
        started=Started("st_x", "m", 5),
        parts=(
            PartSoFar(
                0,
                "text",
                1,
                "planner",
                text="Hello",
                logprobs=(raw,),
                deltas=2,
                closed=True,
                meta={"finish_reason": "stop"},
            ),
            PartSoFar(1, "binary", name="a.png", media_type="image/png", data=b"\x00\x01", deltas=2),
        ),
        tools=(ToolReturned("c", {"x": 1}),),
        notes=(Note("progress", 1),),
        usage=Usage(1, 2, "reported"),
        end=Finished("length"),
    )


def test_nothing_said_is_the_empty_snapshot() -> None:
    assert fold([]) == Snapshot()
    assert msgspec.json.encode(fold([])) == b"{}"


def test_a_merged_entry_counts_as_many_deltas_as_it_covers() -> None:
    folder = Folder()
    folder.add(Entry(1, 1, 0, Opened(0, "text")))
    folder.add(Entry(2, 6, 9, Delta(0, "Hello")))
    (part,) = folder.snapshot().parts
    assert (part.deltas, folder.through, folder.at) == (5, 6, 9)


def test_a_part_knows_the_event_that_opened_it() -> None:
    opened = Opened(3, "tool_call", 1, "planner", "f", "call_3", None)
    assert fold(placed(opened)).parts[0].opening() == opened


def test_the_text_of_a_choice_joins_the_parts_that_say_something() -> None:
    said = placed(
        Opened(0, "text"), Opened(1, "text"), Opened(2, "text"), Opened(3, "text", 1), Opened(4, "reasoning"),
        Delta(0, "one"), Delta(2, "two"), Delta(3, "other"), Delta(4, "hm"),
    )  # fmt: skip
    snapshot = fold(said)
    assert [snapshot.text(), snapshot.text(1), snapshot.text(2), snapshot.text(kind="reasoning")] == [
        "one\n\ntwo",
        "other",
        "",
        "hm",
    ]


def test_beyond_its_limit_a_folder_forgets_the_oldest_words_and_says_how_many() -> None:
    folder = Folder(limit=10)
    for entry in placed(Opened(0, "text"), Delta(0, "0123456"), Closed(0), Opened(1, "text"), Delta(1, "abcdef")):
        folder.add(entry)
    old, new = folder.snapshot().parts
    assert (old.text, old.elided, old.closed) == ("", 7, True)
    assert (new.text, new.elided) == ("bcdef", 1)
    assert folder.snapshot().elided
    assert folder.size == 5


def test_bytes_are_forgotten_as_words_are() -> None:
    folder = Folder(limit=4)
    for entry in placed(Opened(0, "binary"), Chunk(0, b"abcdef")):
        folder.add(entry)
    assert (folder.snapshot().parts[0].data, folder.snapshot().parts[0].elided) == (b"ef", 4)


def test_a_snapshot_taken_before_does_not_change_with_what_follows() -> None:
    folder = Folder()
    first, second, third = placed(Opened(0, "text"), Delta(0, "a"), Delta(0, "b"))
    folder.add(first)
    folder.add(second)
    before = folder.snapshot()
    folder.add(third)
    assert (before.parts[0].text, folder.snapshot().parts[0].text) == ("a", "ab")
