"""HTTP chunked bodies: newline-delimited JSON, and bare text.

NDJSON carries the cursor in every line. Bare text has no words for failure: a run that did not finish
ends without the zero chunk (RFC 9112 §7.1), which curl reports with exit code 18.
"""

from __future__ import annotations

from penstock.core.events import Finished, Terminal
from penstock.core.frame import Frame


class NdjsonEncoder:
    """One JSON object per line, the cursor as its last member. `abort_on_error` also cuts the line after a failure."""

    __slots__ = ("_abort", "_member")

    def __init__(self, *, cursor_key: str = "id", abort_on_error: bool = False):
        self._member = b',"%s":"' % cursor_key.encode()
        self._abort = abort_on_error

    def opening(self, cursor: str | None) -> bytes:
        return b""

    def frame(self, frame: Frame, cursor: bytes) -> bytes:
        if not cursor:
            return frame.data + b"\n"
        return b'%b%b%b"}\n' % (frame.data[:-1], self._member, cursor)

    def accepts(self, frame: Frame) -> bool:
        return not frame.sentinel

    def heartbeat(self) -> bytes:
        """A blank line, which every line reader skips."""
        return b"\n"

    def ending(self, terminal: Terminal) -> bytes | None:
        return None if self._abort and not isinstance(terminal, Finished) else b""


class TextEncoder:
    """The words alone. The position of a reader is the number of bytes it has."""

    __slots__ = ("_skip",)

    def __init__(self, *, skip: int = 0):
        self._skip = skip
        """Bytes the reader has already."""

    def opening(self, cursor: str | None) -> bytes:
        return b""

    def frame(self, frame: Frame, cursor: bytes) -> bytes:
        if self._skip:
            data = frame.data[self._skip :]
            self._skip = max(0, self._skip - len(frame.data))
            return data
        return frame.data

    def accepts(self, frame: Frame) -> bool:
        return True

    def heartbeat(self) -> bytes:
        return b""

    def ending(self, terminal: Terminal) -> bytes | None:
        return b"" if isinstance(terminal, Finished) else None
