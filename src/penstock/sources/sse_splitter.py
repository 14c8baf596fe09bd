"""Bytes of a `text/event-stream` in, the data of whole events out, wherever the bytes were split.

It follows WHATWG HTML §9.2.6, but reads no `event`, `id` or `retry`: providers put all they say into `data`.
"""

from __future__ import annotations

LIMIT = 1024 * 1024
"""Bytes of one line, and of the data of one event. More than this is no answer, unless the protocol has reason for it."""

_BOM = b"\xef\xbb\xbf"


class SseSplitter:
    """Feed it bytes; it gives the data of every event they complete. An event without its blank line is never given."""

    __slots__ = ("_begun", "_data", "_held", "_held_size", "_skip_lf", "limit", "overflowed")

    unit = "a line or an event"

    def __init__(self, limit: int = LIMIT) -> None:
        self.overflowed = False
        """A line or an event grew beyond the limit; nothing more will be given."""
        self.limit = limit
        # What follows the last whole event or line, in pieces: a trickle is not to be copied again with every byte.
        self._held: list[bytes] = []
        self._held_size = 0
        self._data: list[bytes] = []  # the `data` values of an event that is being read line by line
        self._skip_lf = False  # a read ended in CR; an LF that comes next belongs to the same line end
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that is now whole, several `data` lines of one event joined by LF."""
        if self._held_size:
            self._held.append(data)
            if b"\n" not in data and b"\r" not in data and self._begun:
                self._held_size += len(data)
                self._too_large(self._held_size)
                return []
            data = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._hold(data)
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        if not (self._data or self._skip_lf or len(data) > self.limit or b"\r" in data):
            # What every provider sends: events of one `data: ` line, or of one behind an `event: ` line, LF ends. Anything else
            # is read line by line.
            blocks = data.split(b"\n\n")
            rest = blocks.pop()
            if blocks and blocks[0].startswith(b"event: "):
                blocks = [block.partition(b"\n")[2] if block.startswith(b"event: ") else b"" for block in blocks]
            events = [block[6:] for block in blocks if block.startswith(b"data: ") and b"\n" not in block]
            if blocks and len(events) == len(blocks):
                if rest:
                    self._hold(rest)
                return events
        return self._by_line(data)

    def rest(self) -> bytes:
        """Nothing: half an event is none."""
        return b""

    def _by_line(self, data: bytes) -> list[bytes]:
        if self.overflowed or not data:
            return []
        if self._skip_lf and data.startswith(b"\n"):
            data = data[1:]
        self._skip_lf = data.endswith(b"\r")
        lines = data.splitlines()
        if lines and not data.endswith((b"\n", b"\r")):
            self._hold(lines.pop())
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data.clear()
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
            if self._too_large(len(line)) or (len(self._data) > 1 and self._too_large(sum(map(len, self._data)))):
                break
        return events

    def _hold(self, rest: bytes) -> None:
        self._held.append(rest)
        self._held_size = len(rest)
        self._too_large(self._held_size)

    def _too_large(self, size: int) -> bool:
        if size > self.limit:
            self.overflowed = True
            self._held.clear()
            self._held_size = 0
            self._data.clear()
        return self.overflowed
