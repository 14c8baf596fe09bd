"""`/v1/streams`: list, snapshot and state, cancel, purge, attach by any transport, long-poll, several runs on one SSE."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

import msgspec

from penstock.auth.capability import Right
from penstock.core.body import read_json
from penstock.core.cassette import record
from penstock.core.cursor import Cursor, Entry, parse_cursor
from penstock.core.errors import Refused
from penstock.core.lifecycle import Phase
from penstock.core.request import Principal
from penstock.encoders.sse import SharedSseEncoder
from penstock.flow.handle import Place, RunHandle
from penstock.server.arrival import READING, Arrival, flag
from penstock.server.door import at_end, read
from penstock.server.exchange import Exchange
from penstock.server.joining import pipeline, retold
from penstock.server.negotiation import CONTENT_TYPES
from penstock.server.service import Service
from penstock.server.telling import Teller, ready
from penstock.server.transports.http import STREAMING, streaming_headers
from penstock.server.transports.turns import Lane, Turns

MOST_STREAMS = 16
"""Runs on one shared SSE."""

LONGEST_WAIT = 60.0
"""Seconds of a long-poll."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
TURN = 64 * 1024
"""Bytes of events that are read from a log at a time."""
LONG = 5_000
"""Events of a run that is recorded in a thread: to look through it for secrets takes as long as the others would wait."""
_encode = msgspec.json.Encoder().encode


