"""One connection to a provider on a bare `asyncio.Protocol`: requests go out, bytes of answers come in.

Why not a library's: with aiohttp in its place a stream took 31.4 KiB instead of 23.7 (`make bench ARGS="f"` before and after). Here a
token is one callback, one parser call and one future.

How an answer is read is `http_response`'s; which connections there are, and when one is used again, `http_pool`'s.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Protocol, cast

from penstock.sources.http_response import HttpResponse
from penstock.sources.upstream import BodyBroken, Disconnected

WRITE = 64 * 1024
"""Bytes of a request body that are handed to the transport at once."""

KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence, seconds between two probes, and how many of them a provider may leave unanswered (tcp(7)). One that vanished
without a word is noticed after 25 s, in the middle of an answer as at rest, and a long thought keeps its way through a NAT. Data
that is not taken has no limit here: a provider may let a long question wait."""


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
        while rest and self.usable:
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
        with suppress(OSError):  # whoever is gone already needs no watching; some systems say so here
            keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.abort()  # nobody asked: the next answer would be somebody else's
        else:
            self._response.feed(data)

    def eof_received(self) -> None:
        if self._response is not None:
            self._response.eof()
        self.abort()  # closing would first send the rest of a request, to a server that may never read it

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


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice that a provider has vanished; Linux's own patience is two hours. Raises `OSError`."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
