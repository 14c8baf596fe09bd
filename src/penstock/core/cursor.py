"""Positions in a run and how they are written: `run:epoch:offset`, the same text on every transport.

Offsets are 1, 2, 3 … without gaps, given by the one writer. The epoch changes when a log is lost and rebuilt,
so that an old number cannot lie. `offset.k` stands between the frames of one entry: k of them were sent.
"""

from __future__ import annotations

import re
import secrets

import msgspec

from penstock.core.errors import Refused
from penstock.core.events import Event

LONGEST = 96
"""No cursor we write is longer, in characters."""

_PREFIX = "st_"
"""What the id of every run begins with."""
_CURSOR = re.compile(r"(st_[a-z2-7]{26}):([a-z0-9]{1,8}):(0|[1-9][0-9]{0,14})(?:\.([1-9][0-9]{0,3}))?", re.ASCII)
_RUN = re.compile(r"st_[a-z2-7]{26}", re.ASCII)
_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8
"""Every byte as a letter of base32; eight bytes come to each."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event in its place: the offsets it covers (`first == last` unless deltas were merged), milliseconds since the run began."""

    first: int
    last: int
    at: int
    event: Event


class Cursor(msgspec.Struct, frozen=True):
    """Everything up to `offset` was received; with `frame`, that many frames of entry `offset` and all before it."""

    run: str
    epoch: str
    offset: int
    frame: int = 0

    def __str__(self) -> str:
        text = f"{self.run}:{self.epoch}:{self.offset}"
        return f"{text}.{self.frame}" if self.frame else text

    @property
    def whole(self) -> int:
        """The last offset received completely."""
        return self.offset - 1 if self.frame else self.offset


def parse_cursor(text: str) -> Cursor:
    """Read a cursor a client sent back. Raises `Refused(bad_cursor)` for anything we could not have written."""
    if len(text) > LONGEST or not (match := _CURSOR.fullmatch(text)):
        raise Refused(
            "bad_cursor",
            "malformed cursor: send back an id exactly as it was received, or none to start from the beginning",
        )
    run, epoch, offset, frame = match.groups()
    if frame and offset == "0":
        raise Refused("bad_cursor", "malformed cursor: there is no frame before the first entry")
    return Cursor(run, epoch, int(offset), int(frame or 0))


def is_run_id(text: str) -> bool:
    """Whether a text has the form of a run id; cheaper and safer than asking the registry."""
    return len(text) == 29 and _RUN.fullmatch(text) is not None


def answer_id(run: str, prefix: str) -> str:
    """The id of a run as a dialect has it that calls its answers otherwise."""
    return prefix + run.removeprefix(_PREFIX)


def run_of(answer: str, prefix: str) -> str:
    """The run that has this `answer_id`; empty for what is none."""
    run = _PREFIX + answer.removeprefix(prefix)
    return run if prefix and answer.startswith(prefix) and is_run_id(run) else ""


def new_run_id() -> str:
    """130 random bits, readable in a URL, a log and a terminal."""
    return _PREFIX + secrets.token_bytes(26).translate(_LETTERS).decode()
