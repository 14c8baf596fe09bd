"""A provider over HTTP, whatever it speaks: one pool of warm connections, one request per run, errors of our table.

What is said on the wire is a `Protocol`'s: the body of a question, and the parser of an answer. Waiting is the watchdog's:
nothing here limits a time but the making of a connection. Closing the generator closes the connection, so that the provider
stops at once.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import AsyncGenerator, Awaitable, Collection, Mapping
from functools import partial
from urllib.parse import urlsplit
from zlib import crc32

import msgspec

from penstock import __version__
from penstock.core.errors import Broken
from penstock.core.events import Event, Json, Note, Started, Usage
from penstock.core.request import ChatRequest, Run, outweighs
from penstock.sources import provider_errors
from penstock.sources.base_url import proxy_of, url_of
from penstock.sources.ending import MOST_PARTS, Ending
from penstock.sources.parser import Parser
from penstock.sources.upstream import (
    BodyBroken,
    Client,
    ConnectTimedOut,
    NotHTTP,
    Response,
    Unreachable,
    check_headers,
    sendable,
)

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
ERROR_BODY = 64 * 1024
"""Bytes of an error body that are read."""
ERROR_SECONDS = 1.0
"""How long an error body is waited for: another target may answer meanwhile, and the status alone says nearly all."""
OFF_LOOP = 256 * 1024
"""Questions of more bytes are translated in a thread."""
CALL_SECONDS = 120.0
"""How long a call that is no stream may take, from the question to the end of the answer."""
CALL_BYTES = 64 * 1024 * 1024
"""Bytes of the answer to such a call: two thousand embeddings of three thousand numbers each."""
MOST_SILENCE = 8 * 1024 * 1024
"""Bytes of an answer that may come without saying anything."""
MOST_RESUMES = 5
"""How often an answer that the provider keeps is read on."""
DRAIN_SECONDS = 0.05
"""How long a finished answer may take to end its body, so that the connection can be used again."""


class Question(msgspec.Struct, frozen=True):
    """What a provider is asked: the body of one POST."""

    body: bytes
    left_out: tuple[str, ...] = ()
    """Fields of the request that the protocol has no words for and that change no answer, such as `store`. The client is told
    of them in a `Note` of the topic `left_out`."""


class Protocol(typing.Protocol):
    """What a kind of provider speaks. `host` names the provider in messages; `secret` is what they must not quote."""

    path: str
    """Where to post, below the base URL."""
    root: str
    """The path of a base URL that has none; empty where the paths of the protocol begin at the host."""
    media_type: str
    """Of an answer that is streamed."""
    calls: Mapping[str, str]
    """What can be asked beside questions, by the name in `penstock.core.source.Caller`, and where to post it."""
    features: Mapping[str, bool]
    """What the protocol settles for every model (`tools`, `reasoning`, `images`, `audio`, `prefill`, `embeddings`); the rest is
    not known."""

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """The headers that carry the key."""

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        """Headers of this one question."""

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        """What to ask, always streamed, always with usage. Raises `Broken(not_carried)` for what the protocol has no words for."""

    def parser(self, host: str, *, secret: str | None) -> Parser[Ending]:
        """For one answer."""


class HttpProvider:
    """One server and one key. Its models share a pool of connections, made when the first run asks."""

    def __init__(
        self,
        protocol: Protocol,
        base_url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        """`base_url` ends where the protocol's path begins; without a path it gets its `root`. Raises `ValueError` for a
        URL, a key or a header that cannot be sent."""
        self._protocol = protocol
        self.features = protocol.features
        self._url = url_of(base_url, protocol.root, protocol.path)
        self._call_urls = {name: url_of(base_url, protocol.root, path) for name, path in protocol.calls.items()}
        parts = urlsplit(self._url)
        self.called = parts.netloc.rpartition("@")[2]
        """How messages name it: by host and port, unless it is given a name; clients read them."""
        self._proxy = proxy_of(parts.scheme, parts.hostname or "")
        self._secret = api_key
        self._headers: dict[str, str] = {
            "Accept": protocol.media_type,
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"penstock/{__version__}",
        }
        if api_key:
            self._headers.update(protocol.credentials(api_key))
        for name, value in (headers or {}).items():
            known = next((usual for usual in self._headers if usual.lower() == name.lower()), name)
            self._headers[known] = value
        check_headers(self._headers)
        self.drain = 0.0
        """Seconds it is listened to after the last word was said for it, to learn what the answer has used; 0 cuts it at once."""
        self._client: Client | None = None
        self._callers: dict[str, Client] = {}

    @property
    def calls(self) -> Collection[str]:
        """What it can be asked beside questions."""
        return self._call_urls

    def source(self, model: str) -> HttpSource:
        """The source that asks this provider for `model`."""
        return HttpSource(self, model)

    def _own(self) -> Client:
        if self._client is None:
            self._client = client_for(self._url, self._headers, proxy=self._proxy)
        return self._client

    async def warm(self) -> None:
        """Make a connection before anybody asks. Raises `Unreachable`."""
        await self._own().warm()

    async def close(self) -> None:
        """Close every connection; runs that still read are cut. The next run makes a new pool."""
        clients = [*self._callers.values(), *([self._client] if self._client is not None else [])]
        self._client = None
        self._callers.clear()
        for client in clients:
            await client.close()

    async def stream(self, model: str, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        """Ask for `model` and give what it says. Raises `Broken` with a `provider_…` code, `context_too_long`,
        `content_refused` or `not_carried`."""
        try:
            question = await self._translated(model, request)
        except Broken as problem:
            raise spelled(problem, request) from None
        left_out = [request.spelled(name) for name in question.left_out]
        # The same question of the same run is the same: a provider that heard it before it was asked again need not answer twice.
        key = f"{run.id}-{crc32(question.body):08x}"
        headers = {"Idempotency-Key": key, **self._more(request)}
        response = await self._ask(question.body, headers, connect=run.connect)
        choices = request.params.get("n")
        del request, question  # a long conversation is not to be held for as long as the answer takes
        parser = self._protocol.parser(self.called, secret=self._secret)
        answer = parser.answer
        if isinstance(choices, int):
            answer.choices = choices
        read = response.read
        left, silence = MOST_RESUMES, 0
        try:
            yield Started(run.id, model, run.created)
            if left_out:
                yield Note("left_out", {"fields": [*left_out]})
            while not answer.ended:
                try:
                    data = await read()
                except BodyBroken:
                    data = b""  # whether the answer was whole by then, its own last words say, and not the framing
                if not data and left and (behind := parser.resume()):
                    left -= 1
                    response.close()
                    response = await self._again(behind, connect=run.connect)
                    read = response.read
                    yield Note("recovery", {"from": behind.rpartition("=")[2]})
                    continue
                events = parser.feed(data) if data else parser.end()
                silence = 0 if events else silence + len(data)
                for event in events:
                    yield event
                if answer.parts > MOST_PARTS:
                    answer.garble(f"an answer of more than {MOST_PARTS} parts")
                elif silence > MOST_SILENCE:
                    answer.garble(f"{MOST_SILENCE} bytes that say nothing")
            if answer.broken is not None:
                raise answer.broken
        finally:
            if answer.ended and answer.broken is None and not response.ended:
                await _drain(response)
            elif self.drain and run.over and not answer.ended:
                await self._bill(response, parser, run)
            response.close()

    async def _bill(self, response: Response, parser: Parser[Ending], run: Run) -> None:
        """Nobody listens any more: read on for a while, only for the provider's account of its tokens."""
        try:
            async with asyncio.timeout(self.drain):
                while not parser.answer.ended:
                    data = await response.read()
                    for event in parser.feed(data) if data else parser.end():
                        if isinstance(event, Usage):
                            run.settle(event)
        except (TimeoutError, BodyBroken):
            pass  # then what was counted stands

    def _more(self, request: ChatRequest) -> Mapping[str, str]:
        """The headers of one question, of which a client may have chosen some."""
        more = self._protocol.headers(request)
        return sendable(more) if more else more

    async def _translated(self, model: str, request: ChatRequest) -> Question:
        """The question in the protocol's words; a large one is put into them in a thread, so that the others do not wait."""
        translate = partial(self._protocol.question, model, request, host=self.called)
        return await asyncio.to_thread(translate) if outweighs(request, OFF_LOOP) else translate()

    async def call(self, name: str, model: str, fields: dict[str, Json], headers: dict[str, str]) -> bytes:
        """Post the fields as they are to what the protocol names so, for `model`; the JSON that is answered, whole, as it is.

        Raises `Broken` as `stream` does, and with `first_token_timeout` for an answer that takes too long.
        """
        body = msgspec.json.encode({**fields, "model": model})
        more = self._more(ChatRequest(model=model, messages=(), headers=headers))
        if name not in self._callers:
            usual = {**self._headers, "Accept": JSON}
            self._callers[name] = client_for(self._call_urls[name], usual, proxy=self._proxy)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._reached(self._callers[name].post(body, more))
                try:
                    return await self._whole(response)
                finally:
                    response.close()
        except TimeoutError:
            raise Broken("first_token_timeout", f"{self.called} did not answer within {CALL_SECONDS:g} s") from None

    async def _whole(self, response: Response) -> bytes:
        if (refusal := await self._refusal(response, JSON)) is not None:
            raise refusal
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := await response.read():
                pieces.append(piece)
                size += len(piece)
                if size > CALL_BYTES:
                    raise Broken("provider_garbled", f"{self.called} answered with more than {CALL_BYTES} bytes")
        except BodyBroken:
            raise Broken("provider_truncated", f"{self.called} ended its answer before it was complete") from None
        return b"".join(pieces)

    async def _ask(self, body: bytes, headers: Mapping[str, str], *, connect: float) -> Response:
        """Post the question; return the response once it is a stream."""
        response = await self._reached(self._own().post(body, headers, connect=connect))
        if (refusal := await self._refusal(response, self._protocol.media_type)) is not None:
            raise refusal
        return response

    async def _again(self, behind: str, *, connect: float) -> Response:
        """Read on an answer that the provider keeps. Raises `Broken`."""
        response = await self._reached(self._own().get(behind, connect=connect), "could not be reached again")
        if (refusal := await self._refusal(response, self._protocol.media_type)) is not None:
            raise Broken(
                "provider_truncated", f"the stream broke off, and the rest is not to be had: {refusal.fault.message}"
            )
        return response

    async def _reached(self, asking: Awaitable[Response], unless: str = "could not be reached") -> Response:
        """The response, as soon as its head is there. Raises `Broken`, which says `unless` where there is none."""
        try:
            return await asking
        except NotHTTP:
            raise Broken("provider_garbled", f"{self.called} answered with something that is not HTTP") from None
        except ConnectTimedOut as problem:
            raise Broken("connect_timeout", f"{self.called} {unless}: {problem}") from None
        except Unreachable as problem:
            raise Broken("provider_unreachable", f"{self.called} {unless}: {problem}") from None

    async def _refusal(self, response: Response, wanted: str) -> Broken | None:
        """Why a response, which is closed then, is no answer of the media type that was wanted; None for one that is. A 200 may
        hold an error, too."""
        if response.status == 200 and _kind(response) == wanted and not _encoded(response):
            return None
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                while len(body) < ERROR_BODY and (more := await response.read()):
                    body += more
        except (TimeoutError, BodyBroken):
            pass  # the status says enough
        finally:
            response.close()
        if response.status != 200 or provider_errors.confesses(body):
            return provider_errors.refused(self.called, response.status, body, response.headers, secret=self._secret)
        what = f"{_kind(response)} in {_encoded(response)}" if _encoded(response) else _kind(response)
        return Broken(
            "provider_garbled",
            f"{self.called} answered with {what}, not with {wanted}; is its base_url right?",
        )


