"""WebSocket messages (RFC 6455 §5.6): JSON text messages, and binary messages for chunks.

A binary message is a big-endian uint16 length, a JSON header `{"stream","id","part"}` of that length, and the bytes.
"""

from __future__ import annotations

import msgspec

from penstock.core.events import Terminal
from penstock.core.frame import Frame


class WebSocketEncoder:
    """Messages of one run on a socket that many runs share: each names its stream."""

    __slots__ = ("_header", "_member", "_tail")

    def __init__(self, run: str, *, cursor_key: str = "id"):
        self._member = f',"{cursor_key}":"'
        self._tail = f',"stream":"{run}"}}'
        self._header = f'{{"stream":"{run}"'

    def opening(self, cursor: str | None) -> bytes:
        return b""

    def frame(self, frame: Frame, cursor: bytes) -> str | bytes:
        if frame.part >= 0:
            position = f',"id":"{cursor.decode()}"' if cursor else ""
            header = f'{self._header}{position},"part":{frame.part}}}'.encode()
            return len(header).to_bytes(2, "big") + header + frame.data
        if not cursor:
            return f"{frame.data[:-1].decode()}{self._tail}"
        return f'{frame.data[:-1].decode()}{self._member}{cursor.decode()}"{self._tail}'

    def accepts(self, frame: Frame) -> bool:
        return not frame.sentinel

    def heartbeat(self) -> bytes:
        """Nothing: the protocol has pings of its own."""
        return b""

    def ending(self, terminal: Terminal) -> bytes:
        """Nothing: the socket stays open for other runs."""
        return b""


class PlainWebSocketEncoder:
    """Messages as the dialect has them, for sockets of a protocol that has no cursors: text alone, and the `lane` they belong
    to where the client gave it a name."""

    __slots__ = ("_tail",)

    def __init__(self, lane: str | None = None):
        self._tail = "" if lane is None else f',"stream_id":{msgspec.json.encode(lane).decode()}}}'

    def opening(self, cursor: str | None) -> bytes:
        return b""

    def frame(self, frame: Frame, cursor: bytes) -> str | bytes:
        return frame.data.decode() if not self._tail else frame.data[:-1].decode() + self._tail

    def accepts(self, frame: Frame) -> bool:
        return not frame.sentinel and frame.part < 0

    def heartbeat(self) -> bytes:
        """Nothing, as above."""
        return b""

    def ending(self, terminal: Terminal) -> bytes:
        """Nothing, as above."""
        return b""
