"""A client that is cut anywhere and comes back: it keeps whole frames and the last id it read, or, of bare text, the bytes it has."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from penstock.core.cursor import parse_cursor
from penstock.core.errors import Refused
from penstock.core.frame import Gaps, TransportEncoder, View
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.flow.handle import RunHandle
from penstock.flow.reader import Reader
from penstock.flow.runs import Runs
from penstock.server.joining import pipeline, retold, text_length
from penstock.server.telling import ready
from penstock.testing.readings.openai_responses import ENDINGS
from penstock.testing.wire import Received, SseParser, parse_ndjson, parse_websocket
from tests.laws.pairs import Pair

State = Literal["off", "on", "done", "gone"]


class Wire:
    """One connection's way to the client: what is in flight, and what of it makes whole frames."""

    def __init__(self, pair: Pair, run: str):
        self._pair = pair
        self._run = run
        self._bytes = b""
        self._messages: list[str | bytes] = []
        self._line = b""
        self.sse = SseParser()

    def write(self, pieces: list[Any]) -> None:
        if self._pair.transport == "websocket":
            self._messages += pieces
        else:
            self._bytes += b"".join(pieces)

    @property
    def flying(self) -> int:
        return len(self._messages) + len(self._bytes)

    def land(self, count: int) -> bytes:
        """The next bytes that arrive, of a transport that is bytes."""
        piece, self._bytes = self._bytes[:count], self._bytes[count:]
        return piece

    def frames(self, count: int) -> list[Received]:
        """The frames that are whole once so many more bytes, or messages, have arrived."""
        key = self._pair.dialect.traits.cursor_key
        if self._pair.transport == "websocket":
            arrived, self._messages = self._messages[:count], self._messages[count:]
            return parse_websocket(arrived, key, self._run)
        piece = self.land(count)
        if self._pair.transport == "sse":
            return self.sse.feed(piece)
        *lines, self._line = (self._line + piece).split(b"\n")
        return [frame for line in lines for frame in parse_ndjson([line, b"\n"], key)]


