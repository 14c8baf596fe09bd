"""One answer of a provider: HTTP/1.1 framing (RFC 9112) on httptools, and the body handed to a waiting reader.

It is fed by whatever carries it and waits on one future; it opens, closes and times nothing.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from httptools import HttpParserError, HttpResponseParser

from penstock.sources.upstream import BodyBroken, Disconnected, NotHTTP, Unreachable

UNREAD = 32 * 1024
"""Bytes of a body that may wait for the reader before the provider is told to wait."""
FRAMING = 64 * 1024
"""Bytes of a head, and of anything else that holds no body (chunk extensions, trailers), in a row."""

_KEPT = frozenset((b"content-encoding", b"content-length", b"content-type", b"retry-after", b"retry-after-ms"))


class Carrier(Protocol):
    """The connection an answer comes over."""

    def pause(self) -> None:
        """Bring no more for now."""

    def resume(self) -> None: ...

    def finished(self, *, reusable: bool) -> None:
        """The answer is complete; `reusable`: the server may be asked again."""

    def abort(self) -> None:
        """Nobody wants more."""


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

    def __init__(self, connection: Carrier, loop: asyncio.AbstractEventLoop):
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = False
        """The final head has come."""
        self.problem: Exception | None = None
        """Why there is no more, where there should be."""
        self._connection: Carrier | None = connection
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
        before, headed = self._unread, self.headed
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
            if headed or not self.headed:
                return  # a piece of a head or of a chunk's size: nothing for whoever waits
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
