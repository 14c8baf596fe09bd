"""A client of a running server: begin a run on any transport, read it to its end whatever the connection does, cancel it.

A dropped connection is taken up again with the cursor; a request whose answer never began is repeated under its own key,
so that one question never begins two runs.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
import time
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from socket import gaierror
from typing import Any, Literal, TypeAlias

import aiohttp
import orjson

Transport = Literal["sse", "ws", "chunked"]
Event: TypeAlias = dict[str, Any]
"""An event of the native dialect; `{"type": "reconnecting"}` where the connection was lost. Data of a chunk is bytes."""

ENDS = frozenset({"finished", "failed", "cancelled"})
PATIENCE = 30.0
"""Seconds without a word after which a lost connection is given up."""
FIRST_PATIENCE = 5.0
"""The same for a server that has not said anything yet."""
SILENCE = 60.0
"""Seconds without a byte, heartbeats included, after which a connection is taken for dead."""
ACCEPT = {"sse": "text/event-stream", "chunked": "application/x-ndjson"}

NOBODY = (aiohttp.ClientConnectorError, ConnectionRefusedError, gaierror, TimeoutError)
"""What it looks like when there is no server at all."""


class ServerRefused(Exception):
    """The server said no. The text is its message."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


class Unreachable(Exception):
    """Nobody answers, or nobody does any more. The text says where and what to do."""


class _Dropped(Exception):
    """The connection ended before the run did."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client of the server at `url`, with a connection pool of its own, and with the key in `PENSTOCK_API_KEY`.

    Raises `Unreachable` for what is no URL.
    """
    from penstock.config.target import read_base_url

    try:
        url = read_base_url(url)
    except ValueError:
        raise Unreachable(f"{url!r} is no URL of a server; write it like http://127.0.0.1:8420") from None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE)
    key = os.environ.get("PENSTOCK_API_KEY", "").strip()
    headers = {"authorization": f"Bearer {key}"} if key.isascii() and key.isprintable() and key else {}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield Client(url, session)


class Client:
    """Operations on one server; everything raises `ServerRefused` and `Unreachable`."""

    def __init__(self, url: str, session: aiohttp.ClientSession):
        self.url = url
        self.session = session

    async def streams(self) -> list[dict[str, Any]]:
        """The runs the server holds for us, newest first."""
        found: list[dict[str, Any]] = (await self.ask("GET", "/v1/streams"))["streams"]
        return found

    async def models(self) -> list[dict[str, Any]]:
        """The models the server lists for us."""
        found: list[dict[str, Any]] = (await self.ask("GET", "/v1/models"))["data"]
        return found

    async def cancel(self, stream: str) -> dict[str, Any]:
        """Stop a run; says how it stands."""
        return await self.ask("DELETE", f"/v1/streams/{stream}")

    async def cassette(self, stream: str) -> bytes:
        """A run that has ended, recorded."""
        return await self._body("GET", f"/v1/streams/{stream}/cassette")

    async def ask(self, method: str, path: str) -> dict[str, Any]:
        """One request that is answered with a JSON object."""
        answer = _object(await self._body(method, path))
        if answer is None:
            raise Unreachable(f"what answers at {self.url} is no penstock server")
        return answer

    async def _body(self, method: str, path: str) -> bytes:
        """The body of a good answer. Raises `ServerRefused` and `Unreachable`."""
        try:
            async with self.session.request(method, self.url + path) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            raise self.unreachable() from None
        if response.status >= 400:
            raise refusal(response.status, body)
        return body

    def unreachable(self) -> Unreachable:
        """No server there, in words."""
        return Unreachable(
            f"no server answers at {self.url}; start one with 'penstock serve', or name another with --url"
        )


