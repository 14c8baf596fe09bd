"""One answer over each transport, as its clients have it: begun on the transport's own route, read, cancelled or left in the middle.

It knows a server by its URL alone, so the same lines serve one in the test's loop and one in a process of its own.
"""

import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from penstock.testing.readings import READERS, Reading
from penstock.testing.wire import Received, parse_ndjson, parse_sse, parse_websocket
from tests.loopback import http_client
from tests.waiting import CEILING

ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER on with zero seconds: close() sends RST

Way = Literal["sse", "ws", "ndjson", "text"]
WAYS: tuple[Way, ...] = ("sse", "ws", "ndjson", "text")
DIALECTS: Mapping[Way, str] = {"sse": "openai-chat", "ws": "native", "ndjson": "native"}
ACCEPT: Mapping[Way, str] = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "*/*"}
ROUTES: Mapping[Way, str] = {
    "sse": "/v1/chat/stream",
    "ws": "/v1/chat/ws",
    "ndjson": "/v1/chat/chunked",
    "text": "/v1/chat/chunked",
}


@dataclass(frozen=True)
class Told:
    """What a reader has in the end. `end` is `finished`, `cancelled`, the code of an error, or `cut`; empty while it goes on."""

    text: str
    end: str


class Answer(ABC):
    """One answer being read. `stream` is the id of its run."""

    def __init__(self, client: httpx2.AsyncClient, stream: str) -> None:
        self.client = client
        self.stream = stream

    @abstractmethod
    def told(self) -> Told:
        """What has come so far."""

    @abstractmethod
    async def more(self) -> bool:
        """Read a little on; false at the end."""

    @abstractmethod
    async def cancel(self) -> None:
        """Stop the run the way this transport does it."""

    @abstractmethod
    def vanish(self) -> None:
        """Leave with a reset, without a word; at the end of the block at the latest."""

    async def first(self) -> str:
        """The text so far, once there is some."""
        while not self.told().text:
            if not await self.more():
                raise AssertionError(f"it ended without a word: {self.told()}")
        return self.told().text

    async def rest(self) -> Told:
        """Everything, read to the end."""
        while await self.more():
            pass
        return self.told()

    async def snapshot(self) -> dict[str, Any]:
        """What the server says of the run."""
        answer = await self.client.get(f"/v1/streams/{self.stream}")
        state: dict[str, Any] = answer.json()
        return state


class HttpAnswer(Answer):
    def __init__(self, client: httpx2.AsyncClient, response: httpx2.Response, way: Way) -> None:
        super().__init__(client, response.headers["penstock-stream-id"])
        self.response = response
        self.body = b""
        self._way = way
        self._cut = False
        self._over = False
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()

    async def more(self) -> bool:
        try:
            self.body += await anext(self._pieces)
        except StopAsyncIteration:
            self._over = True
        except httpx2.RemoteProtocolError:
            self._over = self._cut = True
        return not self._over

    def told(self) -> Told:
        if self._way == "text":
            end = "cut" if self._cut else "finished" if self._over else ""
            return Told(self.body.decode(errors="ignore" if self._cut or not self._over else "strict"), end)
        if self._way == "sse":
            received = parse_sse([self.body[: self.body.rfind(b"\n\n") + 2]])
        else:
            received = parse_ndjson([self.body[: self.body.rfind(b"\n") + 1]], "id")
        return told_of(READERS[DIALECTS[self._way]](received), cut=self._cut)

    async def cancel(self) -> None:
        answer = await self.client.delete(f"/v1/streams/{self.stream}")
        assert answer.status_code == 200

    def vanish(self) -> None:
        reset(self.response.extensions["network_stream"].get_extra_info("socket"))


class SocketAnswer(Answer):
    def __init__(self, client: httpx2.AsyncClient, socket: ClientConnection, stream: str) -> None:
        super().__init__(client, stream)
        self.messages: list[str | bytes] = []
        self._socket = socket

    async def more(self) -> bool:
        message = await self._socket.recv()
        kind = json.loads(message)["type"] if isinstance(message, str) else "chunk"
        if kind not in ("ok", "goaway"):  # which are of no run
            self.messages.append(message)
        return kind not in ("finished", "failed", "cancelled")

    def told(self) -> Told:
        received: list[Received] = parse_websocket(self.messages, "id", self.stream)
        return told_of(READERS["native"](received))

    async def cancel(self) -> None:
        await self._socket.send(json.dumps({"type": "cancel", "stream": self.stream}))

    def vanish(self) -> None:
        reset(self._socket.transport.get_extra_info("socket"))
        self._socket.transport.abort()


def reset(sock: socket.socket) -> None:
    """Whoever closes this socket sends RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)


def told_of(reading: Reading, *, cut: bool = False) -> Told:
    """A reading in the words of `Told`."""
    match reading.ending:
        case _ if cut:
            end = "cut"
        case {"error": {"code": str(code)}}:
            end = code
        case {"type": str(kind)}:
            end = kind
        case None:
            end = ""
        case _:
            end = "finished"
    return Told(reading.text(), end)


@asynccontextmanager
async def answering(url: str, way: Way, request: Mapping[str, object]) -> AsyncGenerator[Answer]:
    """Ask over one transport. The connection is closed at the end of the block, wherever the answer is then."""
    async with http_client(url) as client:
        if way == "ws":
            where = url.replace("http", "ws", 1) + ROUTES[way]
            async with connect(
                where, proxy=None, compression=None, max_queue=None, ping_interval=None, open_timeout=CEILING
            ) as socket:
                await socket.send(json.dumps({"type": "start", "ref": "1", "request": request}))
                begun = json.loads(await socket.recv())
                if begun["type"] != "started":
                    raise AssertionError(f"it was not begun: {begun}")
                yield SocketAnswer(client, socket, begun["stream"])
        else:
            headers = {"accept": ACCEPT[way]}
            async with client.stream("POST", ROUTES[way], json=dict(request), headers=headers) as response:
                if response.status_code != 200:
                    raise AssertionError(f"{response.status_code}: {(await response.aread())!r}")
                yield HttpAnswer(client, response, way)
