"""Our host around uvicorn: its settings, the signals, and how the server goes.

uvicorn waits for open responses before it tells the application that it goes. So the drain is begun here, by the signal,
and the end is ours too: it has to come in time, and after every reader was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from penstock.server.acceptor import Acceptor
from penstock.server.app import App
from penstock.server.connections import Connections
from penstock.server.http_protocol import HttpProtocol
from penstock.server.metrics import ScrapePort
from penstock.server.websocket_protocol import WebSocketProtocol

LAST_WORDS = 2.0
"""Seconds in which the readers of what was interrupted are told, and its sources close."""

MARGIN = 0.5
"""Seconds of a drain that belong to nobody, so that it is over in time."""

LOOK = 0.02
"""Seconds between two looks at whether the last connections have gone."""


class Host(uvicorn.Server):
    """A uvicorn server that lets its runs end before it goes.

    `drain` is how many seconds it may take to go; for the first `accept` of them it begins runs as ever. SIGHUP is
    `on_hangup`'s. Metrics are served on the listening socket `scraped_at` where there is one, to the end. With `tls` it
    speaks nothing else.
    """

    def __init__(
        self,
        app: App,
        *,
        drain: float,
        accept: float = 0.0,
        on_listening: Callable[[], None] = lambda: None,
        on_leaving: Callable[[], None] = lambda: None,
        on_hangup: Callable[[Host], None] = lambda host: None,
        scraped_at: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ):
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws=WebSocketProtocol,
            ws_per_message_deflate=False,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            lifespan="on",
            **options,
        )
        super().__init__(config)
        self.connections = Connections(app.service.connection_limits, app.service.runs.observer)
        self.server_state = self.connections
        self.tls = tls
        """Of the next handshake."""
        self.drain = drain
        self.accept = accept
        self._app = app
        self._on_listening = on_listening
        self._on_leaving = on_leaving
        self._on_hangup = on_hangup
        self._scraped_at = scraped_at
        self._scrape_port = ScrapePort(app.service) if scraped_at is not None else None
        app.service.connections = lambda: len(self.server_state.connections)
        self._going: asyncio.Task[None] | None = None
        self._began = 0.0
        self._hurry = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, but for the acceptor: one for each of `sockets`."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        make = partial(HttpProtocol, self.config, self.connections, self.lifespan.state)
        self.servers = [Acceptor(listener, make, self.connections, tls=lambda: self.tls) for listener in sockets or ()]  # type: ignore[misc]
        self.connections.start()
        self.started = True
        if self._scrape_port is not None and self._scraped_at is not None:
            await self._scrape_port.startup(sockets=[self._scraped_at])
        self._on_listening()

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Go by what the application's limits are now, and by this certificate."""
        self.connections.renew(self._app.service.connection_limits)
        self.tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains, the second ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _hang_up(self) -> None:
        if self._going is None:
            self._on_hangup(self)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._going is not None:
            self._hurry.set()
            return
        # Nobody balances load between terminals, and whoever presses Ctrl-C wants no new guests.
        accept = 0.0 if sig == signal.SIGINT else min(self.accept, self.drain)
        self._going = asyncio.get_running_loop().create_task(self._drain(accept), name="drain")

    async def _drain(self, accept: float) -> None:
        """From the first signal to the moment when no run is left that may still end."""
        runs, loop = self._app.service.runs, asyncio.get_running_loop()
        self._began = loop.time()
        runs.admission.leaving = True
        self._on_leaving()
        # No connection takes another request after the one it carries: the next goes to another server.
        self.connections.leaving = True
        for connection in self.server_state.connections:
            if isinstance(connection, HttpProtocol):
                connection.part()
        runs.observer.server_leaving(runs.live, accept, self.drain)
        if accept > 0:
            await self._pause(accept)
        runs.admission.close()
        left = max(0.0, self._began + self.drain - LAST_WORDS - MARGIN - loop.time())
        runs.observer.server_refusing(runs.live, left)
        await self._pause(left, runs.ended())
        self.should_exit = True

    async def _pause(self, seconds: float, *ends: Coroutine[Any, Any, None]) -> None:
        """Wait so long, but not beyond the second signal, nor beyond what else ends it."""
        waiting = [asyncio.ensure_future(end) for end in (self._hurry.wait(), *ends)]
        done, pending = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*done)
        await asyncio.gather(*pending, return_exceptions=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell whoever still listens, let their connections end, then cut the rest: within `LAST_WORDS` seconds."""
        runs, loop = self._app.service.runs, asyncio.get_running_loop()
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        until = loop.time() + LAST_WORDS
        interrupted = runs.abandon()
        await _quiet(lambda: not any(handle.log.readers for handle in runs.active.values()), until)
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            if not (isinstance(connection, WebSocketProtocol) and connection.close_sent):
                connection.shutdown()
        await _quiet(lambda: not connections and not tasks, until)
        for connection in list(connections):
            connection.transport.abort()
        await _quiet(lambda: not tasks, until + MARGIN)
        await runs.close(seconds=max(0.0, until - loop.time()))
        if self._scrape_port is not None:
            await self._scrape_port.shutdown()
        self.connections.stop()
        await self.lifespan.shutdown()
        runs.observer.server_left(interrupted, loop.time() - self._began)


async def _quiet(over: Callable[[], bool], until: float) -> None:
    """Wait until it is over, or until that time of the loop."""
    while not over() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
        await asyncio.sleep(LOOK)  # uvicorn's sets tell nobody when they are empty
