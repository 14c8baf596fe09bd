"""Light stand-ins for what uvicorn holds per connection: each of its events and queues keeps one to three empty deques of 760 bytes.

They do what uvicorn's own do, and cost nothing until somebody waits. Checked against uvicorn 0.54.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from uvicorn.protocols.http.flow_control import FlowControl

T = TypeVar("T")

# What uvicorn's connections hold, to be kept in slots. With what ours hold beside it there are more than the thirty names
# that dictionaries of one class share (CPython, Objects/dictobject.c), and each connection would have a table of its own, of 2 KiB.
HTTP_SLOTS = (
    "access_log",
    "access_logger",
    "app",
    "app_state",
    "asgi_version",
    "client",
    "config",
    "connections",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "limit_concurrency",
    "logger",
    "loop",
    "parser",
    "pipeline",
    "root_path",
    "scheme",
    "scope",
    "server",
    "server_state",
    "tasks",
    "timeout_keep_alive",
    "timeout_keep_alive_task",
    "transport",
    "url",
    "ws_protocol_class",
)
WEBSOCKET_SLOTS = (
    "app",
    "app_state",
    "asgi_version",
    "client",
    "close_sent",
    "close_timeout",
    "close_timer",
    "config",
    "conn",
    "connections",
    "curr_msg_data_type",
    "default_headers",
    "disconnected",
    "frames",
    "handshake_initiated",
    "initial_response",
    "last_ping_rtt",
    "logger",
    "loop",
    "pending_ping_payload",
    "ping_interval",
    "ping_sent_at",
    "ping_timeout",
    "ping_timer",
    "pong_timer",
    "queue",
    "read_paused",
    "request",
    "response",
    "root_path",
    "scheme",
    "scope",
    "server",
    "tasks",
    "transport",
    "writable",
)


class Signal(asyncio.Event):
    """An `asyncio.Event` whose list of waiters is made by the first of them."""

    def __init__(self) -> None:
        self._value = False
        self._pending: list[asyncio.Future[bool]] = _NOBODY

    def set(self) -> None:
        self._value = True
        waiting, self._pending = self._pending, _NOBODY
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(True)

    async def wait(self) -> bool:  # type: ignore[override]
        if not self._value:
            if self._pending is _NOBODY:
                self._pending = []
            waiter = asyncio.get_running_loop().create_future()
            self._pending.append(waiter)
            await waiter
        return True


_NOBODY: list[asyncio.Future[bool]] = []


class Flow(FlowControl):
    """uvicorn's flow control with such an event, which also calls back."""

    def __init__(self, transport: asyncio.Transport):
        self.room: Callable[[], None] | None = None
        """Called once when there is room again, or the connection is gone."""
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable_event = Signal()
        self._is_writable_event.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.room is not None:
            room, self.room = self.room, None
            room()


class Messages(Generic[T]):
    """As much of an `asyncio.Queue` as uvicorn's WebSocket needs: one reader, and no bound of its own."""

    __slots__ = ("_arrived", "_items")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._arrived: asyncio.Future[None] | None = None

    def put_nowait(self, item: T) -> None:
        self._items.append(item)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def get(self) -> T:
        while not self._items:
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        return self._items.pop(0)

    def empty(self) -> bool:
        return not self._items


class Queue(list[T]):
    """As much of a deque as uvicorn's pipeline needs."""

    def appendleft(self, item: T) -> None:
        self.insert(0, item)
