"""One connection to a provider, and the answer that comes over it: HTTP/1.1 on httptools and a bare `asyncio.Protocol`.

Why not a library's: beside this, aiohttp costs 5 to 8 µs more for every token, 110 µs more for every short answer and
10 KiB more for every idle stream. A token here is one callback, one parser call and one future.

Knows bytes and framing (RFC 9112); what connections exist and when one is used again is the pool's (`http_client`).
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from penstock.sources.upstream import BodyBroken, Disconnected, NotHTTP, Unreachable

UNREAD = 32 * 1024
"""Bytes of a body that may wait for the reader before the provider is told to wait."""
FRAMING = 64 * 1024
"""Bytes of a head, and of anything else that holds no body (chunk extensions, trailers), in a row."""
WRITE = 64 * 1024
"""Bytes of a request body that are handed to the transport at once."""

_KEPT = frozenset((b"content-encoding", b"content-length", b"content-type", b"retry-after", b"retry-after-ms"))


class Owner(Protocol):
    """Whom a connection reports to."""

    loop: asyncio.AbstractEventLoop

    def made(self, connection: Connection) -> None: ...

    def rested(self, connection: Connection) -> None:
        """The answer is complete and the connection can carry another request."""

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Carries one request and its answer at a time."""

    __slots__ = ("_full", "_owner", "_response", "_sending", "_transport")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._response: HttpResponse | None = None
        self._full = False  # the transport wants no more of the request yet
        self._sending = False  # a part of the request has not been handed to the transport

    @property
    def usable(self) -> bool:
        """Whether another request may be tried; the peer may have left without our knowing."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes) -> HttpResponse:
        """Send a request, wait for the head of its answer. Raises `Disconnected` where not one byte came, `Unreachable`, `NotHTTP`."""
        transport = self._transport
        if transport is None:
            raise Disconnected
        response = self._response = HttpResponse(self, self._owner.loop)
        try:
            if len(body) <= WRITE:
                transport.write(head + body)
            else:
                await self._send(transport, head, body, response)
            while not response.headed:
                if response.problem is not None:
                    raise response.problem
                await response.woken()
        except BaseException:
            self.abort()
            raise
        return response

    async def _send(self, transport: asyncio.Transport, head: bytes, body: bytes, response: HttpResponse) -> None:
        """Send a large body as fast as it is taken, and no further once the server refuses it (RFC 9112 §9.3)."""
        self._sending = True
        transport.write(head)
        rest = memoryview(body)
        while rest and response.problem is None:
            if response.headed and response.status >= 300:
                return  # still `_sending`: this connection carries nothing else
            if self._full:
                if response.headed:
                    break  # it answers before it has heard all; the reader is not to wait for that
                await response.woken()
            else:
                transport.write(rest[:WRITE])
                rest = rest[WRITE:]
        if rest and self.usable:
            transport.write(rest)
        self._sending = False

    def abort(self) -> None:
        """Cut the connection. Whoever still reads an answer learns that it broke."""
        response, self._response = self._response, None
        if response is not None:
            response.fail(BodyBroken("the connection was closed from this side"))
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def finished(self, *, reusable: bool) -> None:
        """The answer is complete: rest, or leave."""
        self._response = None
        if reusable and not self._sending and not self._full and self.usable:
            self._owner.rested(self)
        else:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.abort()  # nobody asked: the next answer would be somebody else's
        else:
            self._response.feed(data)

    def eof_received(self) -> None:
        if self._response is not None:
            self._response.eof()

    def connection_lost(self, exc: Exception | None) -> None:
        response, self._response = self._response, None
        self._transport = None
        if response is not None:
            if exc is None:
                response.eof()
            response.fail(BodyBroken("the connection was lost"))
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._response is not None:
            self._response.wake()


class HttpResponse:
    """One answer: fed by its connection, read by whoever asked. An `upstream.Response`."""

    __slots__ = (
        "_begun",
        "_connection",
        "_framing",
        "_head",
        "_loop",
        "_over",
        "_parser",
        "_paused",
        "_pieces",
        "_reusable",
        "_to_eof",
        "_unread",
        "_waiter",
        "headed",
        "headers",
        "problem",
        "status",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop):
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = False
        """The final head has come."""
        self.problem: Exception | None = None
        """Why there is no more, where there should be."""
        self._connection: Connection | None = connection
        self._loop = loop
        self._parser: HttpResponseParser | None = (parser := HttpResponseParser(self))
        # As forgiving as aiohttp, and as browsers: some servers end a line in LF, or pad the size of a chunk.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._pieces: list[bytes] = []
        self._unread = 0
        self._head = 0  # bytes of the fields of all heads
        self._framing = 0  # bytes since the last that were body
        self._begun = False
        self._over = False
        self._paused = False
        self._reusable = False
        self._to_eof = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        return self._over and not self._pieces and self.problem is None

    async def read(self) -> bytes:
        while not self._pieces:
            if self.problem is not None:
                raise self.problem
            if self._over:
                return b""
            self._waiter = self._loop.create_future()
            await self._waiter
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            if self._connection is not None:
                self._connection.resume()
        return data

    def close(self) -> None:
        self._pieces.clear()
        if self._connection is not None:
            self._connection.abort()

    async def woken(self) -> None:
        """Wait for anything to change."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """Bytes from the connection."""
        parser = self._parser
        if parser is None:
            return
        self._begun = True
        before = self._unread
        try:
            parser.feed_data(data)
        except HttpParserError as problem:
            if self._over:
                self._reusable = False  # the answer is whole; what follows it is nobody's
            else:
                self._break(str(problem))
                return
        if self._over:
            self._finish()
        elif self._unread > before:
            self._framing = 0
            if self._unread > UNREAD and not self._paused and self._connection is not None:
                self._paused = True
                self._connection.pause()
        else:
            self._framing += len(data)
            if self._framing > FRAMING:
                self._break("a head or a frame without end")
                return
            if not self.headed:
                return
        self.wake()

    def eof(self) -> None:
        """The server has said all it will: the end of a body that has no other (RFC 9112 §6.3), else a break."""
        if not self._over and self.problem is None and self._to_eof:
            self._over = True
            self._finish()
            self.wake()
        else:
            self.fail(BodyBroken("the connection ended before the body did"))

    def fail(self, problem: Exception) -> None:
        """There will be no more. What came is read first."""
        if self._over or self.problem is not None:
            return
        if self.headed:
            self.problem = problem
        elif self._begun:
            self.problem = Unreachable("it closed the connection in the head of its answer")
        else:
            self.problem = Disconnected()
        self._leave()
        self.wake()

    def _break(self, what: str) -> None:
        """The server does not speak HTTP, or no more."""
        self.problem = BodyBroken(what) if self.headed else NotHTTP(what)
        connection = self._connection
        self._leave()
        if connection is not None:
            connection.abort()
        self.wake()

    def _finish(self) -> None:
        connection = self._connection
        self._leave()
        if connection is not None:
            if self._paused:
                self._paused = False
                connection.resume()
            connection.finished(reusable=self._reusable)

    def _leave(self) -> None:
        self._connection = None
        self._parser = None  # it holds this object's methods: a ring only the garbage collector would find

    # What the parser says. It is called for informational answers (1xx), too, and for whatever follows the body.

    def on_message_begin(self) -> None:
        if self._over:
            self._reusable = False
        else:
            self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            return  # a trailer
        self._head += len(name) + len(value)
        if self._head > FRAMING:
            raise ValueError("a head without end")
        name = name.lower()
        if name in _KEPT:
            self.headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        elif name == b"transfer-encoding":
            self.headers["transfer-encoding"] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._over or parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("switched to a protocol nobody asked for")
            return
        self.headed = True
        self.status = status
        self._reusable = parser.should_keep_alive()
        coding = self.headers.pop("transfer-encoding", None)
        if coding is not None:
            self._to_eof = not coding.lower().endswith("chunked")
        else:
            self._to_eof = "content-length" not in self.headers and status not in (204, 304)

    def on_body(self, data: bytes) -> None:
        if not self._over:
            self._pieces.append(data)
            self._unread += len(data)

    def on_message_complete(self) -> None:
        if self.headed:
            self._over = True
