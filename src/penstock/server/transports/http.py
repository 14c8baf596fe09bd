"""Moves one run to one HTTP response: everything that is ready leaves in one write, and no write begins before the last has room.

Leaving is noticed at once, also in the silence before the first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Failed, Fault
from penstock.core.frame import Dialect
from penstock.flow.handle import RunHandle
from penstock.flow.reader import Reader
from penstock.server.exchange import Connection, Exchange, Header
from penstock.server.telling import Teller

STREAMING: list[Header] = [
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
"""What keeps proxies and browsers from holding a stream back."""


def streaming_headers(handle: RunHandle, content_type: bytes, dialect: Dialect) -> list[Header]:
    """The headers of every HTTP stream of a run."""
    return [(b"content-type", content_type), *STREAMING, *dialect.traits.headers, *run_headers(handle)]


def run_headers(handle: RunHandle) -> list[Header]:
    """What run it is, and who answers. A client may have chosen the model's name: what is no header is left out."""
    headers = [(b"penstock-stream-id", handle.id.encode())]
    model = handle.request.model
    if model.isprintable():
        headers.append((b"penstock-model", model.encode("latin-1", "replace")))
    if handle.target:
        headers.append((b"penstock-target", handle.target.encode("latin-1", "replace")))
    if handle.why:
        headers.append((b"penstock-why", handle.why.encode("latin-1", "replace")))
    return headers


async def hold(handle: RunHandle, reader: Reader, now: Callable[[], float], until: float) -> Fault | None:
    """Wait for the first thing said, by the clock of the runs not beyond `until`; the fault where that is the run's failure."""
    reader.alarm = until
    while not handle.log.spoken and reader.attached and now() < until:
        await reader.changed()
    reader.alarm = None
    if handle.log.opened or not handle.log.spoken:
        return None
    match handle.pump.terminal:
        case Failed(error):
            return error
        case Cancelled():
            return fault("cancelled")
        case _:
            return None


HttpTeller = Teller[bytes, bytes]


class Delivery:
    """The body of a response that has begun, written from callbacks as soon as there is something to write.

    No task waits for a token: the one that answered the request has ended, and all it held is gone.
    """

    __slots__ = ("_connection", "_due", "_failed", "_loop", "_opening", "_over", "_reader", "_stuck", "_teller")

    def __init__(
        self, connection: Connection, teller: HttpTeller, opening: bytes, *, failed: Callable[[BaseException], None]
    ):
        """`failed` is told of an exception that is in no table; the line is cut then."""
        self._connection = connection
        self._teller = teller
        self._reader = teller.reader
        self._opening = opening
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._due = self._over = False
        self._stuck = False
        """A write waits for the connection to have room again."""

    def begin(self) -> None:
        """Write what there is; the rest follows by itself, to the end of the run or of the connection."""
        connection, reader = self._connection, self._reader
        reader.on_ready = self._mark
        reader.on_drop = connection.abort
        connection.keep()
        self._turn()
        if not self._over:
            connection.write(b"")  # the head, where nothing was ready to leave with it

    def _mark(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def _room(self) -> None:
        self._stuck = False
        self._mark()

    def _turn(self) -> None:
        self._due = False
        if self._over:
            return
        try:
            over = self._go()
        except Exception as problem:  # noqa: BLE001 - a dialect is anybody's code
            self._failed(problem)
            self._connection.cut()
            over = True
        if over:
            self._over = True
            reader = self._reader
            reader.on_ready = None
            self._connection.unwatch()
            self._teller.leave()
            reader.detach("done" if reader.finished else "left")

    def _go(self) -> bool:
        """Write what is ready, about one turn of it; whether the response is over."""
        reader, connection, teller = self._reader, self._connection, self._teller
        if not reader.attached:
            if reader.dropped is not None:
                connection.abort()
            return True
        if self._stuck:
            return False
        body = teller.take()
        if self._opening:
            body, self._opening = self._opening + (body or b""), b""
        if body is None:
            if reader.finished:
                connection.end(b"")
                return True
            if reader.beat:
                reader.beat = False
                if beat := teller.stream.encoder.heartbeat():
                    connection.write(beat)
            return False
        terminal = teller.terminal
        if terminal is not None:
            ending = teller.stream.encoder.ending(terminal)
            if ending is not None:
                connection.end(body + ending)
            else:
                connection.write(body)
                connection.cut()
            return True
        if body:
            reader.wrote = True
            if not connection.write(body):
                self._stuck = True
                connection.when_drained(self._room)
                return False
        if teller.handle.log.shown > reader.offset:
            self._mark()  # a client that takes everything at once never makes a write wait: let the others have the loop
        return False


async def deliver(exchange: Exchange, teller: HttpTeller, *, opening: bytes) -> None:
    """The same over plain ASGI, where a write is a message to wait for."""
    try:
        await _deliver(exchange, teller, opening)
    finally:
        teller.leave()


async def _deliver(exchange: Exchange, teller: HttpTeller, opening: bytes) -> None:
    reader = teller.reader
    pending = opening
    while reader.attached:
        body = teller.take()
        if body is not None:
            body, pending = pending + body, b""
            terminal = teller.terminal
            if terminal is not None:
                ending = teller.stream.encoder.ending(terminal)
                if ending is not None:
                    await exchange.end(body + ending)
                    return
                await exchange.write(body)
                exchange.cut()
                return
            if body:
                reader.wrote = True
                await exchange.write(body)
            if teller.handle.log.shown > reader.offset:
                await asyncio.sleep(0)
        elif pending:
            await exchange.write(pending)
            pending = b""
        elif reader.finished:
            await exchange.end()
            return
        elif reader.beat:
            reader.beat = False
            if beat := teller.stream.encoder.heartbeat():
                await exchange.write(beat)
        else:
            await reader.changed()
    if reader.dropped is not None:
        exchange.abort()
