"""Any OpenAI-compatible server, over aiohttp: one pool of warm connections per provider, one request per run.

Waiting is the watchdog's: nothing here limits a time but the making of a connection. Closing the generator closes the
connection, so that the provider stops at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler

from penstock import __version__
from penstock.core.errors import Broken
from penstock.core.events import Event, Started
from penstock.core.request import ChatRequest, Run
from penstock.sources import openai_errors
from penstock.sources.openai_answer import AnswerParser

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
EVENT_STREAM = "text/event-stream"
CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 90.0
DNS_SECONDS = 300
READ_BUFFER = 16 * 1024
"""Bytes a connection may hold unread before the provider is told to wait; aiohttp allows twice as many."""
ERROR_BODY = 64 * 1024
"""Bytes of an error body that are read."""
ERROR_SECONDS = 5.0
"""How long an error body is waited for."""
DRAIN_SECONDS = 0.05
"""How long a finished answer may take to end its body, so that the connection can be used again."""


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


class OpenAIProvider:
    """One server and one key. Its models share a pool of connections, made when the first run asks."""

    def __init__(self, base_url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None):
        """`base_url` ends where `/chat/completions` begins; without a path it gets `/v1`. Raises `ValueError`."""
        self._url = chat_url(base_url)
        parts = urlsplit(self._url)
        self.host = parts.netloc.rpartition("@")[2]
        """Host and port, as messages name the provider."""
        self._proxy = proxy_of(parts.scheme, parts.hostname or "")
        self._secret = api_key
        self._headers: dict[str, str] = {
            hdrs.ACCEPT: EVENT_STREAM,
            hdrs.ACCEPT_ENCODING: "identity",
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.USER_AGENT: f"penstock/{__version__}",
        }
        if api_key:
            self._headers[hdrs.AUTHORIZATION] = f"Bearer {api_key}"
        self._headers.update(headers or {})
        self._session: aiohttp.ClientSession | None = None

    def source(self, model: str) -> OpenAISource:
        """The source that asks this provider for `model`."""
        return OpenAISource(self, model)

    async def close(self) -> None:
        """Close every connection; runs that still read are cut. The next run makes a new pool."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=DNS_SECONDS)
            factory = partial(_Connection, loop=asyncio.get_running_loop())
            connector._factory = cast("partial[ResponseHandler]", factory)
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_reused)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=READ_BUFFER,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                proxy=self._proxy,
                trace_configs=[trace],
            )
        return self._session

    async def stream(self, model: str, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        """Ask for `model` and give what it says. Raises `Broken` with a `provider_…` code, `context_too_long` or `content_refused`."""
        response = await self._ask(model, request)
        del request  # a long conversation is not to be held for as long as the answer takes
        parser = AnswerParser(self.host, secret=self._secret)
        answer = parser.answer
        read = response.content.readany
        try:
            yield Started(run.id, model, run.created)
            while not answer.ended:
                try:
                    data = await read()
                except (aiohttp.ClientError, OSError):
                    for event in parser.feed(_unread(response)):
                        yield event
                    answer.truncate()
                    break
                for event in parser.feed(data) if data else parser.end():
                    yield event
            if answer.broken is not None:
                raise answer.broken
        finally:
            if answer.ended and answer.broken is None:
                await _drain(response)
            response.close()

    async def _ask(self, model: str, request: ChatRequest) -> aiohttp.ClientResponse:
        """Post the request; return the response once it is a stream."""
        try:
            response = await self._post(body_of(model, request))
        except aiohttp.ClientResponseError:
            raise Broken("provider_garbled", f"{self.host} answered with something that is not HTTP") from None
        except (aiohttp.ClientError, OSError) as problem:
            raise Broken("provider_unreachable", f"{self.host} could not be reached: {_reason(problem)}") from None
        if response.status == 200 and response.content_type == EVENT_STREAM and not _encoded(response):
            return response
        try:
            raise await self._refusal(response)
        finally:
            response.close()

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        """The head of the answer. A server may hang up on a connection at rest just as it is used again (RFC 9112 §9.6; llama.cpp
        does so after every streamed answer), so where that happens the request goes out once more, in the end on a new one."""
        while True:
            attempt = _Attempt()
            try:
                return await self._pool().post(self._url, data=body, allow_redirects=False, trace_request_ctx=attempt)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not attempt.reused:
                    raise

    async def _refusal(self, response: aiohttp.ClientResponse) -> Broken:
        """Why an answer is no stream. A 200 may hold an error, too."""
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                while len(body) < ERROR_BODY and (more := await response.content.readany()):
                    body += more
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass  # the status says enough
        if response.status != 200 or openai_errors.confesses(body):
            return openai_errors.refused(self.host, response.status, body, response.headers, secret=self._secret)
        what = f"{response.content_type} in {_encoded(response)}" if _encoded(response) else response.content_type
        return Broken(
            "provider_garbled", f"{self.host} answered with {what}, not with {EVENT_STREAM}; is its base_url right?"
        )


class OpenAISource:
    """One model of one provider: a source."""

    __slots__ = ("_model", "_provider")

    def __init__(self, provider: OpenAIProvider, model: str):
        self._provider = provider
        self._model = model

    def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        return self._provider.stream(self._model, request, run)

    async def close(self) -> None:
        """Close the provider's connections, those of its other models too."""
        await self._provider.close()


def build(
    *, base_url: str, model: str, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> OpenAISource:
    """A source for `model` at an OpenAI-compatible `base_url`, with a pool of its own. Raises `ValueError` for a bad URL."""
    return OpenAIProvider(base_url, api_key=api_key, headers=headers).source(model)


def chat_url(base_url: str) -> str:
    """Where to post: `https://host` gets `/v1`, any other path is used as it is. Raises `ValueError`."""
    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url must be like https://host/v1, not {base_url!r}")
    path = parts.path.rstrip("/") or "/v1"
    return parts._replace(path=f"{path}/chat/completions", fragment="").geturl()


def proxy_of(scheme: str, host: str) -> str | None:
    """The proxy the environment names for a host, once, since asking aiohttp to trust the environment costs every request a
    look into files. The machine itself is never behind a proxy. Raises `ValueError` where the proxy speaks no HTTP."""
    proxy = getproxies().get(scheme)
    if not proxy or host in LOOPBACK or proxy_bypass(host):
        return None
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError(f"{scheme}_proxy must be an http:// address; set no_proxy={host} to go without")
    return proxy


def body_of(model: str, request: ChatRequest) -> bytes:
    """The JSON the provider gets: the client's parameters as they are, always streamed, always with usage."""
    options = request.params.get("stream_options")
    return msgspec.json.encode(
        {
            **request.params,
            "model": model,
            "messages": request.messages,
            "stream": True,
            "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
        }
    )


def _encoded(response: aiohttp.ClientResponse) -> str:
    """The compression of a body that was to have none; empty where it has none."""
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "")
    return "" if encoding.lower() == "identity" else encoding


def _unread(response: aiohttp.ClientResponse) -> bytes:
    """What came before the connection broke. aiohttp's public readers raise first and would lose it."""
    return response.content._read_nowait(-1)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the end of a finished body, or give up soon."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while not response.content.at_eof():
                await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # then the connection is closed instead


def _reason(problem: BaseException) -> str:
    """Why a connection could not be made or died at once, without the URL some messages of aiohttp hold."""
    match problem:
        case aiohttp.ClientConnectorDNSError():
            return "its name does not resolve"
        case aiohttp.ConnectionTimeoutError() | TimeoutError():
            return f"no connection within {CONNECT_SECONDS:g} s"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "its certificate is not trusted"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case OSError():
            return problem.strerror or type(problem).__name__
        case _:
            return type(problem).__name__