class StreamsApi:
    """Operations on runs that exist. Every method answers one exchange and raises `Refused` before anything was sent."""

    def __init__(self, service: Service):
        self._service = service

    def _handle(self, exchange: Exchange, *, right: Right | None) -> RunHandle:
        service = self._service
        run = exchange.scope["path_params"]["stream"]
        return service.gate.find(service.runs, run, exchange.grant, right=right, token=exchange.access)

    def _state(self, exchange: Exchange, handle: RunHandle) -> dict[str, object]:
        log = handle.log
        path = exchange.scope.get("root_path", "") + f"/v1/streams/{handle.id}/events"
        return {
            "id": handle.id,
            "model": handle.request.model,
            "state": handle.state.value,
            "created": handle.created,
            "cursor": handle.cursor(log.shown),
            "entries": log.shown,
            "readers": len(log.readers),
            "end": handle.pump.terminal,
            "usage": handle.pump.usage,
            "events_url": path + self._service.gate.token(handle, "read"),
        }

    async def index(self, exchange: Exchange) -> None:
        """The caller's runs, newest first."""
        exchange.options(())
        handles = reversed(self._service.runs.mine(exchange.grant.principal))
        states = [self._state(exchange, handle) for handle in handles]
        await exchange.reply(200, _encode({"streams": states}), JSON)

    async def show(self, exchange: Exchange) -> None:
        """State, and everything said so far."""
        exchange.options({"access"})
        handle = self._handle(exchange, right="read")
        await exchange.reply(200, _encode({**self._state(exchange, handle), "snapshot": handle.log.snapshot()}), JSON)

    async def delete(self, exchange: Exchange) -> None:
        """Cancel a run; with `?purge=1`, drop one that has ended. Cancelling twice, or after the end, changes nothing."""
        options = exchange.options({"purge", "access"})
        purge = flag(options, "purge")
        handle = self._handle(exchange, right=None if purge else "cancel")
        if purge:
            if handle.state is not Phase.ENDED:
                raise Refused("not_ended", "the stream is still running; cancel it before you purge it")
            self._service.runs.forget(handle)
            await exchange.reply(200, _encode({"id": handle.id, "state": "purged"}), JSON)
            return
        self._service.runs.cancel(handle)
        await exchange.reply(200, _encode(self._state(exchange, handle)), JSON)

    async def input(self, exchange: Exchange) -> None:
        """Give a run's source something in mid-answer: any JSON value."""
        exchange.options({"access"})
        handle = self._handle(exchange, right=None)
        body = await exchange.body(self._service.max_body)
        self._service.runs.input(handle, read_json(body))
        await exchange.reply(202, _encode(self._state(exchange, handle)), JSON)

    async def cassette(self, exchange: Exchange) -> None:
        """A run that has ended as a file: its events with their timing, secrets blackened (`penstock.core.cassette`)."""
        exchange.options({"access"})
        handle = self._handle(exchange, right="read")
        log = handle.log
        if not log.sealed:
            raise Refused("not_ended", "the stream is still running; it can be recorded when it has ended")
        if log.first > 1:
            raise Refused("cursor_gone", "the beginning of this stream is no longer held")
        entries: list[Entry] = []
        while more := log.read(len(entries), TURN):
            entries += more
            await asyncio.sleep(0)
        recorded = partial(_recorded, entries, model=handle.request.model, created=handle.created)
        body = await asyncio.to_thread(recorded) if len(entries) > LONG else recorded()
        name = b'attachment; filename="%s.cassette.jsonl"' % handle.id.encode()
        await exchange.reply(200, body, NDJSON, [(b"content-disposition", name)])

    async def events(self, exchange: Exchange) -> None:
        """Attach or resume. With `?wait=`, answer with what there is within so many seconds, and end."""
        options = exchange.options(READING | {"wait", "access"})
        arrival = Arrival(self._service, exchange, self._service.native, options)
        handle = self._handle(exchange, right="read")
        if arrival.cursor is not None and arrival.cursor.run != handle.id:
            raise Refused("bad_cursor", "the cursor belongs to another stream", param="after")
        arrival.check_streams()
        if "wait" in options:
            await self._poll(arrival, handle, options["wait"])
        else:
            await read(arrival, handle, held=0.0)

    async def _poll(self, arrival: Arrival, handle: RunHandle, wait: str) -> None:
        """A long-poll, for clients behind proxies that hold streams back: a whole response with a known length."""
        seconds = _seconds(wait)
        exchange, runs = arrival.exchange, self._service.runs
        place, skip_bytes = arrival.join(handle)
        if at_end(handle, place):
            runs.observer.resumed("ended")
            await exchange.reply(204, b"", "", [(b"penstock-stream-id", handle.id.encode())])
            return
        arrival.told_back(place)
        self._service.gate.check_reader(runs, handle, exchange.grant)
        reader = runs.attach(handle, place.after, transport="poll")
        try:
            exchange.watch(lambda: reader.detach("left"))
            bounds = handle.policy.bounds
            stream, opening = arrival.stream(handle, arrival.view(handle), place, skip_bytes)
            body = b"" if place.gap is None else opening
            until = runs.now() + seconds
            reader.alarm = until
            while not body and reader.attached and not reader.finished:
                if entries := ready(reader, bounds):
                    body = b"".join(stream.feed(entries))
                elif runs.now() >= until:
                    body = stream.encoder.heartbeat()
                    break
                else:
                    reader.beat = False
                    await reader.changed()
            while len(body) < bounds.turn_bytes and (entries := ready(reader, bounds)):
                body += b"".join(stream.feed(entries))
            if not reader.attached:
                return
            if place.gap is None:
                body = opening + body
            kind, *headers = streaming_headers(handle, CONTENT_TYPES[arrival.transport], arrival.dialect)
            if stream.terminal is not None and stream.encoder.ending(stream.terminal) is None:
                await exchange.begin(200, [kind, *headers])
                await exchange.write(body)
                exchange.cut()
                return
            await exchange.reply(200, body, kind[1].decode(), headers)
        finally:
            exchange.unwatch()
            reader.detach("done" if reader.finished else "left")

    async def together(self, exchange: Exchange) -> None:
        """One SSE that carries several runs, for the six connections a browser has; each id holds the cursors of all."""
        options = exchange.options({"streams", "event_names", "access"})
        service = self._service
        tokens = _tokens(options.get("streams", ""), exchange.access)
        wanted = _wanted(exchange.header("last-event-id") or options.get("streams", ""))
        joined: list[tuple[RunHandle, Place]] = []
        positions: dict[str, bytes] = {}
        readers: Counter[Principal] = Counter()
        for run, cursor in wanted.items():
            handle = service.gate.find(service.runs, run, exchange.grant, right="read", token=tokens.get(run))
            place = handle.place(cursor)
            readers[handle.principal] += 1
            service.gate.check_reader(service.runs, handle, exchange.grant, more=readers[handle.principal])
            joined.append((handle, place))
            # Behind a gap the old position stands until the gap was told.
            positions[run] = (str(cursor) if place.gap and cursor else handle.cursor(place.after)).encode()
        for handle, place in joined:
            if wanted[handle.id] is not None or at_end(handle, place):
                ended = "ended" if at_end(handle, place) else "replayed"
                service.runs.observer.resumed("gap" if place.gap is not None else ended)
        if all(at_end(handle, place) for handle, place in joined):
            await exchange.reply(204, b"", "")
            return
        await self._together(exchange, joined, positions, event_names=flag(options, "event_names"))

    async def _together(
        self,
        exchange: Exchange,
        joined: list[tuple[RunHandle, Place]],
        positions: dict[str, bytes],
        *,
        event_names: bool,
    ) -> None:
        service = self._service
        dialect = service.native.dialect
        retry = [service.retry_ms]
        turns: Turns[bytes] = Turns()
        gone = asyncio.Event()
        leaving = asyncio.ensure_future(gone.wait())
        try:
            exchange.watch(gone.set)
            # Before anything is sent: who takes nothing makes that wait, and others would count without these.
            for handle, place in joined:
                encoder = SharedSseEncoder(handle.id, positions, retry)
                view = msgspec.structs.replace(handle.view, event_names=event_names)
                stream = pipeline(dialect, view, encoder, handle, place)
                reader = service.runs.attach(handle, place.after, transport="sse")
                reader.on_drop, reader.progress = exchange.abort, exchange.progress
                teller: Teller[bytes, Sequence[bytes]] = Teller(handle, reader, stream, manner=None, pack=list)
                turns.add(Lane(teller, retold(dialect, stream, place)))
            opening = b"id: %b\n\n" % b",".join(positions.values())
            await exchange.begin(200, [(b"content-type", CONTENT_TYPES["sse"]), *STREAMING])
            await exchange.write(opening)
            writing = asyncio.ensure_future(_write(exchange, turns))
            try:
                await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                writing.cancel()
                await asyncio.wait([writing])
            if not gone.is_set() and not writing.cancelled():
                writing.result()
                await exchange.end()
        finally:
            leaving.cancel()
            exchange.unwatch()
            for lane in list(turns.lanes.values()):
                turns.remove(lane, "left")


