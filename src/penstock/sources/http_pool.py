"""The warm connections to one host: found, made, kept and dropped. What goes over them is `http_connection`'s."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable
from functools import cache
from ssl import SSLCertVerificationError, SSLContext, SSLError, create_default_context

from penstock.sources.http_connection import Connection
from penstock.sources.http_response import HttpResponse
from penstock.sources.upstream import CONNECT_SECONDS, IDLE_SECONDS, ConnectTimedOut, Disconnected, Unreachable

DNS_SECONDS = 300.0
"""How long the addresses of a name are believed."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Name and port → addresses, best first. Raises `OSError` where there are none."""


class Pool:
    """Connections to one host and port for one event loop, as many as are asked for. An `http_connection.Owner`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: SSLContext | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        resolve: Resolve | None = None,
    ):
        self.loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._ssl = ssl
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._resolve = resolve or addresses_of
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the latest comes last and is used first
        self._addresses: list[str] = []
        self._believed_until = 0.0
        self._asking: asyncio.Task[list[str]] | None = None
        self._closed = False
        self._all_gone: asyncio.Future[None] | None = None
        if is_address(host):
            self._addresses, self._believed_until = [host], float("inf")

    async def post(self, head: bytes, body: bytes, connect: float | None = None) -> HttpResponse:
        """Send a request over a warm connection or a new one, which may take `connect` seconds; return when the head of the
        answer is there.

        A server may hang up on a connection at rest just as it is used again (RFC 9112 §9.3.1; llama.cpp does so after every
        streamed answer). Where not one byte was answered then, the request goes out once more, on a new connection. Raises
        `Unreachable` and `NotHTTP`.
        """
        connection = self._take()
        if connection is not None:
            try:
                return await connection.exchange(head, body)
            except Disconnected:
                pass
        connection = await self._connect(self._connect_seconds if connect is None else connect)
        return await connection.exchange(head, body)

    async def warm(self) -> None:
        """Make a connection and let it rest, so that the next request need not wait for one. Raises `Unreachable`."""
        self.rested(await self._connect(self._connect_seconds))

    async def close(self) -> None:
        """Cut every connection; return when their sockets are closed."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            if self._all_gone is None:
                self._all_gone = self.loop.create_future()
            await asyncio.shield(self._all_gone)

    def made(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._closed:
            connection.abort()

    def rested(self, connection: Connection) -> None:
        self._sweep()
        self._idle[connection] = self.loop.time()

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if not self._open and self._all_gone is not None:
            gone, self._all_gone = self._all_gone, None
            gone.set_result(None)

    def _take(self) -> Connection | None:
        self._sweep()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    def _sweep(self) -> None:
        """Drop what has been idle for too long; the longest comes first."""
        old = self.loop.time() - self._idle_seconds
        while self._idle:
            connection = next(iter(self._idle))
            if self._idle[connection] > old:
                return
            del self._idle[connection]
            connection.abort()

    async def _connect(self, seconds: float) -> Connection:
        try:
            async with asyncio.timeout(seconds):
                return await self._try_each(await self._where(), seconds)
        except Unreachable:
            raise
        except TimeoutError:
            raise ConnectTimedOut(seconds) from None
        except SSLCertVerificationError:
            raise Unreachable("its certificate is not trusted") from None
        except SSLError:
            raise Unreachable("it does not speak TLS as we do") from None
        except OSError as problem:
            raise Unreachable(os.strerror(problem.errno) if problem.errno else type(problem).__name__) from None

    async def _try_each(self, addresses: list[str], seconds: float) -> Connection:
        """Connect to the first address that answers. Each but the last gets a part of the time, so that one dead address
        (an IPv6 route that leads nowhere) does not use it up; what worked is tried first the next time."""
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(seconds / len(addresses)):
                    connection = await self._open_to(address)
            except SSLCertVerificationError:
                raise
            except OSError:
                continue
            self._prefer(address)
            return connection
        try:
            connection = await self._open_to(addresses[-1])
        except OSError:
            self._forget()
            raise
        self._prefer(addresses[-1])
        return connection

    async def _open_to(self, address: str) -> Connection:
        connection = Connection(self)
        try:
            await self.loop.create_connection(
                lambda: connection,
                address,
                self._port,
                ssl=self._ssl,
                server_hostname=self._host if self._ssl is not None else None,
            )
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _where(self) -> list[str]:
        """The addresses of the host. Many may ask at once; the name is looked up once."""
        if self.loop.time() < self._believed_until:
            return self._addresses
        if self._asking is None:
            self._asking = self.loop.create_task(self._look_up())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    async def _look_up(self) -> list[str]:
        try:
            addresses = await self._resolve(self._host, self._port)
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise Unreachable("its name does not resolve")
        self._addresses = addresses
        self._believed_until = self.loop.time() + DNS_SECONDS
        return addresses

    def _asked(self, task: asyncio.Task[list[str]]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # whoever waited has heard it; nobody may have

    def _prefer(self, address: str) -> None:
        if self._addresses and self._addresses[0] != address and address in self._addresses:
            self._addresses = [address, *(other for other in self._addresses if other != address)]

    def _forget(self) -> None:
        if not is_address(self._host):
            self._believed_until = 0.0


async def addresses_of(host: str, port: int) -> list[str]:
    """What the system says a name's addresses are. Raises `OSError` and `UnicodeError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


def is_address(host: str) -> bool:
    """Whether a host is an IP address, of either version, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def trusting_the_system() -> SSLContext:
    """TLS as Python does it by default; `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities. Shared, as it is large."""
    return _trusting(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _trusting(_file: str | None, _directory: str | None) -> SSLContext:
    context = create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
