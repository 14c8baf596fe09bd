"""Clients of the tests: an event stream, lines and a WebSocket read message by message, and the text they add up to."""

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from penstock.testing.readings import READERS, Reading
from penstock.testing.wire import Received, SseParser
from tests.clients.eventsource_parser import EventStreamParser, ServerEvent

PROMPT = {"model": "scripted", "messages": [{"role": "user", "content": "speak"}], "stream": True}
TEXT = {"text": "text/plain", "ndjson": "application/x-ndjson", "sse": "text/event-stream"}
CURSOR_KEYS = {"native": "id", "plain": "id", "token-done": "id", "openai-chat": "cursor"}


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

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **command: Any) -> None:
        await self.socket.send(json.dumps(command))

    async def next(self) -> Any:
        message = await self.socket.recv()
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
async def websocket(url: str, **options: Any) -> AsyncGenerator[Messages]:
    async with connect(url, proxy=None, compression=None, **options) as socket:
        yield Messages(socket)


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
