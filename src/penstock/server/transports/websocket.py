"""Many runs on one WebSocket: commands in, messages out in fair turns.

One task reads commands, another writes. A malformed or unknown message gets a typed error and the socket lives.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.auth.grant import ANYBODY
from penstock.core.body import read_object, take
from penstock.core.cursor import parse_cursor
from penstock.core.errors import TABLE, Refused, fault
from penstock.core.events import Fault, Json
from penstock.core.frame import Dialect, View
from penstock.core.observer import ARRIVED
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.flow.handle import Place, RunHandle
from penstock.server.door import admit, at_end, begin, parsed
from penstock.server.exchange import EXTENSION
from penstock.server.joining import check_joins, pipeline, retold
from penstock.server.progress import progress
from penstock.server.service import Route, Service
from penstock.server.telling import Teller
from penstock.server.transports.handshake import opened
from penstock.server.transports.turns import Lane, Turns
from penstock.server.websocket_frames import framed

REF_LONGEST = 128
MOST_REFS = 1000
"""Refs that are remembered; beyond, those whose run this socket no longer reads may be used again."""

_encode = msgspec.json.Encoder().encode


class SocketConnection(Protocol):
    """What our host knows of a socket that ASGI has no words for."""

    transport: asyncio.Transport

    def write(self, frames: bytes) -> bool:
        """Write whole frames; whether the connection keeps up. If not, await `drained`. Raises `OSError` where it is closed."""

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""


class SocketManner(msgspec.Struct, frozen=True):
    """How a socket tells a run: in messages, or in frames ready to be written."""

    dialect: Dialect
    view: View
    framed: bool

    def encoder(self) -> WebSocketEncoder:
        return WebSocketEncoder(self.view.run, cursor_key=self.dialect.traits.cursor_key)

    def stream(self, handle: RunHandle, after: int) -> Stream[str | bytes]:
        """The pipeline of a reader that was told everything up to offset `after`."""
        return pipeline(self.dialect, self.view, self.encoder(), handle, Place(after))


class Socket:
    """One WebSocket connection, from the handshake to the close."""

    def __init__(self, service: Service, route: Route, scope: Scope, receive: Receive, send: Send):
        self._service = service
        self._path = route.path
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: SocketConnection | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._turns: Turns[str | bytes] = Turns()
        self._refs: dict[str, str] = {}
        self._grant = ANYBODY
        self._goodbye: asyncio.Task[None] | None = None
        self._parting = False
        """The client was told that the server goes: the socket closes once it has nothing left to tell."""
        self._closed = False

    @property
    def _route(self) -> Route:
        """As the configuration has it now: the socket may be older. Raises `Refused`."""
        for route in self._service.routes:
            if route.path == self._path and route.transports == ("websocket",):
                return route
        raise Refused("route_not_found", "this route is no longer served: the configuration was changed")

    async def run(self) -> None:
        """Serve the connection until it closes."""
        await self._receive()
        try:
            grant = await opened(self._service.gate, self._scope, self._receive, self._send, refused=self._refused)
            if grant is None:
                return
            self._grant = grant
            await self._serve()
        except Refused:
            raise  # the handshake is not answered yet: this is its answer
        except OSError:
            pass  # the client left while something was being sent to it
        except Exception as problem:  # noqa: BLE001 - whatever it is, the client gets a close code and the log the reason
            await self._fail(problem)
        finally:
            for lane in list(self._turns.lanes.values()):
                self._turns.remove(lane, "left")

    def _refused(self, code: str) -> None:
        self._service.runs.observer.refused(code, self._path)

    async def _serve(self) -> None:
        """Read until the connection ends; a task of its own writes meanwhile."""
        farewells = self._service.runs.farewells
        farewells.add(self._part)
        writing = asyncio.get_running_loop().create_task(self._write_all(), name="write")
        try:
            await self._read()
        finally:
            farewells.discard(self._part)
            tasks = [writing] if self._goodbye is None else [writing, self._goodbye]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _part(self) -> None:
        self._goodbye = asyncio.get_running_loop().create_task(self._say_goodbye(), name="goodbye")

    async def _say_goodbye(self) -> None:
        """Nothing new begins here: the client should open another socket, not all clients in the same moment."""
        retry_ms = self._service.retry_ms
        await self._say({"type": "goaway", "retry_ms": retry_ms + secrets.randbelow(retry_ms + 1)})
        self._parting = True
        await self._close_when_told()

    async def _close_when_told(self) -> None:
        if self._parting and not self._turns.lanes and not self._closed:
            await self._close(fault("interrupted"))

    async def _fail(self, problem: Exception) -> None:
        self._service.runs.observer.request_failed("", self._path, problem)
        await self._close(fault("internal"))

    async def _close(self, problem: Fault) -> None:
        self._closed = True
        try:
            await self._send({"type": "websocket.close", "code": close_code(problem), "reason": problem.code})
        except OSError:
            pass

    # -- commands in ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            body = text.encode() if text is not None else message.get("bytes") or b""
            if len(body) > self._service.max_body:
                await self._send({"type": "websocket.close", "code": 1009, "reason": "message too big"})
                return
            await self._obey(body)

    async def _obey(self, body: bytes) -> None:
        ref: str | None = None
        ARRIVED.set(time.monotonic())
        try:
            command = await parsed(read_object, body)
            ref = take(command, "ref", str, None)
            if ref is not None and len(ref) > REF_LONGEST:
                ref = None
                raise Refused("invalid_request", f"'ref' has at most {REF_LONGEST} characters", param="ref")
            kind = take(command, "type", str, "")
            act = COMMANDS.get(kind)
            if act is None:
                known = ", ".join(COMMANDS)
                raise Refused("unknown_command", f"no command is called {kind[:64]!r}; there are {known}", param="type")
            if kind != "authenticate":
                self._grant = self._service.gate.renew(self._grant)
            await act(self, command, ref)
        except Refused as problem:
            self._refused(problem.fault.code)
            await self._error(problem.fault, ref)
            if problem.fault.code == "unauthenticated":
                await self._close(problem.fault)

    async def _start(self, command: dict[str, Json], ref: str | None) -> None:
        if ref is None:
            raise Refused(
                "invalid_request", "'start' needs a 'ref', so that its answer can be told from others", param="ref"
            )
        if ref in self._refs:
            raise Refused(
                "duplicate_ref", f"the ref {ref[:64]!r} began a run on this socket before; choose another", param="ref"
            )
        dialect = self._dialect(command)
        asked = take(command, "request", dict, None)
        if asked is None:
            raise Refused("invalid_request", "'start' needs a 'request': {model, messages | prompt}", param="request")
        key = take(command, "key", str, "") or ""
        _nothing_else(command, "start")
        service, route = self._service, self._route
        body = _encode(asked)

        async def begun() -> RunHandle:
            admit(service, route, self._grant, reads=True)
            request = await parsed(route.dialect.parse, body)
            return await begin(service, route, request, self._grant, keyed=bool(key), transport="websocket")

        handle = (
            await service.runs.keys.once(self._grant.principal, route.path, key, body, begun) if key else await begun()
        )
        if len(self._refs) >= MOST_REFS:
            self._refs = {known: run for known, run in self._refs.items() if run in self._turns.lanes}
        self._refs[ref] = handle.id
        answer: dict[str, Json] = {"type": "started", "ref": ref, "stream": handle.id, "id": handle.cursor(0)}
        if token := service.gate.token(handle, "read"):
            answer["events_url"] = f"{self._scope.get('root_path', '')}/v1/streams/{handle.id}/events{token}"
        if handle.id in self._turns.lanes:
            await self._say(answer)  # asked again with its key: the socket reads the run already, and goes on
            return
        place = handle.place(None)
        check_joins(dialect, handle, place)
        await self._join(handle, place, dialect, answer)

    async def _attach(self, command: dict[str, Json], ref: str | None) -> None:
        dialect = self._dialect(command)
        after = take(command, "after", str, "")
        cursor = parse_cursor(after) if after else None
        handle = self._handle(command)
        _nothing_else(command, "attach")
        if handle.id in self._turns.lanes:
            raise Refused("invalid_request", "this socket reads the stream already; detach first", param="stream")
        if cursor is not None and cursor.run != handle.id:
            raise Refused("bad_cursor", "the cursor belongs to another stream", param="after")
        place = handle.place(cursor)
        check_joins(dialect, handle, place)
        if cursor is not None:
            told = "ended" if at_end(handle, place) else "replayed"
            self._service.runs.observer.resumed("gap" if place.gap is not None else told)
        await self._join(handle, place, dialect, {"type": "ok", "ref": ref, "stream": handle.id})

    async def _join(self, handle: RunHandle, place: Place, dialect: Dialect, answer: dict[str, Json]) -> None:
        self._service.gate.check_reader(self._service.runs, handle, self._grant)
        reader = self._service.runs.attach(handle, place.after, transport="websocket")
        connection = self._connection
        if connection is not None:
            reader.progress = partial(progress, connection.transport)
        view = View(
            run=handle.id,
            model=handle.request.model,
            created=handle.created,
            include_usage=handle.request.include_usage,
            sentinel=False,
            binary=True,
            echo=handle.request.echo,
        )
        manner = SocketManner(dialect, view, connection is not None)
        stream = pipeline(dialect, view, manner.encoder(), handle, place)
        pack: Callable[[list[str | bytes]], Sequence[str | bytes]] = list if connection is None else framed
        teller = Teller(handle, reader, stream, manner=manner, pack=pack)
        lane = Lane(teller, pack(retold(dialect, stream, place)))
        # In the table before the answer is sent: the socket may close in that moment, and takes its lanes with it.
        self._turns.lanes[handle.id] = lane
        await self._say(answer)
        self._turns.add(lane)

    async def _detach(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        _nothing_else(command, "detach")
        lane = self._turns.lanes.get(handle.id)
        if lane is not None:
            self._turns.remove(lane, "left")
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})
        await self._close_when_told()

    async def _cancel(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        _nothing_else(command, "cancel")
        self._service.runs.cancel(handle)
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})

    async def _input(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        if "body" not in command:
            raise Refused("invalid_request", "'input' needs a 'body': any JSON value", param="body")
        body = command.pop("body")
        _nothing_else(command, "input")
        self._service.runs.input(handle, body)
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})

    async def _authenticate(self, command: dict[str, Json], ref: str | None) -> None:
        """Go on with a fresh key, so that streams need not be cut when one expires."""
        key = take(command, "key", str, "") or ""
        _nothing_else(command, "authenticate")
        grant = await self._service.gate.enter(self._scope, key)
        if grant.principal != self._grant.principal:
            raise Refused("forbidden", "this socket belongs to another owner; open another one")
        self._grant = grant
        await self._say({"type": "ok", "ref": ref})

    async def _ping(self, command: dict[str, Json], ref: str | None) -> None:
        _nothing_else(command, "ping")
        await self._say({"type": "pong", "ref": ref})

    def _handle(self, command: dict[str, Json]) -> RunHandle:
        stream = take(command, "stream", str, "")
        if not stream:
            raise Refused("invalid_request", "the command needs a 'stream': the id that 'started' gave", param="stream")
        return self._service.runs.find(stream, self._grant.principal)

    def _dialect(self, command: dict[str, Json]) -> Dialect:
        name = take(command, "dialect", str, None)
        if name is None:
            return self._route.dialect
        if name not in self._service.dialects:
            known = ", ".join(self._service.dialects)
            raise Refused("unknown_dialect", f"no dialect is called {name[:64]!r}; there are {known}", param="dialect")
        return self._service.dialects[name]

    async def _say(self, message: dict[str, Json]) -> None:
        if self._closed:
            return  # a command that was on its way: the close is its answer
        text = _encode({name: value for name, value in message.items() if value is not None}).decode()
        await self._send({"type": "websocket.send", "text": text})

    async def _error(self, fault: Fault, ref: str | None) -> None:
        message: dict[str, Json] = {"type": "error", "ref": ref, "code": fault.code, "message": fault.message}
        message["retryable"] = fault.retryable
        message["retry_after"] = fault.retry_after
        message["param"] = fault.param
        await self._say(message)

    # -- messages out -----------------------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        try:
            await self._write()
        except OSError:
            pass  # the client left, as whoever reads is told
        except Exception as problem:  # noqa: BLE001 - as in `run`; the close ends the reading too
            await self._fail(problem)

    async def _write(self) -> None:
        while True:
            lane = await self._turns.next()
            reader, handle = lane.reader, lane.handle
            messages = lane.take()
            fitting = _fitting(messages, handle.policy.bounds.turn_bytes)
            messages, lane.pending = messages[:fitting], messages[fitting:]
            if self._connection is None:
                for message in messages:
                    await self._send(
                        {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}
                    )
            elif messages and not self._connection.write(b"".join(messages)):  # type: ignore[arg-type]  # they are framed
                await self._connection.drained()
            self._turns.over(lane)
            if lane.pending:
                # What frames add to a turn, and what could not be merged, waits for the next: others may be ready.
                self._turns.mark(lane)
                await asyncio.sleep(0)
            elif reader.finished:
                if lane.teller.terminal is None and reader.attached:
                    # It joined at the end: there was nothing left to say, so say that.
                    await self._gone(handle, reader.offset, "ended")
                self._turns.remove(lane, "done")
                await self._close_when_told()
            elif not reader.attached:
                if reader.dropped is not None:
                    await self._gone(handle, reader.offset, reader.dropped.code)
                self._turns.remove(lane, "left")
                await self._close_when_told()
            elif handle.log.shown > reader.offset:
                self._turns.mark(lane)
                await asyncio.sleep(0)

    async def _gone(self, handle: RunHandle, offset: int, reason: str) -> None:
        await self._say({"type": "detached", "stream": handle.id, "reason": reason, "id": handle.cursor(offset)})


COMMANDS: dict[str, Callable[[Socket, dict[str, Json], str | None], Awaitable[None]]] = {
    "start": Socket._start,
    "attach": Socket._attach,
    "detach": Socket._detach,
    "cancel": Socket._cancel,
    "input": Socket._input,
    "ping": Socket._ping,
    "authenticate": Socket._authenticate,
}


def _nothing_else(command: dict[str, Json], kind: str) -> None:
    if command:
        name = next(iter(command))[:64]
        raise Refused("invalid_request", f"the command {kind!r} has no member {name!r}", param=name)


def _fitting(messages: Sequence[str | bytes], turn: int) -> int:
    """How many messages fit into so many bytes: at least one, where there is one."""
    for number, message in enumerate(messages):
        turn -= len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
        if turn < 0 and number:
            return number
    return len(messages)


def close_code(fault: Fault) -> int:
    """The close code of an error, for a socket that cannot go on."""
    return TABLE[fault.code].close
