"""How `penstock doctor` speaks to a server: runs of the demo in lock-step, and far readers of them on every transport.

A far reader is a task that takes what comes. Whoever looks at it waits for a state, and nothing is cancelled by waiting.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from ssl import SSLContext
from typing import Any, Literal

import aiohttp
import orjson

Carrier = Literal["sse", "ndjson", "text", "websocket"]
CARRIERS: tuple[Carrier, ...] = ("sse", "ndjson", "text", "websocket")
ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
AS_BROWSERS = "gzip, deflate"
"""What browsers say they take; curl does not, and never sees what compression does to a stream."""
TOKENS = 4
DELTA = b'"type":"delta"'
BEAT = {"sse": b"\n: ping\n", "ndjson": b"\n\n"}
LIFE = 3600.0
"""Seconds after which a reader is given up whatever happens."""


class Untestable(Exception):
    """The server would not begin the run a check needs. The text is its reason."""


class Answer:
    """A whole response: its status, headers (names in lower case) and body."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.body = body

    @property
    def value(self) -> dict[str, Any]:
        """The JSON object in the body; empty where there is none."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def code(self) -> str:
        """The code of penstock's own error; empty where somebody else answers."""
        error = self.value.get("error", self.value)
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def message(self) -> str:
        """What penstock says of its error; empty where somebody else answers."""
        error = self.value.get("error", self.value)
        said = (error.get("message") or error.get("detail") or "") if isinstance(error, dict) else ""
        return str(said)


class Far:
    """A reader on one transport, at the far side of all proxies."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.asked_id = f"doctor-{secrets.token_hex(8)}"
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.received = b""
        self.ended: Literal["", "complete", "cut"] = ""
        self.ended_at: float | None = None
        self.problem = ""
        self._moved = asyncio.Event()
        self._inflate: Any = None

    @property
    def progress(self) -> int:
        """Grows with every token: deltas where they can be counted, bytes of bare text."""
        return len(self.received) if self.carrier == "text" else self.received.count(DELTA)

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        beat = BEAT.get(self.carrier)
        return self.received.count(beat) if beat else 0

    def began(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        encoding = self.headers.get("content-encoding", "")
        if encoding in ("gzip", "deflate"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._moved.set()

    def feed(self, data: bytes) -> None:
        self.received += self._inflate.decompress(data) if self._inflate else data
        self._moved.set()

    def end(self, how: Literal["complete", "cut"], problem: str = "") -> None:
        if not self.ended:
            self.ended_at = time.monotonic()
        self.ended = self.ended or how
        self.problem = self.problem or problem
        self._moved.set()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition holds or the reader ends, not longer than so many seconds; whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not condition() and not self.ended:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass
        return condition()

    async def advanced(self, beyond: int, seconds: float) -> bool:
        """Wait for a token after `beyond`; whether it came in time."""
        return await self.until(lambda: self.progress > beyond, seconds)

    async def over(self, seconds: float) -> bool:
        """Wait for the end, whichever; whether it came in time."""
        return await self.until(lambda: bool(self.ended), seconds)

    async def complete(self, seconds: float) -> bool:
        """Wait for a good end; whether it came in time."""
        return await self.until(lambda: self.ended == "complete", seconds)


class Socket(Far):
    """A reader on a WebSocket, which speaks too."""

    def __init__(self) -> None:
        super().__init__("websocket")
        self.connection: Any = None

    async def send(self, message: dict[str, Any]) -> None:
        """Say something. Where the socket has been closed the reader ends, and says so itself."""
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):
            await self.connection.send(orjson.dumps(message).decode())


class Visit:
    """One server, asked through whatever stands before it."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, *, key: str | None, model: str, tls: SSLContext | None = None
    ):
        self.url = url
        self.session = session
        self.model = model
        self.tls = tls
        self.headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}

    async def ask(self, method: str, path: str, *, body: bytes | None = None, **headers: str) -> Answer:
        """One whole request. Raises `aiohttp.ClientError` and `TimeoutError`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method,
            self.url + path,
            data=None if body is None else BytesIO(body),
            headers={**self.headers, **named},
            allow_redirects=False,
        ) as response:
            return Answer(response, await response.read())

    async def begin(self, **knobs: object) -> str:
        """Begin a run of the demo in lock-step; its id. Raises `Untestable`."""
        demo = {"lockstep": True, "reasoning": False, "binary": False, "tokens": TOKENS, **knobs}
        body = orjson.dumps({"model": self.model, "prompt": "doctor", "demo": demo})
        answer = await self.ask(
            "POST", "/v1/streams", body=body, Accept="application/json", Content_Type="application/json"
        )
        if answer.status != 201:
            raise Untestable(answer.message or f"the server began no run: status {answer.status}")
        return str(answer.value["id"])

    async def confirm(self, run: str, times: int = 1) -> None:
        """Tell the run that its last token has arrived."""
        for _ in range(times):
            await self.ask("POST", f"/v1/streams/{run}/input", body=b'{"heard":1}', Content_Type="application/json")

    async def state(self, run: str) -> dict[str, Any]:
        """How a run stands."""
        return (await self.ask("GET", f"/v1/streams/{run}")).value

    @asynccontextmanager
    async def reading(self, run: str, carrier: Carrier, *, encodings: str = AS_BROWSERS) -> AsyncIterator[Far]:
        """A far reader of a run, for as long as the block lasts."""
        far = Socket() if carrier == "websocket" else Far(carrier)
        taking = self._talk(run, far) if isinstance(far, Socket) else self._take(run, far, encodings)
        task = asyncio.get_running_loop().create_task(taking)
        try:
            yield far
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _take(self, run: str, far: Far, encodings: str) -> None:
        headers = {**self.headers, "Accept": ACCEPT[far.carrier], "Accept-Encoding": encodings}
        headers["X-Request-Id"] = far.asked_id
        timeout = aiohttp.ClientTimeout(total=LIFE)
        url = f"{self.url}/v1/streams/{run}/events"
        try:
            async with self.session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                far.began(response.status, response.headers)
                line = response.connection
                try:
                    async for data in response.content.iter_any():
                        far.feed(data)
                finally:
                    if line is not None and line.transport is not None:
                        line.transport.abort()  # as a tab is closed, without TLS's farewells
            far.end("complete")
        except aiohttp.ClientPayloadError:
            far.end("cut", "its body broke off")
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            far.end("cut", str(problem) or type(problem).__name__)

    async def _talk(self, run: str, far: Socket) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

        url = f"ws{self.url.removeprefix('http')}/v1/chat/ws"
        tls = self.tls if url.startswith("wss") else None
        try:
            async with connect(
                url, additional_headers=self.headers, compression=None, proxy=None, max_size=None, ssl=tls
            ) as socket:
                far.connection = socket
                far.began(101, dict(socket.response.headers.raw_items()) if socket.response else {})
                await far.send({"type": "attach", "stream": run})
                async for message in socket:
                    far.feed(message.encode() if isinstance(message, str) else message)
                    if b'"type":"finished"' in far.received:
                        far.end("complete")
            far.end("cut", "the socket was closed")
        except InvalidStatus as refused:
            far.began(refused.response.status_code, dict(refused.response.headers.raw_items()))
            far.feed(bytes(refused.response.body or b""))
            far.end("cut", f"the handshake was answered with status {refused.response.status_code}")
        except (InvalidHandshake, WebSocketException, OSError, TimeoutError) as problem:
            far.end("cut", str(problem) or type(problem).__name__)
