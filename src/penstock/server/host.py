"""Our host around uvicorn: its settings, the signals, and the end.

uvicorn waits for open responses before it tells the application that it goes; so the drain is begun here, by the signal,
and uvicorn stops only when no run is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from penstock.server.app import App
from penstock.server.http_protocol import HttpProtocol
from penstock.server.websocket_protocol import WebSocketProtocol


class Host(uvicorn.Server):
    """A uvicorn server that drains its runs before it stops."""

    def __init__(self, app: App, *, drain: float, on_listening: Callable[[], None] = lambda: None, **options: Any):
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
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
