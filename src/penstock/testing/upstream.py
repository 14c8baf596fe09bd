"""An upstream that fails as it is told: a scripted provider on a free loopback port, in the event loop of the test.

OpenAI-compatible unless the script says otherwise.

It does exactly what the script says, step by step, and remembers what it was asked and how the peer left.
Nothing in it depends on time: a test walks it forward with gates.
"""

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, assert_never

from penstock.testing.script import (
    ENDINGS,
    Body,
    Cut,
    End,
    Event,
    Flood,
    Gate,
    HalfClose,
    Hang,
    Head,
    Raw,
    Reply,
    Reset,
    Step,
    Trickle,
    answer,
    completion,
    event_bytes,
    text,
    usage_of,
)

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COUNTS = ("/v1/messages/count_tokens", "/v1/responses/input_tokens")
QUESTIONS = frozenset({CHAT, RESPONSES, "/v1/messages", "/api/chat", "/v1/embeddings", *COUNTS})
"""Where questions are posted; only for the first there is a usual answer, the others need a script."""
MODELS = "/v1/models"
USUAL = ("Hello", ", ", "world", "!")
FLOOD_BATCH = 64
"""Events of a flood in one write; then the others have their turn."""
ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER on with zero seconds: close() sends RST


class PeerLeftError(ConnectionError):
    """The peer went away in the middle of a script: an outcome, not a fault."""


