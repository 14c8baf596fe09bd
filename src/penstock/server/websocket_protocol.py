"""One WebSocket connection: uvicorn's protocol, patient with slow clients.

Checked against uvicorn 0.54.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Coroutine
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from penstock.server.exchange import EXTENSION
from penstock.server.lean import Messages, Signal


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

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][EXTENSION] = self  # type: ignore[index]

    def authenticated(self) -> None:
        """Somebody answers for this client: its messages may be as large as any body."""
        self.conn.max_message_size = self.config.ws_max_size

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
