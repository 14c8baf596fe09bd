"""One WebSocket connection: uvicorn's protocol with limits to what a client sends, and pings that are patient with slow ones.

Checked against uvicorn 0.54 and websockets 17.4; a test names all of theirs that this leans on.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import random
import struct
import sys
import termios
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from penstock.core.errors import fault
from penstock.server.connections import LINGER, PACE, Connections
from penstock.server.exchange import EXTENSION, request_id
from penstock.server.lean import WEBSOCKET_SLOTS, Messages, Signal
from penstock.server.problems import problem
from penstock.server.progress import progress

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

CONTROL_RATE = 10
"""Pings and unasked pongs a client may send per second, after a burst of twice as many."""

FEW_FRAGMENTS = 1000
SMALLEST_FRAGMENT = 16
"""A message may come in a few fragments of any size; beyond, they have so many bytes on average."""

_logger = logging.getLogger("uvicorn.error.websocket")
_logger.setLevel(logging.WARNING)  # uvicorn would log the whole URL of each, which may hold a ticket


class Rules(ServerProtocol):
    """websockets' protocol, which refuses a handshake in our words and lets a client leave in the middle of its message."""

    _request_id = ""

    def accept(self, request: Request) -> Response:
        self._request_id = request_id(request.headers.get("X-Request-Id", ""))
        response = super().accept(request)
        response.headers["X-Request-Id"] = self._request_id
        return response

    def reject(self, status: Any, text: str) -> Response:
        response = super().reject(status, text)
        codes = {405: "method_not_allowed", 426: "upgrade_required", 500: "internal"}
        told = fault(codes.get(response.status_code, "invalid_request"), " ".join(text.split()))
        response.body = problem(told, self._request_id)
        response.headers = Headers(
            [
                ("Content-Type", "application/problem+json"),
                ("Content-Length", str(len(response.body))),
                ("Cache-Control", "no-store"),
                ("Connection", "close"),
            ]
        )
        return response

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # RFC 6455 §5.5.1 asks for no more than an end
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, without timers, and without an error in our log for what a client did wrong."""

    __slots__ = (
        *WEBSOCKET_SLOTS,
        "_complete",
        "_controls",
        "_controls_at",
        "_deaf",
        "_gathered",
        "_moved",
        "_parting",
        "_shared",
        "_unfinished",
        "due",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        client: tuple[str, int] | None = None,
    ):
        super().__init__(config, server_state, app_state, _loop)
        self.client = client
        self._shared = cast("Connections", server_state)
        self.logger = _logger
        self.conn = Rules(max_size=self._shared.limits.strange_message_bytes, logger=_logger)
        self.queue = Messages()  # type: ignore[assignment]
        self.writable = Signal()
        self.writable.set()
        self.due = math.inf
        self._moved = 0
        """What was outstanding, or acknowledged, when the client was last looked at."""
        self._controls = 2.0 * CONTROL_RATE
        """Control frames it may send now, as of `_controls_at`."""
        self._controls_at = 0.0
        self._gathered = 0
        """Bytes of the fragments so far."""
        self._unfinished: float | None = None
        """Since when a message has been coming."""
        self._deaf = False
        """Nothing more is read, whatever comes."""
        self._parting = False

    @property
    def handshake_complete(self) -> bool:
        """A handshake that was answered with an HTTP response is complete too; uvicorn takes it for forgotten."""
        return self._complete or (self.initial_response is not None and self.close_sent)

    @handshake_complete.setter
    def handshake_complete(self, complete: bool) -> None:
        self._complete = complete

    def authenticated(self) -> None:
        """Somebody answers for this client: its messages may be as large as any body."""
        self.conn.max_message_size = self._shared.limits.message_bytes

    def start_keepalive(self) -> None:
        super().start_keepalive()
        # The handshake is over; its headers would take three KiB for as long as the socket lives.
        del self.request, self.response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = self.client
        super().connection_made(transport)
        self.client = client or self.client

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._shared.left(self.client[0] if self.client else "")

    # -- what comes -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        super().data_received(data)
        if not self.handshake_initiated:
            self.transport.close()  # it reached us as a whole, and was none
        elif not self.frames and not self.conn.reader.buffer:
            self._unfinished = None
        elif self._unfinished is None:
            self._unfinished = self.loop.time()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"] = {**(self.scope["extensions"] or {}), EXTENSION: self}  # type: ignore[dict-item]
            self.scope["headers"] = [
                *((name, value) for name, value in self.scope["headers"] if name != b"x-request-id"),
                (b"x-request-id", self.response.headers["X-Request-Id"].encode()),
            ]
        else:
            self._shared.observer.connection_dropped("bad_handshake")

    def handle_text(self, event: Frame) -> None:
        self._gathered = len(event.data)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._gathered = len(event.data)
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        self._gathered += len(event.data)
        super().handle_cont(event)
        if len(self.frames) > FEW_FRAGMENTS and self._gathered < SMALLEST_FRAGMENT * len(self.frames):
            self._fail(1008, "too many small fragments", "fragment_flood")

    def handle_ping(self) -> None:
        if not self._deaf:
            super().handle_ping()
            self._count_control()

    def handle_pong(self, event: Frame) -> None:
        if self.pending_ping_payload is not None and bytes(event.data) == self.pending_ping_payload:
            self.pending_ping_payload = None
            self.due = self.loop.time() + (self._shared.limits.ping_seconds)
        elif not self._deaf:
            self._count_control()

    def _count_control(self) -> None:
        now = self.loop.time()
        self._controls = min(2.0 * CONTROL_RATE, self._controls + (now - self._controls_at) * CONTROL_RATE) - 1
        self._controls_at = now
        if self._controls < 0:
            self._fail(1008, f"more than {CONTROL_RATE} control frames a second", "control_flood")

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(1007, "not UTF-8", "bad_utf8")
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        code = self.conn.close_sent.code if self.conn.close_sent is not None else 1006
        self._end("message_too_large" if code == 1009 else "websocket_violation")

    def _fail(self, code: int, reason: str, cause: str) -> None:
        if not self.close_sent:
            self.conn.fail(code, reason)
            self._end(cause)

    def _end(self, cause: str) -> None:
        """Send the close frame that was put together, and listen no more; soon the connection is gone too."""
        self._shared.observer.connection_dropped(cause)
        sent = self.conn.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.frames = []
        self._deaf = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Without a timer of its own uvicorn closes at once, and what is still coming in would take the close frame with it.
        self.close_timer = self.loop.call_later(LINGER, self.transport.abort)

    # -- what goes --------------------------------------------------------------------------------------------------------

    def write(self, frames: bytes) -> bool:
        """Write whole frames; whether the connection keeps up. Raises `ClientDisconnected` where nothing may follow."""
        if self.close_sent or self._deaf or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(frames)
        return self.writable.is_set()

    async def drained(self) -> None:
        """Wait until the connection has room again, or is gone."""
        await self.writable.wait()

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        if self._deaf or self.transport.is_closing():
            raise ClientDisconnected  # else every message of a turn is one more warning in the log
        return super().send(message)

    # -- time -------------------------------------------------------------------------------------------------------------

    def schedule_ping(self) -> None:
        self.due = self.loop.time() + (self._shared.limits.ping_seconds)

    def overdue(self, now: float) -> None:
        """Time for a ping, or for its pong. Called by the one timer of all connections."""
        if self.close_sent or self.transport.is_closing():
            self._await_end(now)
        elif self._is_too_slow(now):
            self._fail(1008, "the message took too long", "message_timeout")
        elif self.pending_ping_payload is None:
            self.pending_ping_payload = struct.pack("!I", random.getrandbits(32))
            self.conn.send_ping(self.pending_ping_payload)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self._await_pong(now)
        elif self._waiting() and progress(self.transport) != self._moved:
            self._await_pong(now)  # its pong comes behind all it has not read yet
        else:
            self._shared.observer.connection_dropped("ping_timeout")
            self.conn.fail(1011, "keepalive ping timeout")
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.abort()

    def _await_end(self, now: float) -> None:
        """A client that neither takes its close frame nor answers it is not waited for."""
        if self._parting:
            self.transport.abort()
        else:
            self._parting = True
            self.due = now + self.close_timeout

    def _await_pong(self, now: float) -> None:
        self._moved = progress(self.transport)
        self.due = now + (self._shared.limits.pong_seconds)

    def _is_too_slow(self, now: float) -> bool:
        if self._unfinished is None or self.read_paused:
            return False
        received = self._gathered * bool(self.frames) + len(self.conn.reader.buffer)
        return now > self._unfinished + self._shared.limits.body_seconds + received / PACE

    def _waiting(self) -> int:
        """Bytes written that the client's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)
