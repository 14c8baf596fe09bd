"""`/metrics`: how things stand and what was counted, on the server's own port or on one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import msgspec
import uvicorn
from starlette.types import Receive, Scope, Send

from penstock.core.errors import Refused
from penstock.flow.levels import levels
from penstock.server.acceptor import Acceptor
from penstock.server.connections import Connections
from penstock.server.exchange import ClientGone, Exchange
from penstock.server.http_protocol import HttpProtocol
from penstock.server.problems import refuse
from penstock.server.service import Service

PATH = "/metrics"
MOST_SCRAPERS = 64
"""Connections to the port of its own: Prometheus keeps one open, and a second one asks beside it at most."""


class Scrape:
    """Answers one scrape of a server that has an `exposition`."""

    def __init__(self, service: Service):
        self._service = service

    async def __call__(self, exchange: Exchange) -> None:
        exchange.options(())
        service = self._service
        connections = service.connections() if service.connections is not None else None
        now = levels(service.runs, tasks=len(asyncio.all_tasks()), connections=connections)
        assert service.exposition is not None  # noqa: S101 - else there is no such path
        page, content_type = service.exposition(now, exchange.header("accept"))
        await exchange.reply(200, page, content_type)


class ScrapePort(uvicorn.Server):
    """Serves the page, and nothing else, on a port of its own: nobody needs a key there, so it belongs on an inner network.

    It runs in the loop of the host beside it: call `startup` and `shutdown`, never `run`.
    """

    def __init__(self, service: Service):
        super().__init__(
            uvicorn.Config(
                self._answer,
                http=HttpProtocol,
                ws="none",
                interface="asgi3",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )
        limits = msgspec.structs.replace(service.connection_limits, most=MOST_SCRAPERS, most_per_address=None)
        self.connections = Connections(limits, service.runs.observer)
        self.server_state = self.connections
        self._scrape = Scrape(service)
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        with contextlib.suppress(ClientGone):
            try:
                if exchange.scope["path"] != PATH:
                    raise Refused("route_not_found", f"nothing is served here but {PATH}")
                if exchange.method != "GET":
                    raise Refused("method_not_allowed", f"{exchange.method} is not allowed here; GET is")
                await self._scrape(exchange)
            except Refused as problem:
                await refuse(exchange, problem.fault, None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As `Host`'s: whoever is one too many is told so."""
        make = partial(HttpProtocol, self.config, self.connections, self.lifespan.state)
        self.servers = [Acceptor(listener, make, self.connections) for listener in sockets or ()]  # type: ignore[misc]
        self.connections.start()
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the host's."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End now: a scrape is over at once, or comes again."""
        self.connections.stop()
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