def _recorded(entries: list[Entry], *, model: str, created: int) -> bytes:
    return b"".join(record(entries, model=model, created=created))


async def _write(exchange: Exchange, turns: Turns[bytes]) -> None:
    while turns.lanes:
        lane = await turns.next()
        reader = lane.reader
        if pieces := lane.take():
            reader.wrote = True
            await exchange.write(b"".join(pieces))
        elif reader.beat:
            await exchange.write(lane.teller.stream.encoder.heartbeat())
        reader.beat = False
        turns.over(lane)
        if reader.finished or not reader.attached:
            turns.remove(lane, "done")
        elif lane.handle.log.shown > reader.offset:
            turns.mark(lane)
            await asyncio.sleep(0)


def _wanted(text: str) -> dict[str, Cursor | None]:
    """Runs and cursors in a comma-separated list. Raises `Refused`."""
    items = [item for item in text.split(",") if item]
    if not 1 <= len(items) <= MOST_STREAMS:
        raise Refused(
            "invalid_request", f"option 'streams' names 1 to {MOST_STREAMS} streams, by id or cursor", param="streams"
        )
    wanted: dict[str, Cursor | None] = {}
    for item in items:
        cursor = parse_cursor(item) if ":" in item else None
        run = cursor.run if cursor else item
        if run in wanted:
            raise Refused("invalid_request", "option 'streams' names a stream twice", param="streams")
        wanted[run] = cursor
    return wanted


def _tokens(streams: str, access: str | None) -> dict[str, str]:
    """Which token is for which run: one for each, in their order. A run without one is nobody's."""
    if access is None:
        return {}
    runs = [item.partition(":")[0] for item in streams.split(",") if item]
    return dict(zip(runs, access.split(","), strict=False))


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise Refused("unknown_option", "option 'wait' is a whole number of seconds", param="wait")
    return min(float(text), LONGEST_WAIT)
