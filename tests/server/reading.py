"""Clients of the tests: an event stream, lines and a WebSocket read message by message, and the text they add up to."""

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from penstock.registry import resolve
from penstock.testing.readings import READERS, Reading
from penstock.testing.wire import Received, SseParser
from tests.clients.eventsource_parser import EventStreamParser, ServerEvent
from tests.serving import Served
from tests.waiting import CEILING, until

PROMPT = {"model": "scripted", "messages": [{"role": "user", "content": "speak"}], "stream": True}
TEXT = {"text": "text/plain", "ndjson": "application/x-ndjson", "sse": "text/event-stream"}
CURSOR_KEYS: dict[str, str] = {name: resolve("dialects", name)().traits.cursor_key for name in READERS}


class EventStream:
    """A `text/event-stream` response, one event at a time."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.parser = EventStreamParser()
        self.raw = b""
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._ready: deque[ServerEvent] = deque()

    async def next(self) -> ServerEvent:
        """The next event. Raises `StopAsyncIteration` at the end."""
        while not self._ready:
            await self.piece()
        return self._ready.popleft()

    async def piece(self) -> bytes:
        """What comes next, whether it completes an event or not."""
        piece = await anext(self._pieces)
        self.raw += piece
        self._ready.extend(self.parser.feed(piece))
        return piece

    async def value(self) -> Any:
        return json.loads((await self.next()).data)

    async def rest(self) -> list[ServerEvent]:
        """Everything to the end."""
        async for piece in self._pieces:
            self.raw += piece
            self._ready.extend(self.parser.feed(piece))
        events, self._ready = list(self._ready), deque()
        return events


class Lines:
    """An NDJSON response, one line at a time; blank ones are counted."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.blank = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Any:
        async for line in self._lines:
            if line:
                return json.loads(line)
            self.blank += 1
        raise StopAsyncIteration

    async def rest(self) -> list[Any]:
        return [json.loads(line) async for line in self._lines if line]


@asynccontextmanager
async def event_stream(
    client: httpx2.AsyncClient, method: str, path: str, **options: Any
) -> AsyncGenerator[EventStream]:
    """Open a response that must be an event stream."""
    async with client.stream(method, path, **options) as response:
        if response.status_code != 200:
            raise AssertionError(f"{response.status_code}: {(await response.aread())!r}")
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield EventStream(response)


@asynccontextmanager
async def lines(client: httpx2.AsyncClient, method: str, path: str, **options: Any) -> AsyncGenerator[Lines]:
    headers = {"accept": TEXT["ndjson"], **options.pop("headers", {})}
    async with client.stream(method, path, headers=headers, **options) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        yield Lines(response)


class Messages:
    """A WebSocket whose messages are JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **command: Any) -> None:
        await self.connection.send(json.dumps(command))

    async def next(self) -> Any:
        message = await self.connection.recv()
        return json.loads(message) if isinstance(message, str) else message

    async def ask(self, **command: Any) -> Any:
        """Send a command and take the next message for its answer."""
        await self.send(**command)
        return await self.next()

    async def start(self, ref: str = "1", **more: Any) -> str:
        """Start a run; returns its id."""
        answer = await self.ask(type="start", ref=ref, request=PROMPT, **more)
        assert answer["type"] == "started", answer
        stream: str = answer["stream"]
        return stream

    async def until(self, *types: str) -> list[Any]:
        """Messages up to and with the first of one of these types."""
        messages = [await self.next()]
        while not isinstance(messages[-1], dict) or messages[-1].get("type") not in types:
            messages.append(await self.next())
        return messages


@asynccontextmanager
async def websocket(url: str, *, receive_buffer: int | None = None, **options: Any) -> AsyncGenerator[Messages]:
    """Connect, with a client that does not judge by its clock whether the server lives.

    With `receive_buffer` (bytes) the client takes little ahead of the test: a slow one.
    """
    if receive_buffer is not None:
        parts = urlsplit(url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        options = {"sock": sock, "max_queue": 1, **options}
    quiet = {"ping_interval": None, "open_timeout": CEILING, "proxy": None, "compression": None, "max_size": None}
    options = {**quiet, **options}
    async with connect(url, **options) as connection:
        try:
            yield Messages(connection)
        finally:
            if receive_buffer is not None:
                connection.transport.abort()  # a closing handshake would wait behind all that was not read


async def told(
    served: Served, asking: Coroutine[Any, Any, httpx2.Response], *texts: str, fail: str = ""
) -> httpx2.Response:
    """The whole response to a request that starts a run which says these texts and ends, well or with this error."""
    response = asyncio.ensure_future(asking)
    telling = await served.telling(len(served.source.tellings))
    telling.speak(*texts)
    if fail:
        telling.fail(fail)
    else:
        telling.finish()
    return await response


async def detached(client: httpx2.AsyncClient, **headers: str) -> str:
    """The id of a run that was started with nobody reading it."""
    answer = await client.post("/v1/streams", json=PROMPT, headers={"accept": "application/json", **headers})
    assert answer.status_code == 201
    run: str = answer.json()["id"]
    return run


async def said(served: Served, client: httpx2.AsyncClient, *texts: str) -> str:
    """The id of a run that has said these texts and ended well."""
    run = await detached(client)
    telling = await served.telling(len(served.source.tellings) - 1)
    telling.speak(*texts)
    telling.finish()
    await telling.closed.wait()
    await until("the run has ended", lambda: run in served.seen.ended)
    return run


def received_sse(body: bytes) -> list[Received]:
    """The events of a whole body."""
    return SseParser().feed(body)


def added_up(dialect: str, messages: list[Received]) -> Reading:
    """What the naive client of a dialect makes of its messages."""
    return READERS[dialect](messages)


def ids(events: list[ServerEvent]) -> list[str]:
    return [event.id for event in events]


def without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}