class Client:
    """One reader of one run, over any number of connections. Serves itself, as the transports of the server do."""

    def __init__(self, runs: Runs, handle: RunHandle, pair: Pair, options: dict[str, bool]):
        self.handle = handle
        self.pair = pair
        self.view: View = msgspec.structs.replace(pair.view(**options), run=handle.id)
        self.state: State = "off"
        self.received: list[Received] = []
        self.text = b""
        self.gaps = 0
        self._runs = runs
        self._cursor = ""
        self._positions: list[tuple[int, int]] = []
        self._reader: Reader | None = None
        self._stream: Stream[Any] | None = None
        self._wire = Wire(pair, handle.id)

    def __repr__(self) -> str:
        return f"Client({self.pair}, {self.state}, at {self._cursor or len(self.text)})"

    @property
    def bare(self) -> bool:
        return self.pair.transport == "text"

    # -- connections -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin, or come back with what it has: 200, 204 at the end of an ended run, 410 where that is no longer held."""
        log = self.handle.log
        cursor = parse_cursor(self._cursor) if self._cursor else None
        place = self.handle.place(cursor)
        if place.gap is not None and (self.bare or not isinstance(self.pair.dialect, Gaps)):
            assert (cursor.whole if cursor else 0) < log.first - 1, "refused, though it is held"
            self.state = "gone"
            return
        if self.text:
            said = text_length(self.pair.dialect, self.view, self.handle)
            assert len(self.text) <= said, "the client has more than was said"
            if log.sealed and len(self.text) == said:
                self.state = "done"
                return
        if log.sealed and place.after == log.last:
            self.state = "done"
            return
        if cursor is None and not self.bare:
            self.received, self._positions = [], []
        self._wire = Wire(self.pair, self.handle.id)
        self._reader = self._runs.attach(self.handle, place.after)
        self._stream = pipeline(self.pair.dialect, self.view, self._encoder(), self.handle, place)
        self._wire.write(retold(self.pair.dialect, self._stream, place))
        self.gaps += place.gap is not None
        self.state = "on"

    def _encoder(self) -> TransportEncoder[Any]:
        key = self.pair.dialect.traits.cursor_key
        encoders: dict[str, TransportEncoder[Any]] = {
            "sse": SseEncoder(),
            "websocket": WebSocketEncoder(self.handle.id, cursor_key=key),
            "ndjson": NdjsonEncoder(cursor_key=key),
            "text": TextEncoder(skip=len(self.text)),
        }
        return encoders[self.pair.transport]

    def serve(self, budget: int) -> None:
        """The server's turn: what is ready, merged where the reader is behind, is written."""
        reader, stream = self._reader, self._stream
        if self.state != "on" or reader is None or stream is None or stream.terminal is not None:
            return
        if not reader.attached:
            self.cut(0)
            return
        bounds = msgspec.structs.replace(self.handle.policy.bounds, turn_bytes=budget)
        self._wire.write(stream.feed(ready(reader, bounds)))
        if reader.beat and self.pair.transport != "websocket":
            reader.beat = False
            self._wire.write([stream.encoder.heartbeat()])
        if stream.terminal is not None:
            reader.detach("done")

    def receive(self, count: int) -> None:
        """So many more bytes arrive (of a WebSocket: messages)."""
        if self.state != "on":
            return
        if self.bare:
            self.text += self._wire.land(count)
        else:
            for frame in self._wire.frames(count):
                self._take(frame)
            assert self._wire.sse.hollow == 0, "an SSE block without data"
        if self._stream is not None and self._stream.terminal is not None and not self._wire.flying:
            self.state = "done"

    def _take(self, frame: Received) -> None:
        self.received.append(frame)
        if frame.cursor:
            cursor = parse_cursor(frame.cursor)
            assert cursor.run == self.handle.id
            position = (cursor.whole, cursor.frame)
            assert not self._positions or position > self._positions[-1], "ids only grow"
            self._positions.append(position)
            self._cursor = frame.cursor

    def cut(self, count: int) -> None:
        """Some of what is in flight still arrives, then the line is cut."""
        if self.state != "on":
            return
        self.receive(count % (self._wire.flying + 1))
        if self._stream is None or self._stream.terminal is None or self._wire.flying:
            self.state = "off"
        if self._reader is not None:
            self._reader.detach("left")

    def finish(self) -> None:
        """Come back if need be, and take everything there is."""
        if self.state == "off":
            self.connect()
        self.serve(1 << 30)
        self.receive(1 << 30)

    def refused(self) -> str:
        """What a cursor of the future gets."""
        try:
            self.handle.place(parse_cursor(self.handle.cursor(self.handle.log.shown + 1)))
        except Refused as problem:
            return problem.fault.code
        return ""

    # -- judging ---------------------------------------------------------------------------------------------------------

    def endings(self) -> int:
        """How often it was told that the run has ended."""
        values: list[dict[str, Any]] = [frame.value for frame in self.received if isinstance(frame.value, dict)]
        match self.pair.dialect.name:
            case "native":
                return sum(value["type"] in ("finished", "failed", "cancelled") for value in values)
            case "anthropic":
                return sum(value["type"] in ("message_stop", "error") for value in values)
            case "openai-responses":
                return sum(value["type"] in ENDINGS for value in values)
            case "ai-sdk":
                return sum(value["type"] in ("finish", "abort", "error") for value in values)
            case "openai-chat" | "openai-completions":
                reasons = [c["index"] for v in values for c in v.get("choices", ()) if c["finish_reason"] is not None]
                assert len(set(reasons)) == len(reasons), "a choice that ended twice"
                return sum("error" in value for value in values) + bool(reasons)
            case _:
                return sum(any(value.get(name) for name in ("done", "error", "cancelled")) for value in values)
