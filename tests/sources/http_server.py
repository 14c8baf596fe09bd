"""A server on a real socket that plays each connection its part, for the tests of our HTTP client; plain or with TLS."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trustme

from penstock.sources.http_client import HttpClient
from penstock.sources.http_pool import Resolve
from penstock.sources.http_response import HttpResponse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = os.urandom(64) * 160_000
"""10 MB: more than the buffers of any loopback hold."""


class Visit:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()
        """The client has left, or we have."""

    async def head(self) -> int:
        """Read the head of a request; return the length of its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return int(head.lower().rpartition(b"content-length: ")[2].split(b"\r\n")[0])

    async def request(self) -> bytes:
        body = await self.reader.readexactly(await self.head())
        self.bodies.append(body)
        return body

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def leave(self) -> None:
        self.writer.close()


Play = Callable[[Visit], Awaitable[None]]


class Server:
    """Plays each connection its part and remembers it."""

    def __init__(self, play: Play):
        self.visits: list[Visit] = []
        self.play = play
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        self.visits.append(visit)
        try:
            await self.play(visit)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client left
        finally:
            if not writer.is_closing():
                writer.transport.abort()
            try:
                await writer.wait_closed()
            except (ConnectionError, ssl.SSLError):
                pass  # it left without a word
            visit.left.set()


@asynccontextmanager
async def serving(
    play: Play,
    *,
    host: str = "127.0.0.1",
    name: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    connect_seconds: float = 10.0,
    idle_seconds: float = 90.0,
    resolve: Resolve | None = None,
) -> AsyncGenerator[tuple[Server, HttpClient]]:
    """A server and a client of it. In the end no socket of the client's may be open."""
    server = Server(play)
    listener = await asyncio.start_server(server.accept, host, 0, ssl=tls, limit=1_000_000)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://{name}:{port}/v1/chat?a=b"
    client = HttpClient(
        server.url,
        {"X-Team": "blue"},
        ssl=trust,
        connect_seconds=connect_seconds,
        idle_seconds=idle_seconds,
        resolve=resolve,
    )
    try:
        yield server, client
    finally:
        await client.close()
        assert not client._pool._open
        assert not client._pool._idle
        listener.close()
        for visit in server.visits:
            await visit.left.wait()
        await listener.wait_closed()


async def politely(visit: Visit) -> None:
    """Answer every request."""
    while True:
        await visit.request()
        await visit.say(OK)


async def never(visit: Visit) -> None:
    """Hear the request, answer nothing."""
    await visit.request()


async def body_of(response: HttpResponse) -> bytes:
    whole = b""
    while more := await response.read():
        whole += more
    return whole


async def asked(client: HttpClient, body: bytes = b"{}") -> bytes:
    return await body_of(await client.post(body))


def unasked(_host: str, _port: int) -> Awaitable[list[str]]:
    raise AssertionError("an address needs no look-up")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def identity(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name).configure_cert(context)
    return context


async def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]
