"""The other HTTP client, over aiohttp: for proxies, and where httptools cannot be installed. An `upstream.Client`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from penstock.sources.upstream import (
    CONNECT_SECONDS,
    IDLE_SECONDS,
    NO_HEADERS,
    BodyBroken,
    ConnectTimedOut,
    Disconnected,
    NotHTTP,
    Unreachable,
)

DNS_SECONDS = 300
READ_BUFFER = 16 * 1024
"""Bytes a connection may hold unread before the provider is told to wait; aiohttp allows twice as many."""


class _Connection(ResponseHandler):
    """aiohttp's, but whoever waits for a body learns that its framing broke: aiohttp hangs up and lets him wait for ever."""

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(str(exc)))


class _Attempt:
    """Whether a request went out on a connection that had served one before."""

    reused = False


async def _reused(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.reused = True


class AiohttpResponse:
    """aiohttp's response as an `upstream.Response`."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse):
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def ended(self) -> bool:
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        content = self._response.content
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as problem:
            # aiohttp's public readers raise first, and would lose what came before the connection broke.
            if unread := content._read_nowait(-1):
                return unread
            raise BodyBroken(type(problem).__name__) from None

    def close(self) -> None:
        self._response.close()


class AiohttpClient:
    """Posts to one URL, through a proxy where one is given."""

    def __init__(self, url: str, headers: Mapping[str, str], *, proxy: str | None = None):
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS, ttl_dns_cache=DNS_SECONDS)
        factory = partial(_Connection, loop=asyncio.get_running_loop())
        connector._factory = cast("partial[ResponseHandler]", factory)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_reused)
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            proxy=proxy,
            trace_configs=[trace],
        )

    async def post(
        self, body: bytes, headers: Mapping[str, str] = NO_HEADERS, *, connect: float | None = None
    ) -> AiohttpResponse:
        """As `upstream.Client.post`."""
        return await self._request("POST", self._url, body, headers, connect)

    async def get(self, behind: str, *, connect: float | None = None) -> AiohttpResponse:
        """As `upstream.Client.get`."""
        return await self._request("GET", self._url + behind, None, {}, connect)

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], connect: float | None
    ) -> AiohttpResponse:
        """A server may hang up on a connection at rest just as it is used again, so where that happens the request goes out
        once more, in the end on a new one."""
        seconds = CONNECT_SECONDS if connect is None else connect
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds)
        while True:
            attempt = _Attempt()
            try:
                response = await self._session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout,
                    trace_request_ctx=attempt,
                )
            except aiohttp.ClientResponseError as problem:
                raise NotHTTP(type(problem).__name__) from None
            except (aiohttp.ClientError, OSError) as problem:
                lost = isinstance(problem, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
                if not (lost and attempt.reused):
                    raise _unreachable(problem, seconds) from None
            else:
                return AiohttpResponse(response)

    async def warm(self) -> None:
        """Nothing: what stands behind a proxy is the proxy's to connect to."""

    async def close(self) -> None:
        """As `upstream.Client.close`."""
        await self._session.close()


def _unreachable(problem: BaseException, seconds: float) -> Unreachable:
    """Why a connection could not be made or died at once, without the URL some messages of aiohttp hold."""
    match problem:
        case aiohttp.ClientConnectorDNSError():
            return Unreachable("its name does not resolve")
        case aiohttp.ConnectionTimeoutError() | TimeoutError():
            return ConnectTimedOut(seconds)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Unreachable("its certificate is not trusted")
        case aiohttp.ServerDisconnectedError():
            return Disconnected()
        case OSError():
            return Unreachable(problem.strerror or type(problem).__name__)
        case _:
            return Unreachable(type(problem).__name__)
