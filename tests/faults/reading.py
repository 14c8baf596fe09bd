"""A client that reads one run over any transport as much as it is told, keeps what it has, and comes back with it.

It knows a server by its URL alone. Its words are the native dialect's, or bare text.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from penstock.testing.wire import SseParser
from tests.clients.raw_client import PIECE, LineEndedError, RawClient
from tests.serving import Served

Way = Literal["sse", "ndjson", "text", "websocket"]
WAYS: tuple[Way, ...] = ("sse", "ndjson", "text", "websocket")
ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
TERMINAL = ("finished", "failed", "cancelled")
SMALL = 4096


class Reader:
    """What one client has of one run. `end` is the type of the last message, or how the body ended; empty before."""

    def __init__(self, way: Way, run: str = "") -> None:
        self.way = way
        self.run = run
        self.texts: list[str] = []
        self.received = 0
        """Bytes of bodies and messages."""
        self.cursor = ""
        self.dropped = ""
        """Why the server let this reader go, where it could say so."""
        self.end = ""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def after(self) -> str:
        """Where it goes on when it comes back: its cursor, or the bytes of text it has."""
        return f"bytes={self.received}" if self.way == "text" else self.cursor

    def take(self, message: dict[str, Any]) -> None:
        """One native message, whole."""
        match message["type"]:
            case "delta":
                self.texts.append(message["text"])
            case "detached":
                self.dropped = message["reason"]
            case kind if kind in TERMINAL:
                self.end = kind
        self.cursor = message.get("id", self.cursor)


class Line:
    """One connection of a reader."""

    def __init__(self, reader: Reader, connection: Any) -> None:
        self.reader = reader
        self.connection = connection
        self._sse = SseParser()
        self._rest = b""

    async def read(self, most: int = PIECE) -> int:
        """A little more, at most so many bytes, of a WebSocket one message; how many bytes it was. 0 at the end of the line."""
        if isinstance(self.connection, RawClient):
            piece = await self.connection.some(most)
            self._body(piece)
            return len(piece)
        try:
            message = await self.connection.recv(decode=False)
        except ConnectionClosed:
            return 0
        self.reader.received += len(message)
        self.reader.take(json.loads(message))
        return len(message)

    async def to_the_end(self) -> None:
        """Read until the run ends, the server lets go of it, or the line ends."""
        reader = self.reader
        while not reader.end and not reader.dropped and await self.read():
            pass

    async def until(self, words: str) -> None:
        """Read until the text ends with these words."""
        while not self.reader.text.endswith(words):
            if not await self.read():
                raise AssertionError(f"the line ended ({self.reader.end!r}) after {self.reader.text[-80:]!r}")

    def _body(self, piece: bytes) -> None:
        reader = self.reader
        reader.received += len(piece)
        if reader.way == "text":
            reader.texts.append(piece.decode("ascii"))
        elif reader.way == "sse":
            for event in self._sse.feed(piece):
                if isinstance(event.value, dict):
                    reader.take({**event.value, "id": event.cursor})
        else:
            whole, newline, self._rest = (self._rest + piece).rpartition(b"\n")
            for line in (whole + newline).splitlines():
                if line:
                    reader.take(json.loads(line))
        if reader.way == "text" and self.connection.ended is not None:
            reader.end = self.connection.ended


def unwatched(served: Served) -> None:
    """Hold nothing that is said against the contract: of megabytes that would take a minute, and other tests do."""
    served.host.config.loaded_app = served.app


async def _connected(url: str, receive_buffer: int | None) -> socket.socket:
    parts = urlsplit(url)
    sock = socket.socket()
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
    except BaseException:
        sock.close()
        raise
    return sock


@asynccontextmanager
async def line(
    url: str, reader: Reader, *, prompt: str = "speak", model: str | None = None, receive_buffer: int | None = None
) -> AsyncGenerator[Line]:
    """Begin a run, or where the reader has one, come back to it with what the reader has.

    With `receive_buffer` (bytes) the kernel takes little ahead of what is read: a slow client, or one that has stopped.
    """
    body = {"messages": [{"role": "user", "content": prompt}], **({"model": model} if model else {})}
    sock = await _connected(url, receive_buffer)
    if reader.way == "websocket":
        queue = 16 if receive_buffer is None else 1
        async with connect(
            f"{url.replace('http', 'ws')}/v1/chat/ws",
            sock=sock, proxy=None, compression=None, max_size=None, ping_interval=None, max_queue=queue,
        ) as socket_:  # fmt: skip
            command: dict[str, Any] = {"type": "start", "ref": "1", "request": body}
            if reader.run:
                command = {"type": "attach", "stream": reader.run, "after": reader.cursor}
            await socket_.send(json.dumps(command))
            answer = json.loads(await socket_.recv())
            assert answer["type"] in ("started", "ok"), answer
            reader.run, reader.dropped = answer["stream"], ""
            try:
                yield Line(reader, socket_)
            finally:
                socket_.transport.abort()  # a closing handshake would wait behind all that was not read
        return
    with sock:
        raw = RawClient(sock, urlsplit(url).netloc)
        headers = {"Accept": ACCEPT[reader.way]}
        if reader.run:
            query = f"?after={reader.after}" if reader.after else ""
            await raw.request("GET", f"/v1/streams/{reader.run}/events{query}", headers=headers)
        else:
            await raw.request("POST", "/v1/streams", headers=headers, body=body)
        head = await raw.head()
        reader.end = ""
        if head.status == 204:
            reader.end = "complete"
        else:
            assert head.status == 200, f"{head.status}: {await raw.rest()!r}"
            reader.run = head.header("penstock-stream-id") or ""
        yield Line(reader, raw)


__all__ = ["ACCEPT", "SMALL", "WAYS", "Line", "LineEndedError", "Reader", "Way", "line", "unwatched"]
