"""SIGTERM while many streams are read over every transport: how soon it is known, whether every reader is told, when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks import asking, harness
from benchmarks.rows import Row
from benchmarks.servers import TRANSPORTS, in_process
from benchmarks.sitting import Sitting
from benchmarks.source import order

FIRST_WORD = b"^"
WHOLE = b"0\r\n\r\n"
ENDLESS = order(tokens=1_000_000, rate=1)
ASKED = {"stream": True, "messages": [{"role": "user", "content": ENDLESS}]}


def _failed(tail: bytes) -> bool:
    return b'"interrupted"' in tail and b"[DONE]" not in tail and tail.endswith(WHOLE)


def _cut(tail: bytes) -> bool:
    return not tail.endswith(WHOLE)


WAYS: dict[str, tuple[str, str, Callable[[bytes], bool]]] = {
    "SSE native": ("/v1/streams", "text/event-stream", _failed),
    "SSE openai-chat": ("/v1/chat/completions", "*/*", _failed),
    "NDJSON": ("/v1/chat/chunked", "application/x-ndjson", _failed),
    "text": ("/v1/chat/chunked", "text/plain", _cut),
}
"""label: where to ask, for what, and how the end of the body says that this was no good end."""


class Readers:
    """So many streams, each a run of its own, over the transports in turn. Times are of `time.monotonic`."""

    def __init__(self, port: int, count: int):
        self._port = port
        self._count = count
        self._speaking = 0
        self._all_speak = asyncio.Event()
        self.told: list[float] = []
        """When each was told that its answer was interrupted."""

    async def read(self) -> None:
        """Until every connection has ended."""
        ways = [*WAYS, "WebSocket"]
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                way = ways[number % len(ways)]
                group.create_task(self._socket() if way == "WebSocket" else self._http(*WAYS[way]))

    async def all_speak(self) -> None:
        """Wait until each has had its first token."""
        await self._all_speak.wait()

    def _speaks(self) -> None:
        self._speaking += 1
        if self._speaking == self._count:
            self._all_speak.set()

    async def _http(self, path: str, accept: str, told: Callable[[bytes], bool]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = msgspec.json.encode(ASKED)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        tail, spoke = b"", False
        with contextlib.suppress(ConnectionError):  # a cut too
            while piece := await reader.read(65_536):
                tail = (tail + piece)[-4096:]
                if not spoke and FIRST_WORD in tail:
                    spoke = True
                    self._speaks()
        if told(tail):
            self.told.append(time.monotonic())
        writer.close()

    async def _socket(self) -> None:
        last: deque[str] = deque(maxlen=1)
        spoke = False
        async with connect(f"ws://127.0.0.1:{self._port}/v1/chat/ws", proxy=None, compression=None) as socket:
            await socket.send(msgspec.json.encode({"type": "start", "ref": "1", "request": ASKED}).decode())
            try:
                while True:
                    message = await socket.recv(decode=True)
                    last.append(str(message))
                    if not spoke and FIRST_WORD.decode() in str(message):
                        spoke = True
                        self._speaks()
            except ConnectionClosed as closed:
                if '"interrupted"' in last[0] and closed.rcvd is not None and closed.rcvd.code == 1012:
                    self.told.append(time.monotonic())


async def _unready(port: int) -> float:
    """When `/readyz` first said 503, or nobody was there to say it."""
    status = 200
    while status != 503:
        try:
            status, _ = await asyncio.to_thread(asking.ask, port, "GET", "/readyz")
        except OSError:
            break
    return time.monotonic()


async def _drained(running: harness.Running, *, streams: int, patience: float) -> tuple[dict[str, list[float]], str]:
    """The columns, and what is wrong."""
    assert running.process is not None
    readers = Readers(running.port, streams)
    reading = asyncio.ensure_future(readers.read())
    try:
        await asyncio.wait_for(readers.all_speak(), asking.PATIENCE + streams / 50)
    except TimeoutError:
        raise harness.Unavailable(f"not all of {streams} streams began to speak") from None
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(patience):
        unready = await _unready(running.port)
        await reading
        code = await asyncio.to_thread(running.process.wait)
    ended = time.monotonic()
    columns = {
        "unready after ms": [1000 * (unready - began)],
        "told": [float(len(readers.told))],
        "first told s": [min(readers.told, default=0.0) - began],
        "last told s": [max(readers.told, default=0.0) - began],
        "exit s": [ended - began],
    }
    fault = f"{streams - len(readers.told)} of {streams} readers were not told" if len(readers.told) < streams else ""
    return columns, fault or (f"exit code {code}" if code else "")


def drain(sitting: Sitting, *, streams: int = 500, seconds: int = 25) -> list[Row]:
    """`streams` endless answers are being read when the server is told to go, and has `server.drain` = `seconds`."""
    server = in_process("penstock-drain", TRANSPORTS[0])
    server = msgspec.structs.replace(server, env={**server.env, "PENSTOCK_SERVER__DRAIN": f"{seconds}s"})
    with sitting.running(server) as running:
        columns, fault = asyncio.run(_drained(running, streams=streams, patience=seconds + asking.PATIENCE))
    row = Row(group="drain", label=f"SIGTERM, {streams} streams, drain {seconds} s", columns=columns, fault=fault)
    sitting.say(f"drain {row.columns} {fault}")
    return [row]
