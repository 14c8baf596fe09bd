"""Our HTTP/1.1 client: requests to one URL, over its pool of warm connections. An `upstream.Client`.

The head of a request is made once; a request is that head, its length and its body, in one write.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ssl import SSLContext
from urllib.parse import quote, unquote, urlsplit

from penstock.sources.http_pool import Pool, Resolve, trusting_the_system
from penstock.sources.http_response import HttpResponse
from penstock.sources.upstream import CONNECT_SECONDS, IDLE_SECONDS, NO_HEADERS

PORTS = {"http": 80, "https": 443}


class HttpClient:
    """Posts to one URL."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        ssl: SSLContext | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        resolve: Resolve | None = None,
    ):
        """`ssl` replaces the system's trust."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode()
        self._url, self._headers = url, headers
        self._head = head_of(url, headers)
        self._pool = Pool(
            host,
            parts.port or PORTS[parts.scheme],
            ssl=(ssl or trusting_the_system()) if parts.scheme == "https" else None,
            connect_seconds=connect_seconds,
            idle_seconds=idle_seconds,
            resolve=resolve,
        )

    async def post(
        self, body: bytes, headers: Mapping[str, str] = NO_HEADERS, *, connect: float | None = None
    ) -> HttpResponse:
        """As `upstream.Client.post`."""
        more = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
        return await self._pool.post(b"%b%d%b\r\n\r\n" % (self._head, len(body), more.encode()), body, connect)

    async def get(self, behind: str, *, connect: float | None = None) -> HttpResponse:
        """As `upstream.Client.get`."""
        head = head_of(self._url + behind, self._headers, method="GET") + b"0\r\n\r\n"
        return await self._pool.post(head, b"", connect)

    async def warm(self) -> None:
        """As `upstream.Client.warm`."""
        await self._pool.warm()

    async def close(self) -> None:
        """As `upstream.Client.close`."""
        await self._pool.close()


def head_of(url: str, headers: Mapping[str, str], *, method: str = "POST") -> bytes:
    """The head of every request to `url`, up to the value of its Content-Length."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    if not host.isascii():
        host = (parts.hostname or "").encode("idna").decode() + (f":{parts.port}" if parts.port else "")
    if parts.port == PORTS[parts.scheme]:
        host = host.removesuffix(f":{parts.port}")
    fields = {"host": ("Host", host)}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        fields["authorization"] = ("Authorization", f"Basic {b64encode(credentials.encode()).decode()}")
    for name, value in headers.items():
        fields[name.lower()] = (name, value)
    target = quote(parts.path + (f"?{parts.query}" if parts.query else ""), safe="%/?:@!$&'()*+,;=~[]")
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.values()),
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode()
