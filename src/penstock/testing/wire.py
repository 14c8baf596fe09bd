"""Reads back what the encoders wrote, however the network cut it: written from the specifications, not from the encoders.

SSE after WHATWG HTML §9.2.5 and §9.2.6, NDJSON as lines that end in LF, binary WebSocket messages by their length-prefixed header.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from typing import cast

import msgspec

from penstock.core.events import Json
from penstock.core.frame import Frame


class Received(msgspec.Struct, frozen=True):
    """One message as a client has it. `value` is the JSON of a frame, the word of a sentinel, or the bytes of a binary frame."""

    value: Json | bytes
    cursor: str = ""
    event: str = ""
    part: int = -1
    retry: int | None = None


def expected(frame: Frame, cursor: str) -> Received:
    """What a client must have after `frame` was sent with `cursor`."""
    if frame.part >= 0:
        return Received(frame.data, cursor, frame.event, frame.part)
    value: Json = frame.data.decode() if frame.sentinel else json.loads(frame.data)
    return Received(value, cursor, frame.event)


class SseParser:
    """An event stream, piece by piece. Blocks without data are dispatched to nobody, as the standard has it; `hollow` counts them."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._started = False
        self._line = ""
        self._after_cr = False
        self.last_id = ""
        """What an EventSource would send as `Last-Event-ID`."""
        self.hollow = 0
        self.comments = 0
        self._forget()

    def _forget(self) -> None:
        self._data: list[str] = []
        self._event = self._id = ""
        self._retry: int | None = None
        self._fields = 0

    def feed(self, piece: bytes) -> list[Received]:
        """The events that are complete now. Raises `UnicodeDecodeError` for anything but UTF-8."""
        received = []
        text = self._decode(piece)
        if text and not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        if text:
            # What ends a line may have come in two pieces.
            text = text.removeprefix("\n") if self._after_cr else text
            self._after_cr = text.endswith("\r")
        *lines, self._line = (self._line + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            if line:
                self._field(line)
            else:
                if self._data:
                    received.append(self._dispatch())
                elif self._fields:
                    self.hollow += 1
                self._forget()
        return received

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
            return
        self._fields += 1
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._retry = int(value)

    def _dispatch(self) -> Received:
        text = "\n".join(self._data)
        try:
            value: Json = json.loads(text)
        except ValueError:
            value = text
        return Received(value, self._id, self._event, -1, self._retry)


def parse_sse(pieces: Iterable[bytes]) -> list[Received]:
    """A whole event stream."""
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def parse_ndjson(pieces: Iterable[bytes], cursor_key: str) -> list[Received]:
    """A whole body of lines; blank ones are heartbeats. Raises `ValueError` for a line that is no JSON object or has no end."""
    *lines, rest = b"".join(pieces).split(b"\n")
    if rest:
        raise ValueError(f"the last line has no end: {rest!r}")
    received = []
    for line in filter(None, lines):
        value = _object(line)
        cursor = value.pop(cursor_key, "")
        received.append(Received(value, str(cursor)))
    return received


def parse_websocket(messages: Iterable[str | bytes], cursor_key: str, run: str) -> list[Received]:
    """Messages of one run. Raises `ValueError` for a message of another one."""
    received = []
    for message in messages:
        data: Json | bytes
        if isinstance(message, bytes):
            length = int.from_bytes(message[:2], "big")
            header = _object(message[2 : 2 + length])
            cursor, part, stream = header.pop("id", ""), header.pop("part"), header.pop("stream")
            if header or not isinstance(part, int):
                raise ValueError(f"a binary header has {header}")
            data = message[2 + length :]
        else:
            value = _object(message.encode())
            cursor, part, stream = value.pop(cursor_key, ""), -1, value.pop("stream")
            data = value
        if stream != run:
            raise ValueError(f"a message of {stream}")
        received.append(Received(data, str(cursor), "", part))
    return received


def _object(data: bytes) -> dict[str, Json]:
    value = json.loads(data, object_pairs_hook=_unique)
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {data!r}")
    return cast("dict[str, Json]", value)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"a member twice: {names}")
    return dict(pairs)
