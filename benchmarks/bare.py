"""A loop that does nothing but write: `python -m benchmarks.bare PORT TOKENS RATE` is one run to whoever reads it, and no server.

It makes each block once and writes it to every connection, as penstock would if log, readers, dialects, resume, limits and
counting cost nothing. So it is the floor of what a delivered token costs on a machine: the kernel's write, and uvloop's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

RUN = "bare"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b'data: {"type":"finished","reason":"stop"}\n\n'


class Writer:
    """The one run: `readers` are told `tokens` tokens of stream number `stream`, `rate` per second."""

    def __init__(self, tokens: int, rate: float, stream: int):
        self.readers: set[asyncio.Transport] = set()
        self._tokens = tokens
        self._rate = rate
        self._stream = stream
        self._telling: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        due = time.monotonic()
        for number in range(self._tokens):
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            text = f" ^{self._stream}.{number}.{time.monotonic_ns() // 1000};"
            self._write(
                b'data: {"type":"delta","part":0,"text":"%b"}\nid: %b:a1:%d\n\n' % (text.encode(), b"x" * 29, number)
            )
            due += 1 / self._rate
        self._write(LAST)
        for reader in list(self.readers):
            reader.write(b"0\r\n\r\n")

    def _write(self, block: bytes) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(block), block)
        for reader in self.readers:
            reader.write(chunk)


class Connection(asyncio.Protocol):
    """As much HTTP as the measurement needs: who reads, begin, and how many there are."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        target = data.split(b" ", 2)[1] if data.startswith((b"GET ", b"POST ")) else b""
        if target.endswith(b"/events"):
            self._transport.write(HEAD)
            self._writer.readers.add(self._transport)
        elif target.endswith(b"/input"):
            self._reply(b"202 Accepted", b"{}")
            self._writer.begin()
        elif target:
            self._reply(b"200 OK", b'{"readers":%d}' % len(self._writer.readers))

    def _reply(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writer.readers.discard(self._transport)


async def main(port: int, tokens: int, rate: float, stream: int) -> None:
    writer = Writer(tokens, rate, stream)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(writer), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    port, tokens, rate, stream = sys.argv[1:]
    uvloop.run(main(int(port), int(tokens), float(rate), int(stream)))
