"""One HTTP/1.1 connection: uvicorn's protocol, whose requests have a `Line` that can be cut and watched.

Checked against uvicorn 0.54.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from penstock.core.errors import fault
from penstock.server.exchange import EXTENSION
from penstock.server.lean import Flow, Queue, Signal
from penstock.server.problems import problem
from penstock.server.progress import progress

KiB = 1024
WRITE_BUFFER = 16 * KiB
"""Bytes of a connection that may wait in this process before a write waits."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with zero seconds: closing sends RST (socket(7))."""

UNREADABLE = (
    "this cannot be read as HTTP/1.1; a URL is at most 64 KiB of ASCII (other characters are written as %C3%A9),"
    " and headers hold no control characters"
)


class OldCycle(RequestResponseCycle):
    """A request of an HTTP/1.0 client, which knows no chunks (RFC 9112 §6.1): its body ends with the connection."""

    _unsized = False

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            self._unsized = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if self._unsized:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._unsized:
            # uvicorn counts what is left of a body: here there is more to come, or nothing.
            self.expected_content_length = len(message.get("body", b"")) + message.get("more_body", False)
        await super().send(message)


class Line:
    """One request's view of its connection: what ASGI has no words for. A pipelined request behind it is another `Line`."""

    __slots__ = ("_cycle", "_gone", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport):
        self._cycle = cycle
        self._head = b""
        """Of a response that has begun, until something leaves with it."""
        self._transport = transport
        self._gone: Callable[[], None] | None = None

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` once when the client leaves before its response is complete."""
        if self._cycle.disconnected:
            gone()
        else:
            self._gone = gone

    def unwatch(self) -> None:
        self._gone = None

    def lost(self) -> None:
        """The client has left."""
        self._cycle.disconnected = True
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    # A stream is written as `cycle.send` would, without its messages and checks, and in as few writes as there can be.

    def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin a 200 of unknown length. The caller vouches for the headers: lower case, and nothing in them that ends a line."""
        cycle = self._cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = cycle.keep_alive = False
        cycle.response_started = True
        chunked = cycle.chunked_encoding = not isinstance(cycle, OldCycle)
        self._head = b"HTTP/1.1 200 OK\r\n%b%b%b\r\n" % (
            b"".join([b"%b: %b\r\n" % header for header in headers]),
            b"transfer-encoding: chunked\r\n" if chunked else b"",
            b"" if cycle.keep_alive else b"connection: close\r\n",
        )

    def write(self, body: bytes) -> bool:
        """Write a piece of the body; whether the connection keeps up. An empty piece is the head alone."""
        cycle = self._cycle
        if not cycle.disconnected:
            if self._head:
                head, self._head = self._head, b""
                chunked = cycle.chunked_encoding and body
                self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(body), body) if chunked else head + body)
            elif body:
                self._transport.write(b"%x\r\n%b\r\n" % (len(body), body) if cycle.chunked_encoding else body)
        return not cycle.flow.write_paused or cycle.disconnected

    def end(self, body: bytes) -> None:
        """Write the last piece of the body of a response begun with `begin`."""
        cycle = self._cycle
        if cycle.disconnected:
            return
        head, self._head = self._head, b""
        if cycle.chunked_encoding:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        self._transport.write(head + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def when_drained(self, room: Callable[[], None]) -> None:
        """Call `room` once when the connection has room again, or is gone."""
        flow = self._cycle.flow
        if flow.write_paused:
            flow.room = room  # type: ignore[attr-defined]  # a `lean.Flow`, as our protocol's is
        else:
            room()

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""
        await self._cycle.flow.drain()

    def progress(self) -> int:
        """A number that is another one as soon as the client has taken a byte."""
        return progress(self._transport)

    def cut(self) -> None:
        """End without the zero chunk, after what is buffered; where there are no chunks, with a reset."""
        self.write(b"")
        self._cycle.disconnected = True  # uvicorn takes the response for given up, and logs nothing
        if isinstance(self._cycle, OldCycle):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.close()

    def abort(self) -> None:
        """End now."""
        self._cycle.disconnected = True
        self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, which gives every request its `Line`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pipeline = Queue()  # type: ignore[assignment]
        self._lines: list[Line] = []
        """Of the requests that are not answered yet, in their order; more than one where the client pipelines."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.flow = Flow(transport)

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.flow, self.cycle.message_event = self.flow, Signal()
            self.cycle.keep_alive &= self.config.timeout_keep_alive > 0
            if self.parser.get_http_version() == "1.0":
                self.cycle.__class__ = OldCycle  # uvicorn makes it and offers no way to say of which class
            line = Line(self.cycle, self.transport)
            self._lines.append(line)
            self.scope["extensions"] = {EXTENSION: line}  # type: ignore[dict-item]

    def part(self) -> None:
        """What is being answered now is the last thing that is answered here."""
        if self._lines:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Say in our words that this is no HTTP. Behind a request whose answer is not complete there is no place for words."""
        if not self._lines:
            body = problem(fault("invalid_request", UNREADABLE), "")
            head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close" % len(body)
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n\r\n%b" % (head, body))
        self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.pipeline:
            # A large body has paused reading, and nobody else resumes it: the client could leave unseen.
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self._lines.pop(0)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for line in self._lines:
            line.lost()
