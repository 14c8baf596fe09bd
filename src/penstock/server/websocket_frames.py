"""WebSocket frames as a server sends them (RFC 6455 §5.2): each message in one, unmasked and uncompressed."""

from __future__ import annotations

from collections.abc import Iterable

TEXT = 0x81
BINARY = 0x82
"""First bytes of a frame: the last of its message, and what it holds."""


def framed(messages: Iterable[str | bytes]) -> list[bytes]:
    """The frame of each message: text for `str`, binary for `bytes`."""
    frames = []
    for message in messages:
        first, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        size = len(payload)
        if size < 126:
            frames.append(b"%c%c%b" % (first, size, payload))
        elif size < 65536:
            frames.append(b"%c~%b%b" % (first, size.to_bytes(2, "big"), payload))
        else:
            frames.append(b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload))
    return frames
