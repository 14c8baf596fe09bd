"""The native protocol on a WebSocket: many runs on one socket, each command answered.

A malformed or unknown message gets a typed error and the socket lives.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.core.body import take
from penstock.core.cursor import parse_cursor
from penstock.core.errors import Refused
from penstock.core.events import Fault, Json
from penstock.core.frame import Dialect, View
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.flow.handle import Place, RunHandle
from penstock.server.door import admit, at_end, begin, parsed
from penstock.server.joining import check_joins, pipeline, retold
from penstock.server.media import reading
from penstock.server.service import Route, Service
from penstock.server.transports.socket import Socket, encode, known, nothing_else
from penstock.server.transports.turns import Lane

REF_LONGEST = 128
MOST_REFS = 1000
"""Refs that are remembered; beyond, those whose run this socket no longer reads may be used again."""


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


class NativeSocket(Socket):
    """The native protocol: `protocols/native/SPEC.md`."""

    def __init__(self, service: Service, route: Route, scope: Scope, receive: Receive, send: Send):
        super().__init__(service, route, scope, receive, send)
        self._refs: dict[str, str] = {}

    def _serves(self, route: Route) -> bool:
        return route.transports == ("websocket",)

    async def _farewell(self) -> None:
        """The client should open another socket, not all clients in the same moment."""
        retry_ms = self._service.retry_ms
        await self._say({"type": "goaway", "retry_ms": retry_ms + secrets.randbelow(retry_ms + 1)})

    async def _last_words(self) -> None:
        """It was told before."""

    async def _gone(self, lane: Lane[str | bytes], reason: str) -> None:
        handle, offset = lane.handle, lane.reader.offset
        await self._say({"type": "detached", "stream": handle.id, "reason": reason, "id": handle.cursor(offset)})

    def _over(self, handle: RunHandle) -> None:
        """It can be attached to again."""

    # -- commands in ------------------------------------------------------------------------------------------------------

    def _name(self, message: dict[str, Json]) -> str | None:
        ref = take(message, "ref", str, None)
        if ref is not None and len(ref) > REF_LONGEST:
            raise Refused("invalid_request", f"'ref' has at most {REF_LONGEST} characters", param="ref")
        return ref

    async def _do(self, kind: str, message: dict[str, Json], name: str | None) -> None:
        act = known(kind, COMMANDS, "command")
        if kind != "authenticate":
            self._renew()
        await act(self, message, name)

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
        nothing_else(command, "command 'start'")
        service, route = self._service, self._route
        body = encode(asked)

        async def begun() -> RunHandle:
            admit(service, route, self._grant, reads=True)
            request = await parsed(reading(route.dialect.parse, service.max_media), body)
            return await begin(
                service, route, request, self._grant, keyed=bool(key), transport="websocket", **self._wishes
            )

        handle = (
            await service.runs.keys.once(self._grant.principal, route.path, key, body, begun) if key else await begun()
        )
        if len(self._refs) >= MOST_REFS:
            self._refs = {told: run for told, run in self._refs.items() if run in self._turns.lanes}
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
        nothing_else(command, "command 'attach'")
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
        reader = self._reader(handle, place)
        view = msgspec.structs.replace(handle.view, sentinel=False, binary=True)
        manner = SocketManner(dialect, view, self._framed)
        stream = pipeline(dialect, view, manner.encoder(), handle, place)
        # In the table before the answer is sent: the socket may close in that moment, and takes its lanes with it.
        lane = self._lane(handle, reader, stream, manner=manner, first=retold(dialect, stream, place))
        await self._say(answer)
        self._turns.add(lane)

    async def _detach(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        nothing_else(command, "command 'detach'")
        lane = self._turns.lanes.get(handle.id)
        if lane is not None:
            self._turns.remove(lane, "left")
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})
        await self._close_when_told()

    async def _cancel(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        nothing_else(command, "command 'cancel'")
        self._service.runs.cancel(handle)
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})

    async def _input(self, command: dict[str, Json], ref: str | None) -> None:
        handle = self._handle(command)
        if "body" not in command:
            raise Refused("invalid_request", "'input' needs a 'body': any JSON value", param="body")
        body = command.pop("body")
        nothing_else(command, "command 'input'")
        self._service.runs.input(handle, body)
        await self._say({"type": "ok", "ref": ref, "stream": handle.id})

    async def _authenticate(self, command: dict[str, Json], ref: str | None) -> None:
        """Go on with a fresh key, so that streams need not be cut when one expires."""
        key = take(command, "key", str, "") or ""
        nothing_else(command, "command 'authenticate'")
        grant = await self._service.gate.enter(self._scope, key)
        if grant.principal != self._grant.principal:
            raise Refused("forbidden", "this socket belongs to another owner; open another one")
        self._grant = grant
        await self._say({"type": "ok", "ref": ref})

    async def _ping(self, command: dict[str, Json], ref: str | None) -> None:
        nothing_else(command, "command 'ping'")
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
            there = ", ".join(self._service.dialects)
            raise Refused("unknown_dialect", f"no dialect is called {name[:64]!r}; there are {there}", param="dialect")
        return self._service.dialects[name]

    async def _error(self, problem: Fault, name: str | None) -> None:
        message: dict[str, Json] = {"type": "error", "ref": name, "code": problem.code, "message": problem.message}
        message["retryable"] = problem.retryable
        message["retry_after"] = problem.retry_after
        message["param"] = problem.param
        await self._say(message)


COMMANDS: dict[str, Callable[[NativeSocket, dict[str, Json], str | None], Awaitable[None]]] = {
    "start": NativeSocket._start,
    "attach": NativeSocket._attach,
    "detach": NativeSocket._detach,
    "cancel": NativeSocket._cancel,
    "input": NativeSocket._input,
    "ping": NativeSocket._ping,
    "authenticate": NativeSocket._authenticate,
}
