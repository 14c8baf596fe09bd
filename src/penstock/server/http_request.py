"""One HTTP request on its connection: what ASGI has no words for, and what uvicorn's own request does not do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from penstock.server.progress import progress

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with zero seconds: closing sends RST (socket(7))."""


NOTHING_ASKED: HTTPScope = {"type": "http", "method": "GET"}  # type: ignore[typeddict-item]
"""What is left of a request when its response goes on by itself."""


class ExpectingCycle(RequestResponseCycle):
    """A request that waits for `100 Continue`. Answered without it, its body may or may not come: nothing can follow."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        await super().send(message)


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
    """One request's view of its connection. A pipelined request behind it is another `Line`."""

    __slots__ = ("_answered", "_gone", "_head", "_lost", "_transport", "cycle")

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport):
        self.cycle = cycle
        self._head = b""
        """Of a response that has begun, until something leaves with it."""
        self._answered = cycle.on_response  # uvicorn takes it from the cycle when the task of the request ends
        self._lost = False
        """The client has left, or was let go."""
        self._transport = transport
        self._gone: Callable[[], None] | None = None

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` once when the client leaves before its response is complete."""
        if self._lost:
            gone()
        else:
            self._gone = gone

    def unwatch(self) -> None:
        self._gone = None

    def lost(self) -> None:
        """The client has left."""
        self._lost = self.cycle.disconnected = True
        self.cycle.message_event.set()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    # A stream is written as `cycle.send` would, without its messages and checks, and in as few writes as there can be.

    def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin a 200 of unknown length. The caller vouches for the headers: lower case, and nothing in them that ends a line."""
        cycle = self.cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = cycle.keep_alive = False
        cycle.response_started = True
        chunked = cycle.chunked_encoding = not isinstance(cycle, OldCycle)
        self._head = b"HTTP/1.1 200 OK\r\n%b%b%b\r\n" % (
            b"".join([b"%b: %b\r\n" % header for header in headers]),
            b"transfer-encoding: chunked\r\n" if chunked else b"",
            b"" if cycle.keep_alive else b"connection: close\r\n",
        )

    def keep(self) -> None:
        """The response goes on when the task of its request has ended, and needs nothing of the request any more."""
        self.cycle.disconnected = True  # for uvicorn alone, so that it does not miss the end of the response then
        self.cycle.scope = NOTHING_ASKED

    def write(self, body: bytes) -> bool:
        """Write a piece of the body; whether the connection keeps up. An empty piece is the head alone."""
        cycle = self.cycle
        if not self._lost:
            if self._head:
                head, self._head = self._head, b""
                chunked = cycle.chunked_encoding and body
                self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(body), body) if chunked else head + body)
            elif body:
                self._transport.write(b"%x\r\n%b\r\n" % (len(body), body) if cycle.chunked_encoding else body)
        return not cycle.flow.write_paused or self._lost

    def end(self, body: bytes) -> None:
        """Write the last piece of the body of a response begun with `begin`."""
        cycle = self.cycle
        if self._lost:
            return
        head, self._head = self._head, b""
        if cycle.chunked_encoding:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        self._transport.write(head + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        self._answered()

    def when_drained(self, room: Callable[[], None]) -> None:
        """Call `room` once when the connection has room again, or is gone."""
        flow = self.cycle.flow
        if flow.write_paused:
            flow.room = room  # type: ignore[attr-defined]  # a `lean.Flow`, as our protocol's is
        else:
            room()

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""
        await self.cycle.flow.drain()

    def progress(self) -> int:
        """A number that is another one as soon as the client has taken a byte."""
        return progress(self._transport)

    def cut(self) -> None:
        """End without the zero chunk, after what is buffered; where there are no chunks, with a reset."""
        self.write(b"")
        self._lost = self.cycle.disconnected = True  # uvicorn takes the response for given up, and logs nothing
        if isinstance(self.cycle, OldCycle):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if self._transport.get_extra_info("ssl_object") is not None:
                # Closing would say close_notify first, which is how TLS tells that an answer is whole.
                self._transport.abort()
                return
        self._transport.close()

    def abort(self) -> None:
        """End now."""
        self._lost = self.cycle.disconnected = True
        self._transport.abort()
