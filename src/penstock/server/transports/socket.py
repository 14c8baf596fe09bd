"""One WebSocket connection, whatever is spoken on it: the handshake, messages in, runs out in fair turns, the goodbye, the close.

One task reads, another writes. A protocol on it says what its messages mean, and how errors and farewells are told.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypedDict, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.auth.grant import ANYBODY
from penstock.core.body import read_object, take
from penstock.core.errors import TABLE, Refused, fault
from penstock.core.events import Fault, Json
from penstock.core.observer import ARRIVED
from penstock.encoders.stream import Stream
from penstock.flow.handle import Place, RunHandle
from penstock.flow.reader import Reader
from penstock.server import deadlines, hints
from penstock.server.door import parsed
from penstock.server.exchange import EXTENSION
from penstock.server.progress import progress
from penstock.server.service import Route, Service
from penstock.server.telling import Manner, Teller
from penstock.server.transports.handshake import opened
from penstock.server.transports.turns import Lane, Turns
from penstock.server.websocket_frames import framed

encode = msgspec.json.Encoder().encode

T = TypeVar("T")


class Wishes(TypedDict):
    """As `door.begin` takes them."""

    patience: str
    hint: str


class SocketConnection(Protocol):
    """What our host knows of a socket that ASGI has no words for."""

    transport: asyncio.Transport

    def write(self, frames: bytes) -> bool:
        """Write whole frames; whether the connection keeps up. If not, await `drained`. Raises `OSError` where it is closed."""

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""


class Socket(ABC):
    """From the handshake to the close. `late` keys may come in the first message."""

    late = True

    def __init__(self, service: Service, route: Route, scope: Scope, receive: Receive, send: Send):
        self._service = service
        self._path = route.path
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: SocketConnection | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._turns: Turns[str | bytes] = Turns()
        self._grant = ANYBODY
        headers = dict(scope["headers"])
        self._wishes: Wishes = {
            "patience": headers.get(deadlines.HEADER.encode(), b"").decode("latin-1"),
            "hint": headers.get(hints.HEADER.encode(), b"").decode("latin-1"),
        }
        """What the handshake says of limits and of routing holds for every run that is begun here."""
        self._goodbye: asyncio.Task[None] | None = None
        self._parting = False
        """The client was told that the server goes: the socket closes once it has nothing left to tell."""
        self._closed = False

    # -- what a protocol says ------------------------------------------------------------------------------------------------

    @abstractmethod
    def _serves(self, route: Route) -> bool:
        """Whether this route is the one of this socket, at the path it was opened at."""

    @abstractmethod
    def _name(self, message: dict[str, Json]) -> str | None:
        """Take out of a message what its sender calls it by, which stands in the answer too. Raises `Refused`."""

    @abstractmethod
    async def _do(self, kind: str, message: dict[str, Json], name: str | None) -> None:
        """Do what a message of this type says. Raises `Refused` and `OSError`."""

    @abstractmethod
    async def _error(self, problem: Fault, name: str | None) -> None:
        """Tell what was wrong with a message. Raises `OSError`."""

    @abstractmethod
    async def _farewell(self) -> None:
        """Nothing new begins here any more: say so, if there are words for it."""

    @abstractmethod
    async def _last_words(self) -> None:
        """The server goes and nothing is left to tell: what is said right before the close."""

    @abstractmethod
    async def _gone(self, lane: Lane[str | bytes], reason: str) -> None:
        """A run is told no further, though the socket lives."""

    @abstractmethod
    def _over(self, handle: RunHandle) -> None:
        """A run has left the socket, told to its end or not."""

    # -- the connection --------------------------------------------------------------------------------------------------------

    @property
    def _route(self) -> Route:
        """As the configuration has it now: the socket may be older. Raises `Refused`."""
        for route in self._service.routes:
            if route.path == self._path and self._serves(route):
                return route
        raise Refused("route_not_found", "this route is no longer served: the configuration was changed")

    async def run(self) -> None:
        """Serve the connection until it closes. Raises `Refused` where it may not open."""
        await self._receive()
        try:
            grant = await opened(
                self._service.gate,
                self._scope,
                self._receive,
                self._send,
                refused=self._refused,
                longest=self._service.connection_limits.strange_message_bytes,
                late=self.late,
            )
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
        farewells = self._service.runs.admission.farewells
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

    @property
    def _idle(self) -> bool:
        """Nothing is told, and nothing is about to be."""
        return not self._turns.lanes

    def _part(self) -> None:
        self._goodbye = asyncio.get_running_loop().create_task(self._say_goodbye(), name="goodbye")

    async def _say_goodbye(self) -> None:
        await self._farewell()
        self._parting = True
        await self._close_when_told()

    async def _close_when_told(self) -> None:
        if self._parting and self._idle and not self._closed:
            self._parting = False  # said once, whoever tells the last of it
            await self._last_words()
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
            ARRIVED.set(time.monotonic())
            await self._obey(body)

    async def _obey(self, body: bytes) -> None:
        """Do what a message says; whatever is wrong with it is answered, and the socket lives. Raises `OSError`."""
        name: str | None = None
        try:
            message = await parsed(read_object, body)
            name = self._name(message)
            await self._do(take(message, "type", str, "") or "", message, name)
        except Refused as problem:
            await self._refuse(problem.fault, name)
            if problem.fault.code == "unauthenticated":
                await self._close(problem.fault)

    async def _refuse(self, problem: Fault, name: str | None) -> None:
        self._refused(problem.code)
        await self._error(problem, name)

    def _renew(self) -> None:
        """The key may have expired since it was looked at. Raises `Refused`."""
        self._grant = self._service.gate.renew(self._grant)

    async def _say(self, message: dict[str, Json]) -> None:
        """Send a message of the socket's own; members that are None are left out."""
        if self._closed:
            return  # a command that was on its way: the close is its answer
        text = encode({name: value for name, value in message.items() if value is not None}).decode()
        await self._send({"type": "websocket.send", "text": text})

    # -- runs out --------------------------------------------------------------------------------------------------------------

    @property
    def _framed(self) -> bool:
        """Frames are written past ASGI."""
        return self._connection is not None

    @property
    def _pack(self) -> Callable[[list[str | bytes]], Sequence[str | bytes]]:
        return list if self._connection is None else framed

    def _reader(self, handle: RunHandle, place: Place) -> Reader:
        """A reader of a run. Raises `Refused` where its owner reads as much as may be."""
        self._service.gate.check_reader(self._service.runs, handle, self._grant)
        reader = self._service.runs.attach(handle, place.after, transport="websocket")
        if self._connection is not None:
            reader.progress = partial(progress, self._connection.transport)
        return reader

    def _lane(
        self,
        handle: RunHandle,
        reader: Reader,
        stream: Stream[str | bytes],
        *,
        manner: Manner[str | bytes] | None,
        first: list[str | bytes],
    ) -> Lane[str | bytes]:
        """A lane for a run, which begins to be told when it is added to the turns. It leaves with the socket from now on."""
        teller = Teller(handle, reader, stream, manner=manner, pack=self._pack)
        lane = Lane(teller, self._pack(first))
        self._turns.lanes[handle.id] = lane
        return lane

    async def _remove(self, lane: Lane[str | bytes], reason: str) -> None:
        self._turns.remove(lane, reason)
        self._over(lane.handle)
        await self._close_when_told()

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
                    await self._gone(lane, "ended")
                await self._remove(lane, "done")
            elif not reader.attached:
                if reader.dropped is not None:
                    await self._gone(lane, reader.dropped.code)
                await self._remove(lane, "left")
            elif handle.log.shown > reader.offset:
                self._turns.mark(lane)
                await asyncio.sleep(0)


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


def known(kind: str, acts: Mapping[str, T], of: str) -> T:
    """What a message of this type does; `of` is what messages are called. Raises `Refused`."""
    if (act := acts.get(kind)) is None:
        there = ", ".join(acts)
        raise Refused("unknown_command", f"no {of} is called {kind[:64]!r}; there are {there}", param="type")
    return act


def nothing_else(members: dict[str, Json], of: str) -> None:
    """Raise `Refused` where a message still has members after those that it may have were taken; `of` is what it is called."""
    if members:
        name = next(iter(members))[:64]
        raise Refused("invalid_request", f"the {of} has no member {name!r}", param=name)
