"""Our host around uvicorn: the listening socket's options, connections that can be cut and watched, signals, and the end.

Checked against uvicorn 0.54. uvicorn waits for open responses before it tells the application that it goes; so the drain
is begun here, by the signal, and uvicorn stops only when no run is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from penstock.core.errors import fault
from penstock.server.app import App
from penstock.server.exchange import EXTENSION
from penstock.server.lean import Flow, Messages, Queue, Signal
from penstock.server.problems import problem

KiB = 1024
WRITE_BUFFER = 16 * KiB
"""Bytes of a connection that may wait in this process before a write waits."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with zero seconds: closing sends RST (socket(7))."""

USER_TIMEOUT = 30_000
"""Milliseconds after which the kernel gives up on data that nobody acknowledges (tcp(7), TCP_USER_TIMEOUT)."""


def listen(host: str, port: int, *, send_buffer: int = 64 * KiB) -> socket.socket:
    """A listening socket whose connections push back early. Raises `OSError` where the address is taken or not ours.

    Accepted sockets inherit the options. With Linux's own buffers megabytes of small events vanish into the kernel before
    a write ever waits.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


UNREADABLE = (
    "this cannot be read as HTTP/1.1; a URL is at most 64 KiB of ASCII (other characters are written as %C3%A9),"
    " and headers hold no control characters"
)


class OldCycle(RequestResponseCycle):
    """A request of an HTTP/1.0 client, which knows no chunks (RFC 9112 §6.1): its body ends with the connection."""

    _unsized = False

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            self._unsized = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if self._unsized:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._unsized:
            # uvicorn counts what is left of a body: here there is more to come, or nothing.
            self.expected_content_length = len(message.get("body", b"")) + message.get("more_body", False)
        await super().send(message)


class Line:
    """One request's view of its connection: what ASGI has no words for. A pipelined request behind it is another `Line`."""

    __slots__ = ("_cycle", "_gone", "_transport")

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport):
        self._cycle = cycle
        self._transport = transport
        self._gone: Callable[[], None] | None = None

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` once when the client leaves before its response is complete."""
        if self._cycle.disconnected:
            gone()
        else:
            self._gone = gone

    def unwatch(self) -> None:
        self._gone = None

    def lost(self) -> None:
        """The client has left."""
        self._cycle.disconnected = True
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def write(self, body: bytes) -> bool:
        """As `cycle.send`, without its messages and checks; whether the connection keeps up."""
        cycle = self._cycle
        if not cycle.disconnected:
            self._transport.write(b"%x\r\n%b\r\n" % (len(body), body) if cycle.chunked_encoding else body)
        return not cycle.flow.write_paused or cycle.disconnected

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""
        await self._cycle.flow.drain()

    def cut(self) -> None:
        """End without the zero chunk, after what is buffered; where there are no chunks, with a reset."""
        self._cycle.disconnected = True  # uvicorn takes the response for given up, and logs nothing
        if isinstance(self._cycle, OldCycle):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.close()

    def abort(self) -> None:
        """End now."""
        self._cycle.disconnected = True
        self._transport.abort()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, which gives every request its `Line`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pipeline = Queue()  # type: ignore[assignment]
        self._lines: list[Line] = []
        """Of the requests that are not answered yet, in their order; more than one where the client pipelines."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.flow = Flow(transport)

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.flow, self.cycle.message_event = self.flow, Signal()
            if self.parser.get_http_version() == "1.0":
                self.cycle.__class__ = OldCycle  # uvicorn makes it and offers no way to say of which class
            line = Line(self.cycle, self.transport)
            self._lines.append(line)
            self.scope["extensions"] = {EXTENSION: line}  # type: ignore[dict-item]

    def send_400_response(self, msg: str) -> None:
        """Say in our words that this is no HTTP. Behind a request whose answer is not complete there is no place for words."""
        if not self._lines:
            body = problem(fault("invalid_request", UNREADABLE), "")
            head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close" % len(body)
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n\r\n%b" % (head, body))
        self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.pipeline:
            # A large body has paused reading, and nobody else resumes it: the client could leave unseen.
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self._lines.pop(0)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for line in self._lines:
            line.lost()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, patient with slow clients, and without an error in our log for what a client did wrong."""

    _unsent = 0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.queue = Messages()  # type: ignore[assignment]
        self.writable = Signal()
        self.writable.set()

    @property
    def handshake_complete(self) -> bool:
        """A handshake that was answered with an HTTP response is complete too; uvicorn takes it for forgotten."""
        return self._complete or (self.initial_response is not None and self.close_sent)

    @handshake_complete.setter
    def handshake_complete(self, complete: bool) -> None:
        self._complete = complete

    def send_keepalive_ping(self) -> None:
        self._unsent = self._waiting()
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """A slow client's pong waits behind all it has not read: as long as that grows less or more, it lives."""
        before, self._unsent = self._unsent, self._waiting()
        if self._unsent != before and self.ping_timeout is not None:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()
            self.transport.abort()  # closing waits for what nobody reads

    def _waiting(self) -> int:
        """Bytes written that the client's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        if self.transport.is_closing():
            raise ClientDisconnected  # else every message of a turn is one more warning in the log
        return super().send(message)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


class Host(uvicorn.Server):
    """A uvicorn server that drains its runs before it stops."""

    def __init__(self, app: App, *, drain: float, on_listening: Callable[[], None] = lambda: None, **options: Any):
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws=WebSocketProtocol,
            ws_per_message_deflate=False,
            ws_max_size=app.service.max_body,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            lifespan="on",
            timeout_graceful_shutdown=2,
            **options,
        )
        super().__init__(config)
        self._app = app
        self._drain = drain
        self._on_listening = on_listening
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal drains, the second ends at once."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining is not None:
            self._app.service.runs.abandon()
            self.should_exit = self.force_exit = True
            return
        self._draining = asyncio.get_running_loop().create_task(self._go())

    async def _go(self) -> None:
        await self._app.service.runs.drain(self._drain)
        self.should_exit = True
