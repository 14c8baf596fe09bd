"""Moves one run to one HTTP response: everything that is ready leaves in one write, and no write begins before the last has room.

Leaving is noticed at once, also in the silence before the first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.core.cursor import Entry
from penstock.core.errors import fault
from penstock.core.events import Cancelled, Failed, Fault
from penstock.encoders.coalesce import coalesce
from penstock.encoders.stream import Stream
from penstock.flow.policy import Bounds
from penstock.flow.reader import Reader
from penstock.flow.runs import RunHandle
from penstock.server.exchange import Exchange, Header

STREAMING: list[Header] = [
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
"""What keeps proxies and browsers from holding a stream back."""


def streaming_headers(handle: RunHandle, content_type: bytes) -> list[Header]:
    """The headers of every HTTP stream of a run."""
    return [
        (b"content-type", content_type),
        *STREAMING,
        (b"penstock-stream-id", handle.id.encode()),
        (b"penstock-model", handle.request.model.encode("latin-1", "replace")),
    ]


def ready(reader: Reader, bounds: Bounds) -> list[Entry]:
    """What is ready for a reader, merged where it is behind."""
    behind = reader.owed > bounds.merge_above
    entries = reader.poll(bounds.turn_bytes)
    return coalesce(entries) if behind and len(entries) > 1 else entries


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


async def deliver(
    exchange: Exchange, handle: RunHandle, reader: Reader, stream: Stream[bytes], *, opening: bytes
) -> None:
    """Write the body of a response that has begun, to the end of the run or of the connection."""
    bounds = handle.policy.bounds
    encoder = stream.encoder
    connection = exchange.connection
    pending = opening
    while reader.attached:
        entries = ready(reader, bounds)
        if entries:
            body = b"".join(stream.feed(entries))
            if pending:
                body, pending = pending + body, b""
            if stream.terminal is not None:
                await _end(exchange, stream, body)
                return
            if body:
                reader.wrote = True
                # As Exchange.write, without a coroutine per write: this is the one path taken per token.
                if connection is None:
                    await exchange.write(body)
                elif not connection.write(body):
                    await connection.drained()
            if handle.log.shown > reader.offset:
                # A client that takes everything at once never makes write() wait: let the others have the loop.
                await asyncio.sleep(0)
            continue
        if pending:
            await exchange.write(pending)
            pending = b""
            continue
        if reader.finished:
            await exchange.end()
            return
        if reader.beat:
            reader.beat = False
            if beat := encoder.heartbeat():
                await exchange.write(beat)
            continue
        await reader.changed()
    if reader.dropped is not None:
        exchange.abort()


async def _end(exchange: Exchange, stream: Stream[bytes], body: bytes) -> None:
    assert stream.terminal is not None  # noqa: S101 - the caller has just seen it
    ending = stream.encoder.ending(stream.terminal)
    if ending is not None:
        await exchange.end(body + ending)
        return
    if body:
        await exchange.write(body)
    exchange.cut()