class Turn:
    """One run, read from where `cursor` is to its end. `stream` is known as soon as the server has begun it."""

    def __init__(
        self, client: Client, transport: Transport, *, request: dict[str, Any] | None = None, stream: str = ""
    ):
        self.stream = stream
        self.cursor = ""
        self._client = client
        self._transport = transport
        self._request = request
        self._key = secrets.token_hex(16)
        self._reached = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """Everything the run says, each once, up to its last word. Raises `ServerRefused`, and `Unreachable` where that
        cannot be had."""
        heard = time.monotonic()
        pause = 0.1
        while True:
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        self._reached = True
                        self.cursor = event.get("id", self.cursor)
                        heard, pause = time.monotonic(), 0.1
                        yield event
                        if event["type"] in ENDS:
                            return
                return
            except (_Dropped, aiohttp.ClientError, OSError) as problem:
                if not self._reached and isinstance(problem, NOBODY):
                    raise self._client.unreachable() from None
                if time.monotonic() - heard > (PATIENCE if self._reached else FIRST_PATIENCE):
                    raise Unreachable(
                        f"the connection to {self._client.url} was lost and could not be taken up again"
                    ) from None
            yield {"type": "reconnecting"}
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def cancel(self) -> None:
        """Ask the server to stop the run; its last word then arrives as an event."""
        if self.stream:
            await self._client.cancel(self.stream)

    def _connection(self) -> AsyncGenerator[Event, None]:
        return self._over_websocket() if self._transport == "ws" else self._over_http()

    # -- HTTP --------------------------------------------------------------------------------------------------------------

    async def _over_http(self) -> AsyncGenerator[Event, None]:
        accept = ACCEPT.get(self._transport, ACCEPT["sse"])
        headers = {"Accept": accept}
        if self.stream:
            if self.cursor:
                headers["Last-Event-ID"] = self.cursor
            sending = self._client.session.get(f"{self._client.url}/v1/streams/{self.stream}/events", headers=headers)
        else:
            headers |= {"Idempotency-Key": self._key, "Content-Type": "application/json"}
            body = orjson.dumps(self._request)
            sending = self._client.session.post(f"{self._client.url}/v1/streams", headers=headers, data=body)
        async with sending as response:
            if response.status == 204:
                return
            if response.status != 200:
                raise refusal(response.status, await response.read())
            if not response.content_type.startswith(accept):
                raise Unreachable(f"what answers at {self._client.url} is no penstock server")
            self.stream = response.headers.get("Penstock-Stream-Id", self.stream)
            self._reached = True
            read = _sse if self._transport == "sse" else _ndjson
            async with aclosing(read(response.content)) as events:
                async for event in events:
                    yield event
        raise _Dropped

    # -- WebSocket ---------------------------------------------------------------------------------------------------------

    async def _over_websocket(self) -> AsyncGenerator[Event, None]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
        from websockets.typing import Subprotocol

        url = f"ws{self._client.url.removeprefix('http')}/v1/chat/ws"
        try:
            async with connect(
                url,
                subprotocols=[Subprotocol("penstock.v1")],
                compression=None,
                proxy=None,
                max_size=None,
                open_timeout=10,
                user_agent_header=None,
            ) as socket:
                await socket.send(orjson.dumps(self._opening()).decode())
                async for message in socket:
                    event = _message(message)
                    kind = event["type"]
                    if kind == "started" and "ref" in event:
                        self.stream, self.cursor, self._reached = event["stream"], event["id"], True
                    elif kind == "error":
                        raise ServerRefused(str(event.get("code")), str(event.get("message")))
                    elif kind == "detached" and event.get("reason") == "ended":
                        return
                    elif kind == "detached":
                        break
                    elif kind != "ok":
                        yield event
        except (ConnectionClosed, InvalidMessage):
            pass
        except InvalidHandshake:
            raise Unreachable(f"the server at {self._client.url} takes no WebSocket at /v1/chat/ws") from None
        raise _Dropped

    def _opening(self) -> dict[str, Any]:
        if self.stream:
            attach = {"type": "attach", "ref": "turn", "stream": self.stream}
            return {**attach, "after": self.cursor} if self.cursor else attach
        return {"type": "start", "ref": "turn", "request": self._request, "key": self._key}


def refusal(status: int, body: bytes) -> Exception:
    """What an error answer of a server says."""
    answer = _object(body) or {}
    error = answer.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        code, message = str(error.get("code")), error["message"]
        if code == "unauthenticated":
            message += "; this command shows the one in the variable PENSTOCK_API_KEY"
        return ServerRefused(code, message)
    return Unreachable(f"the server answered with status {status} and no reason; is it a penstock server?")


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _event(line: bytes) -> Event:
    event = _object(line)
    if event is None or "type" not in event:
        raise Unreachable("the server sent something that is no event of the native dialect; is it a penstock server?")
    if event["type"] == "chunk":
        event["data"] = b64decode(event["data"])
    return event


def _message(message: str | bytes) -> Event:
    """A WebSocket message: JSON, or the bytes of a binary part behind a JSON header."""
    if isinstance(message, str):
        return _event(message.encode())
    (length,) = struct.unpack_from(">H", message)
    header: dict[str, Any] = orjson.loads(message[2 : 2 + length])
    return {"type": "chunk", **header, "data": message[2 + length :]}


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Complete lines without their ends; what stands behind the last one never arrived."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line


async def _ndjson(content: aiohttp.StreamReader) -> AsyncGenerator[Event, None]:
    async with aclosing(_lines(content)) as lines:
        async for line in lines:
            if line:
                yield _event(line)


async def _sse(content: aiohttp.StreamReader) -> AsyncGenerator[Event, None]:
    """Blocks with data, each with the id that was in force at its end."""
    data = b""
    cursor = ""
    async with aclosing(_lines(content)) as lines:
        async for line in lines:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data = data + b"\n" + value if data else value
            elif name == b"id":
                cursor = value.decode()
            elif not line and data:
                yield {**_event(data), "id": cursor} if cursor else _event(data)
                data = b""
