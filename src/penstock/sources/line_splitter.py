"""Bytes of NDJSON in, whole lines out, wherever the bytes were split."""

from __future__ import annotations

from penstock.sources.sse_splitter import LIMIT


class LineSplitter:
    """Feed it bytes; it gives every line they complete. A line may end in CRLF, and the last one in nothing."""

    __slots__ = ("_held", "_held_size", "overflowed")

    unit = "a line"
    limit = LIMIT

    def __init__(self) -> None:
        self.overflowed = False
        """A line grew beyond the limit; nothing more will be given."""
        # In pieces: a trickle is not to be copied again with every byte.
        self._held: list[bytes] = []
        self._held_size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are now whole, without their ends; blank ones are left out."""
        if self.overflowed:
            return []
        whole, newline, rest = data.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            whole = b"".join(self._held) + whole
            lines = [line for line in whole.split(b"\n") if line.strip()]
            self.overflowed = len(whole) > self.limit and any(len(line) > self.limit for line in lines)
            self._held.clear()
            self._held_size = 0
        if rest:
            self._held.append(rest)
            self._held_size += len(rest)
            self.overflowed = self.overflowed or self._held_size > self.limit
        return [] if self.overflowed else lines

    def rest(self) -> bytes:
        """What came after the last line end."""
        return b"".join(self._held)
