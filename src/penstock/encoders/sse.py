"""Server-Sent Events (WHATWG HTML §9.2): one block per frame, `data:` first, `id:` last.

A client that takes the id as soon as it reads the line must not skip an event it never got, so nothing follows the id.
No block is without `data:` but the opening of an EventSource: SDKs read every block as JSON.
"""

from __future__ import annotations

from functools import cache

from penstock.core.events import Terminal
from penstock.core.frame import Frame

PING = b": ping\n"
"""A comment line without a blank line: it joins the next block, so no parser sees an empty one."""


@cache
def _name(event: str) -> bytes:
    """The line of an event's name, of which a dialect has a few; empty for none."""
    return b"event: %s\n" % event.encode() if event else b""


class SseEncoder:
    """Bytes of a `text/event-stream` body. `retry_ms` rides in the first block that has data; a `ping` frame is what a
    dialect says to keep the connection alive, where a comment would not be as good."""

    __slots__ = ("_ping", "_retry")

    def __init__(self, *, retry_ms: int | None = 1000, ping: Frame | None = None):
        self._ping = PING if ping is None else b"event: %s\ndata: %b\n\n" % (ping.event.encode(), ping.data)
        self._retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms

    def opening(self, cursor: str | None) -> bytes:
        """An id-only block for an EventSource: a drop before the first token then comes back to this run."""
        return b"id: %s\n\n" % cursor.encode() if cursor else b""

    def frame(self, frame: Frame, cursor: bytes) -> bytes:
        if self._retry or not cursor:
            return self._long(frame, cursor)
        if frame.event:
            return b"%bdata: %b\nid: %b\n\n" % (_name(frame.event), frame.data, cursor)
        return b"data: %b\nid: %b\n\n" % (frame.data, cursor)

    def _long(self, frame: Frame, cursor: bytes) -> bytes:
        name = _name(frame.event)
        position = b"id: %b\n" % cursor if cursor else b""
        retry, self._retry = self._retry, b""
        return b"%bdata: %b\n%b%b\n" % (name, frame.data, retry, position)

    def accepts(self, frame: Frame) -> bool:
        return True

    def heartbeat(self) -> bytes:
        return self._ping

    def ending(self, terminal: Terminal) -> bytes:
        return b""


class SharedSseEncoder:
    """One of several runs on one `text/event-stream` body. Each frame names its stream; each id holds the cursors of all.

    `positions` maps run ids to cursors and is shared by the encoders of one body, as is `retry`, a list of at most one number.
    """

    __slots__ = ("_positions", "_retry", "_run", "_tail")

    def __init__(self, run: str, positions: dict[str, bytes], retry: list[int]):
        self._run = run
        self._positions = positions
        self._retry = retry
        self._tail = b',"stream":"%s"}' % run.encode()

    def opening(self, cursor: str | None) -> bytes:
        return b""

    def frame(self, frame: Frame, cursor: bytes) -> bytes:
        name = _name(frame.event)
        retry = b"retry: %d\n" % self._retry.pop() if self._retry else b""
        position = b""
        if cursor:
            self._positions[self._run] = cursor
            position = b"id: %b\n" % b",".join(self._positions.values())
        return b"%bdata: %b%b\n%b%b\n" % (name, frame.data[:-1], self._tail, retry, position)

    def accepts(self, frame: Frame) -> bool:
        return not frame.sentinel

    def heartbeat(self) -> bytes:
        return PING

    def ending(self, terminal: Terminal) -> bytes:
        return b""
