"""HTTP/1.1 on a bare socket: sends what it is given, reads only as much as it is told, says how the body ended.

Nothing reads behind the test's back, so with a small receive buffer it is the slow reader of every
backpressure test.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

SMALL = 4096
PIECE = 65_536
ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER on with zero seconds: close() sends RST

Ending = Literal["complete", "cut"]


class LineEndedError(EOFError):
    """The peer ended the connection (`how` is `fin` or `rst`) before what was asked for had come."""

    def __init__(self, how: Literal["fin", "rst"]) -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers; names in lower case, in the order they came."""

    status: int
    fields: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """The value of a header that stands there at most once. Raises ValueError if it stands there twice."""
        values = [value for field, value in self.fields if field == name.lower()]
        if len(values) > 1:
            raise ValueError(f"{name} stands there {len(values)} times: {values}")
        return values[0] if values else None


class RawClient:
    """One connection. `ended` is None while the body runs, then `complete` or `cut`; `ended_by` says `fin` or `rst`."""

    def __init__(self, sock: socket.socket, authority: str) -> None:
        self._sock = sock
        self._authority = authority
        self._raw = bytearray()
        self._wanted = 1
        self._framing: Literal["chunked", "length", "close"] = "close"
        self._left = 0
        self._in_chunk = False
        self._asked_head = False
        self.ended: Ending | None = None
        self.ended_by: Literal["fin", "rst"] | None = None

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: object = None
    ) -> None:
        """Send a request; `body` is sent as JSON unless it is bytes."""
        self._asked_head = method == "HEAD"
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": self._authority, **(headers or {})}
        if body is not None:
            fields = {"Content-Type": "application/json", **fields, "Content-Length": str(len(payload))}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        await self.send("\r\n".join(lines).encode("latin-1") + payload)

    async def raw(self, count: int) -> bytes:
        """Exactly so many bytes as they come from the socket. Raises LineEndedError."""
        while len(self._raw) < count:
            await self._receive(count - len(self._raw))
        return self._taken(count)

    async def head(self) -> ResponseHead:
        """Status and headers; what follows is the body. Raises LineEndedError."""
        status_line = await self._line()
        fields = []
        while line := await self._line():
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip()))
        head = ResponseHead(status=int(status_line.split(" ")[1]), fields=tuple(fields))
        self._expect_body(head)
        return head

    async def body(self, count: int) -> bytes:
        """So many bytes of the body, fewer only where it ended; never takes more from the socket than it needs."""
        taken = bytearray()
        while len(taken) < count and self.ended is None:
            taken += await self.some(count - len(taken))
        return bytes(taken)

    async def some(self, most: int) -> bytes:
        """What of the body comes next, at most so many bytes; empty only where it ended."""
        # A body is never shorter on the wire than decoded, so as many raw bytes are never too many.
        self._wanted = most
        try:
            return await self._some_body(most)
        except LineEndedError as line:
            self.ended_by = line.how
            self.ended = "complete" if self._framing == "close" and line.how == "fin" else "cut"
            return b""
        finally:
            self._wanted = 1

    async def body_until(self, mark: bytes) -> bytes:
        """The body up to and with `mark`, not a byte more; shorter only where it ended."""
        taken = bytearray()
        while not taken.endswith(mark) and self.ended is None:
            taken += await self.body(1)
        return bytes(taken)

    async def rest(self) -> bytes:
        """The body to its end; `ended` then says which end it was."""
        taken = bytearray()
        while self.ended is None:
            taken += await self.body(PIECE)
        return bytes(taken)

    async def until_line_ends(self) -> Literal["fin", "rst"]:
        """Throw away what still comes; return how the peer ended the connection."""
        try:
            while True:
                self._raw.clear()
                await self._receive(PIECE)
        except LineEndedError as line:
            return line.how

    def reset(self) -> None:
        """Leave with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
        self._sock.close()

    def half_close(self) -> None:
        """Say that no more will be sent, and go on reading."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave: FIN, or RST where something unread was waiting."""
        self._sock.close()

    async def _receive(self, most: int) -> None:
        try:
            piece = await asyncio.get_running_loop().sock_recv(self._sock, min(most, PIECE))
        except ConnectionResetError:
            raise LineEndedError("rst") from None
        if not piece:
            raise LineEndedError("fin")
        self._raw += piece

    async def _line(self) -> str:
        while (end := self._raw.find(b"\r\n")) < 0:
            await self._receive(self._wanted)
        return self._taken(end + 2)[:-2].decode("latin-1")

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._raw[:count])
        del self._raw[:count]
        return taken

    def _expect_body(self, head: ResponseHead) -> None:
        self.ended = None
        self._left = 0
        self._in_chunk = False
        if head.header("transfer-encoding") == "chunked":
            self._framing = "chunked"
        elif (length := head.header("content-length")) is not None:
            self._framing, self._left = "length", int(length)
        else:
            self._framing = "close"
        if self._asked_head or head.status in (204, 304) or (self._framing == "length" and self._left == 0):
            self.ended = "complete"

    async def _some_body(self, most: int) -> bytes:
        if self._framing == "chunked" and self._left == 0:
            if self._in_chunk:
                await self._line()
            self._in_chunk = True
            self._left = int((await self._line()).partition(";")[0], 16)
            if self._left == 0:
                while await self._line():
                    pass  # trailers
                self.ended = "complete"
                return b""
        if self._framing != "close":
            most = min(most, self._left)
        if not self._raw:
            await self._receive(most)
        taken = self._taken(most)
        if self._framing != "close":
            self._left -= len(taken)
        if self._left == 0 and self._framing == "length":
            self.ended = "complete"
        return taken


@asynccontextmanager
async def raw_client(url: str, *, receive_buffer: int | None = None) -> AsyncGenerator[RawClient]:
    """Connect to the host and port of `url`. `receive_buffer` (bytes) is set before the connection is made."""
    parts = urlsplit(url)
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    with sock:
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        yield RawClient(sock, parts.netloc)
