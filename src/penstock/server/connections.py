"""What all connections share: their limits, who has how many, and the one timer that looks for those whose time is up."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol, cast

import msgspec
from uvicorn.server import ServerState

from penstock.core.observer import Observer
from penstock.flow.policy import KiB, MiB

LOOK = 0.5
"""Seconds between two looks, at most."""

LINGER = 2.0
"""Seconds a connection that was refused may take to read why: closed at once, the refusal would be lost with what the
client is still sending (RFC 9112 §9.6)."""

PACE = 4 * KiB
"""Bytes per second at which a body may come for as long as it likes."""


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take, in bytes and seconds, and how many there may be."""

    head_bytes: int = 16 * KiB
    line_bytes: int = 8 * KiB
    headers: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    """Above the 60 s after which proxies give up a connection of theirs that rests, so that it is they who close it."""
    ping_seconds: float = 15.0
    pong_seconds: float = 20.0
    message_bytes: int = 16 * MiB
    strange_message_bytes: int = 64 * KiB
    """Of a WebSocket that has not shown a key yet."""
    most: int | None = None
    """None is all that the file descriptors allow."""
    most_per_address: int | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Addresses with many clients behind them, whose connections are not counted."""


class Timed(Protocol):
    """A connection with a clock: once `due` (the loop's time) has passed, `overdue` is called. It sets `due` anew."""

    due: float

    def overdue(self, now: float) -> None: ...


class Connections(ServerState):
    """uvicorn's shared state, with limits and a clock. No connection has timers of its own."""

    def __init__(self, limits: ConnectionLimits, observer: Observer):
        super().__init__()
        self.observer = observer
        self.count = 0
        """How many there are, those included whose handshake is not over."""
        self.by_address: Counter[str] = Counter()
        """Only kept where `most_per_address` is set."""
        self.leaving = False
        """The server goes: no connection is kept for another request."""
        self._timer: asyncio.TimerHandle | None = None
        self.renew(limits)

    def renew(self, limits: ConnectionLimits) -> None:
        """Go by other limits from now on."""
        self.limits = limits
        shortest = min(limits.head_seconds, limits.body_seconds, limits.ping_seconds, limits.pong_seconds)
        self._interval = min(LOOK, shortest / 2)

    @property
    def idle_seconds(self) -> float:
        """How long a connection may rest now."""
        return 0.0 if self.leaving else self.limits.idle_seconds

    def start(self) -> None:
        """Begin to look, on the running loop."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            self._timer = loop.call_later(self._interval, look)
            self.sweep(loop.time())

        self._timer = loop.call_later(self._interval, look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def sweep(self, now: float) -> None:
        """Call upon every connection whose time is up at `now`."""
        for connection in [each for each in cast("set[Timed]", self.connections) if each.due <= now]:
            connection.due = math.inf
            try:
                connection.overdue(now)
            except Exception as problem:  # noqa: BLE001 - the others' time is up as well
                self.observer.background_failed(problem)

    def arrived(self, address: str) -> None:
        """Somebody has connected."""
        self.count += 1
        if self.limits.most_per_address is not None:
            self.by_address[_origin(address)] += 1

    def left(self, address: str) -> None:
        """A connection is over."""
        self.count -= 1
        if self.limits.most_per_address is not None:
            origin = _origin(address)
            self.by_address[origin] -= 1
            if self.by_address[origin] <= 0:
                del self.by_address[origin]

    def is_proxy(self, address: str) -> bool:
        """Whether many clients come from there."""
        return any(ip_address(address.partition("%")[0]) in network for network in self.limits.proxies)

    def at(self, address: str) -> int:
        """How many connections this address has."""
        return self.by_address[_origin(address)]


def plain(address: str) -> str:
    """An address as everybody writes it: a socket for both families calls IPv4 `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2)."""
    if ":" in address and (mapped := IPv6Address(address).ipv4_mapped) is not None:
        return str(mapped)
    return address


def _origin(address: str) -> str:
    """What counts as one address: of IPv6 the network, since everybody has a whole one (RFC 6177)."""
    address = address.partition("%")[0]
    return str(IPv6Network((address, 64), strict=False)) if ":" in address else address
