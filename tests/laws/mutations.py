"""Recordings of providers' streams, damaged: bytes and whole events cut, changed, left out, repeated, or brought in from another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st

from tests.sources.recordings import PROTOCOLS, RECORDINGS, events_of

KINDS = ["chat", *PROTOCOLS]
_MARKS = {
    "anthropic": re.compile(rb'"stop_reason": ?"'),
    "chat": re.compile(rb'"finish_reason": ?"\w'),
    "ollama": re.compile(rb'"done": ?true'),
    "responses": re.compile(rb'"type": ?"response\.(?:completed|incomplete)"'),
}
"""What in a protocol says that an answer is complete."""


def kind_of(recording: Path) -> str:
    word = recording.stem.partition("_")[0]
    return word if word in PROTOCOLS else "chat"


def of_kind(kind: str) -> list[Path]:
    return [recording for recording in RECORDINGS if kind_of(recording) == kind]


def unfinished(recording: Path) -> list[bytes]:
    """The events before the first that says an answer is complete."""
    events = events_of(recording)
    mark = _MARKS[kind_of(recording)]
    return events[: next((place for place, event in enumerate(events) if mark.search(event)), len(events))]


def _place(draw: st.DrawFn, things: Sequence[object]) -> int:
    return draw(st.integers(0, len(things)))


@st.composite
def reordered(draw: st.DrawFn, events: list[bytes], others: list[bytes]) -> list[bytes]:
    """Events left out, repeated, turned around, or brought in from another recording, a few times."""
    events = list(events)
    for _ in range(draw(st.integers(0, 4))):
        at, end = sorted((_place(draw, events), _place(draw, events)))
        match draw(st.sampled_from(["drop", "repeat", "swap", "bring"])):
            case "drop":
                del events[at : end if end - at < 4 else at + 4]
            case "repeat":
                events[end:end] = events[at:end]
            case "swap":
                events[at:end] = events[at:end][::-1]
            case "bring":
                events.insert(at, draw(st.sampled_from(others or [b""])))
    return events


@st.composite
def damaged(draw: st.DrawFn, stream: bytes) -> bytes:
    """Bytes cut off, changed, left out, repeated, or put in, a few times."""
    for _ in range(draw(st.integers(0, 4))):
        at, end = sorted((_place(draw, stream), _place(draw, stream)))
        match draw(st.sampled_from(["cut", "flip", "drop", "repeat", "put"])):
            case "cut":
                stream = stream[:end]
            case "flip" if at < len(stream):
                stream = stream[:at] + bytes([stream[at] ^ 1 << draw(st.integers(0, 7))]) + stream[at + 1 :]
            case "drop":
                stream = stream[:at] + stream[end if end - at < 40 else at + 40 :]
            case "repeat":
                stream = stream[:end] + stream[at:end] + stream[end:]
            case _:
                stream = stream[:at] + draw(st.one_of(st.binary(max_size=4), st.sampled_from(ODD))) + stream[at:]
    return stream


ODD = [
    b"\n\n", b"\r", b"null", b"-1", b"1e999", b"9" * 30, b'"', b'"\\ud83d"', b"{}", b"[]", b"[" * 70, b"\xff", b"\0", b": \n\n",
    b"data: [DONE]\n\n", b"data: {}\n\n", b"data: null\n\n", b'data: {"error":{}}\n\n', b'data: {"error":"no"}\n\n', b"{}\n",
]  # fmt: skip
"""What stands in a stream where it should not."""


@st.composite
def split(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in pieces, none of them empty: that would be its end."""
    places = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges) if start < end]