@dataclass(frozen=True)
class Request:
    """What the provider was asked. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: "Connection"

    @property
    def json(self) -> dict[str, Any]:
        asked: dict[str, Any] = json.loads(self.body)
        return asked


class Connection(asyncio.StreamReaderProtocol):
    """One accepted connection. `peer_gone` is set when the peer left before we did; `left_by` is `eof` or `reset`."""

    def __init__(self, provider: "Provider") -> None:
        super().__init__(asyncio.StreamReader(), self._accepted)
        self._provider = provider
        self._chunked = False
        self._left_first = False
        self.requests: list[Request] = []
        self.peer_gone = asyncio.Event()
        self.closed = asyncio.Event()
        self.left_by = ""
        self.written = 0

    def blocked(self) -> bool:
        """Whether the peer has stopped taking: its kernel's buffer and ours are full."""
        return self._writer.transport.get_write_buffer_size() > 0

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(high=0)  # drained then means: all of it is in the kernel
        self._provider.connections.append(self)
        self._provider.run(self._serve())

    def eof_received(self) -> bool | None:
        self._peer_left("eof")
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_left("reset")
        self.closed.set()
        super().connection_lost(exc)

    def _peer_left(self, how: str) -> None:
        if not self._left_first and not self.peer_gone.is_set():
            self.left_by = how
            self.peer_gone.set()

    async def drop(self) -> None:
        """Close at once, whatever the script is doing."""
        self._left_first = True
        self._writer.transport.abort()
        await self.closed.wait()

    async def _serve(self) -> None:
        try:
            while not self._left_first:
                request = await self._read_request()
                self.requests.append(request)
                for step in self._provider.steps_for(request):
                    if not self._left_first:
                        await self._perform(step)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the peer left; peer_gone says so
        finally:
            self._writer.close()

    async def _read_request(self) -> Request:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise ValueError("the fake provider reads bodies with a Content-Length only")
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method=method, path=path, headers=headers, body=body, connection=self)

    async def _perform(self, step: Step) -> None:
        match step:
            case Gate():
                step.reached.set()
                await self._unless_peer_leaves(step.opened.wait())
            case Head():
                self._chunked = step.chunked
                framing = {"Transfer-Encoding": "chunked"} if step.chunked else {"Connection": "close"}
                await self._write(head_bytes(step.status, {**step.headers, **framing}))
            case Body():
                await self._write_body(step.data)
            case Raw():
                await self._write(step.data)
            case Event():
                await self._write_body(event_bytes(step.data))
            case Flood():
                for first in range(0, step.count, FLOOD_BATCH):
                    numbers = range(first, min(first + FLOOD_BATCH, step.count))
                    await self._write_body(b"".join(event_bytes(text(f"{number} ").data) for number in numbers))
                    await asyncio.sleep(0)
            case Trickle():
                for byte in step.data:
                    await self._unless_peer_leaves(step.permits.acquire())
                    await self._write_body(bytes((byte,)))
            case Reply():
                body = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
                fields = {"Content-Type": "application/json", **step.headers, "Content-Length": str(len(body))}
                await self._write(head_bytes(step.status, fields) + body)
            case End():
                if self._chunked:
                    await self._write(b"0\r\n\r\n")
                else:
                    await self._leave()
            case Cut():
                await self._leave()
            case Reset():
                sock: socket.socket = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
                await self.drop()
            case HalfClose():
                self._writer.write_eof()
                await self.peer_gone.wait()
                self._left_first = True
            case Hang():
                await self.peer_gone.wait()
                raise PeerLeftError
            case _:
                assert_never(step)

    async def _leave(self) -> None:
        self._left_first = True
        self._writer.close()
        await self.closed.wait()

    async def _write_body(self, data: bytes) -> None:
        await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def _write(self, data: bytes) -> None:
        if self.peer_gone.is_set() or self._writer.transport.is_closing():
            raise PeerLeftError
        self._writer.write(data)
        self.written += len(data)
        if self._writer.transport.get_write_buffer_size():
            await self._unless_peer_leaves(self._writer.drain())

    async def _unless_peer_leaves(self, waited: Coroutine[Any, Any, object]) -> None:
        wanted, gone = asyncio.ensure_future(waited), asyncio.ensure_future(self.peer_gone.wait())
        try:
            await asyncio.wait((wanted, gone), return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                raise PeerLeftError
            wanted.result()
        finally:
            wanted.cancel()
            gone.cancel()


class Provider:
    """Scripts are played in the order given, one per question; without one `unscripted` says what to answer: a short text."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.models = ["fake"]
        self.unscripted: Callable[[Request], list[Step]] = usual
        """What answers a question in OpenAI chat for which there is no script."""
        self.base_url = ""
        self._scripts: deque[list[Step]] = deque()
        self._arrivals: asyncio.Queue[Request] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[Exception] = []
        self._listener: asyncio.Server | None = None

    def script(self, *steps: Step | Iterable[Step]) -> None:
        """Queue the script of one question. Raises ValueError when it does not say how the response ends."""
        flat = [single for step in steps for single in (step if isinstance(step, Iterable) else (step,))]
        if not flat or not isinstance(flat[-1], ENDINGS):
            raise ValueError("a script must end with End, Cut, Reset, Reply, HalfClose or Hang")
        self._scripts.append(flat)

    async def next_request(self) -> Request:
        """The next question not yet handed out by this method; waits for it to be complete."""
        return await self._arrivals.get()

    def refuse(self) -> None:
        """Stop listening: new connections are refused, those that exist live on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def steps_for(self, request: Request) -> list[Step]:
        self.requests.append(request)
        if request.path == MODELS:
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in self.models]
            return [Reply(body={"object": "list", "data": models})]
        asks = request.method == "POST" and request.path in QUESTIONS
        reads_on = request.method == "GET" and request.path.startswith(f"{RESPONSES}/")
        if not (asks or reads_on) or not (self._scripts or request.path == CHAT):
            message = f"no route {request.method} {request.path}"
            return [Reply(status=404, body={"error": {"message": message, "type": "invalid_request_error"}})]
        self._arrivals.put_nowait(request)
        return self._scripts.popleft() if self._scripts else self.unscripted(request)

    def run(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if isinstance(fault, Exception):
            self._faults.append(fault)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["Provider"]:
        """Serve inside the block; afterwards every connection is closed and a fault of the fake's own is raised."""
        listener = await asyncio.get_running_loop().create_server(lambda: Connection(self), "127.0.0.1", 0)
        self._listener = listener
        self.base_url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            self.refuse()
            for task in list(self._tasks):
                task.cancel()
            for connection in self.connections:
                await connection.drop()
            await listener.wait_closed()
        if self._faults:
            raise ExceptionGroup("the fake provider's own faults", self._faults)


def usual(request: Request) -> list[Step]:
    """A short good answer of four pieces, streamed or whole as asked, with usage where asked."""
    asked = request.json
    counted = usage_of(3, len(USUAL))
    if not asked.get("stream"):
        return [completion(USUAL, usage=counted)]
    wants_usage = (asked.get("stream_options") or {}).get("include_usage")
    return answer(*USUAL, usage=counted if wants_usage else None)


def going_on(whole: str, *, repeats: int = 0, size: int = 7) -> Callable[[Request], list[Step]]:
    """For `Provider.unscripted`: a model with one answer, which goes on from what the last message of the assistant has of it.

    It comes in pieces of `size` characters, after as many of the last ones once more as it `repeats`. Asked to go on with
    another answer it raises ValueError: the reader was shown what was never said.
    """

    def answers(request: Request) -> list[Step]:
        said = [message["content"] for message in request.json["messages"] if message["role"] == "assistant"][-1:]
        so_far = said[0] if said else ""
        if not whole.startswith(so_far):
            raise ValueError(f"asked to go on with {so_far[-80:]!r}, which the answer does not begin with")
        rest = whole[max(0, len(so_far) - repeats) :]
        pieces = [rest[at : at + size] for at in range(0, len(rest), size)]
        return answer(*pieces, usage=usage_of(3, len(pieces)))

    return answers


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an HTTP/1.1 response, its blank line included."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
