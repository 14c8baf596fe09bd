"""Takes connections from the listening socket for as long as there is room, and turns the others away before reading a byte.

uvicorn would accept until the process has no file descriptor left, for its upstream connections neither. Here it is known
when a connection arrives how many there are: the kernel gives every new socket the lowest number that is free.
"""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial

from penstock.core.errors import fault
from penstock.server.connections import LINGER, Connections, plain
from penstock.server.http_protocol import refusal

SHARE = 0.8
"""Of the file descriptors this process may have; the rest is for what runs need to go on."""

BATCH = 64
"""Connections taken in one go, before everybody else has a turn."""

HANDSHAKE = 10.0
"""Seconds for TLS's."""

FAREWELL = 5.0
"""Seconds in which the client of a closed TLS connection may say so too."""

LEAVING = 1024
"""Of those turned away, how many at most are let read why; it takes a descriptor each."""

PAUSE = 1.0
"""Seconds without accepting after the kernel had no descriptor left."""

RETRY_AFTER = 2


class Acceptor:
    """What uvicorn knows as a server: it can be closed, and waited for."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[..., asyncio.Protocol],
        connections: Connections,
        *,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ):
        """`make` is given the `client`, its address and port."""
        self._listener = listener
        self._make = make
        self._connections = connections
        self._tls = tls
        self._arriving: set[asyncio.Task[None]] = set()
        self._leaving: deque[socket.socket] = deque()
        self._dismissing: asyncio.TimerHandle | None = None
        self._pausing: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        bounded = files != resource.RLIM_INFINITY
        self._last_file = int(SHARE * files) if bounded else math.inf
        self._most_leaving = min(LEAVING, files // 10) if bounded else LEAVING
        self._open = False
        self._resume()

    def close(self) -> None:
        """Take no more connections; those there are go on."""
        if self._pausing is not None:
            self._pausing.cancel()
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._dismiss()

    async def wait_closed(self) -> None:
        """Those who were just arriving are gone, or in."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                sock, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:  # out of files after all, whoever has them: the next second may be better
                self._connections.observer.connection_refused("files")
                self._connections.observer.background_failed(problem)
                self._loop.remove_reader(self._listener.fileno())
                self._open = False
                self._pausing = self._loop.call_later(PAUSE, self._resume)
                return
            sock.setblocking(False)
            address = plain(str(peer[0]))
            cause = self._refused(sock.fileno(), address)
            if cause is None:
                self._connections.arrived(address)
                task = self._loop.create_task(self._take(sock, (address, peer[1])))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)
            else:
                self._connections.observer.connection_refused(cause)
                self._turn_away(sock, cause)

    def _resume(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self._open = True

    def _refused(self, file: int, address: str) -> str | None:
        connections, limits = self._connections, self._connections.limits
        if file > self._last_file:
            return "files"
        if limits.most is not None and connections.count >= limits.most:
            return "full"
        most = limits.most_per_address
        if most is not None and connections.at(address) >= most and not connections.is_proxy(address):
            return "address"
        return None

    async def _take(self, sock: socket.socket, client: tuple[str, int]) -> None:
        tls = self._tls()
        timeouts = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": FAREWELL} if tls else {}
        try:
            make = partial(self._make, client=client)
            await self._loop.connect_accepted_socket(make, sock, ssl=tls, **timeouts)
        except OSError:  # of which ssl.SSLError is one
            sock.close()
            self._connections.left(client[0])
            self._connections.observer.connection_refused("tls")

    def _turn_away(self, sock: socket.socket, cause: str) -> None:
        """Say why. In the clear only: a handshake would cost more than the request that is refused."""
        if self._tls() is not None:
            sock.close()
            return
        code = "too_many_connections" if cause == "address" else "overloaded"
        try:
            sock.send(refusal(fault(code), RETRY_AFTER))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()
            return
        self._leaving.append(sock)
        if len(self._leaving) > self._most_leaving:
            self._leaving.popleft().close()
        if self._dismissing is None:
            self._dismissing = self._loop.call_later(LINGER, self._dismiss)

    def _dismiss(self) -> None:
        if self._dismissing is not None:
            self._dismissing.cancel()
            self._dismissing = None
        while self._leaving:
            self._leaving.popleft().close()
