"""What a source asks of an HTTP client: post a body, read the answer as it comes, leave at any moment.

Two clients can do it: `penstock.sources.http_client`, and `penstock.sources.http_aiohttp`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

CONNECT_SECONDS = 5.0
"""How long resolving, connecting and the TLS handshake may take together, where nobody says otherwise."""
IDLE_SECONDS = 90.0
"""How long a connection is kept warm for the next request."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FORBIDDEN = re.compile(r"[\r\n\0]")
_FRAMING = frozenset({"content-length", "transfer-encoding"})

NO_HEADERS: Mapping[str, str] = {}


class Unreachable(Exception):
    """No answer came; the text completes "the host could not be reached: "."""


class ConnectTimedOut(Unreachable):
    """No connection came about in the time there is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no connection within {seconds:g} s")


class Disconnected(Unreachable):
    """The connection was there, and was lost before the first byte of an answer."""

    def __init__(self) -> None:
        super().__init__("it closed the connection without an answer")


class NotHTTP(Exception):
    """What came is no answer in HTTP/1; the text says why."""


class BodyBroken(Exception):
    """The body broke off, or its framing is wrong. All that arrived in order has been read."""


class Response(Protocol):
    """The head of an answer, and its body as it comes. Whoever gets one closes it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name: at least `content-type`, `content-encoding`, `retry-after` and `retry-after-ms`."""

    @property
    def ended(self) -> bool:
        """Whether the whole body has been read: `read` would give `b""`."""

    async def read(self) -> bytes:
        """All bytes that came since the last read, waiting for the first; `b""` at the end. Raises `BodyBroken`."""

    def close(self) -> None:
        """Leave. A connection whose body has not ended is cut at once, so that the provider stops."""


class Client(Protocol):
    """Posts to one URL over warm connections, and gets what lies below it."""

    async def post(
        self, body: bytes, headers: Mapping[str, str] = NO_HEADERS, *, connect: float | None = None
    ) -> Response:
        """Send a request; return when the head of its answer is there. `headers` are for this one alone, and can be sent (see
        `sendable`). `connect` is how many seconds a connection may take, should it need one. Raises `Unreachable` and `NotHTTP`."""

    async def get(self, behind: str, *, connect: float | None = None) -> Response:
        """As `post`, a GET of the URL with this behind it."""

    async def warm(self) -> None:
        """Make one connection for the next request, where that can be done. Raises `Unreachable`."""

    async def close(self) -> None:
        """Cut every connection. Bodies that are still read raise `BodyBroken`."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises `ValueError` for a header that cannot be sent, quoting no value."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FRAMING:
            raise ValueError(f"{name!r} is no header that a request can be given")
        if _FORBIDDEN.search(value):
            raise ValueError(f"the value of the header {name} holds a line break or a NUL; look at its end")


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of a client's headers that can be sent."""
    return {
        name: value
        for name, value in headers.items()
        if _NAME.fullmatch(name) and name.lower() not in _FRAMING and not _FORBIDDEN.search(value) and value.isascii()
    }