class HttpSource:
    """One model of one provider: a source."""

    __slots__ = ("_model", "_provider")

    def __init__(self, provider: HttpProvider, model: str):
        self._provider = provider
        self._model = model

    def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        return self._provider.stream(self._model, request, run)

    @property
    def calls(self) -> Collection[str]:
        return self._provider.calls

    async def call(self, name: str, fields: dict[str, Json], headers: dict[str, str]) -> bytes:
        """As `penstock.core.source.Caller`."""
        return await self._provider.call(name, self._model, fields, headers)

    async def close(self) -> None:
        """Close the provider's connections, those of its other models too."""
        await self._provider.close()


def client_for(url: str, headers: Mapping[str, str], *, proxy: str | None = None) -> Client:
    """The client for one URL, to be used by the event loop that runs now. Headers are as `check_headers` wants them.

    Ours, on httptools, is the usual one; aiohttp's speaks to proxies and stands in where there is no httptools. Neither is
    imported before it is needed.
    """
    if proxy is None:
        try:
            from penstock.sources.http_client import HttpClient
        except ImportError:
            pass  # no httptools on this platform
        else:
            return HttpClient(url, headers)
    from penstock.sources.http_aiohttp import AiohttpClient

    return AiohttpClient(url, headers, proxy=proxy)


def spelled(problem: Broken, request: ChatRequest) -> Broken:
    """Why a request cannot be given to a provider, with the place in the spelling of who made it."""
    fault = problem.fault
    if fault.param is None:
        return problem
    return Broken.of(msgspec.structs.replace(fault, param=request.spelled(fault.param)))


def _kind(response: Response) -> str:
    """The media type of a body, without its parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() or "a body of no type"


def _encoded(response: Response) -> str:
    """The compression of a body that was to have none; empty where it has none."""
    encoding = response.headers.get("content-encoding", "")
    return "" if encoding.lower() == "identity" else encoding


async def _drain(response: Response) -> None:
    """Read the end of a finished body, or give up soon."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while await response.read():
                pass
    except (TimeoutError, BodyBroken):
        pass  # then the connection is closed instead
