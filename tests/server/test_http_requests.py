"""Requests that are unusual, old, or mean one thing to a proxy and another to us."""

import json

import pytest

from tests.clients.raw_client import RawClient, raw_client
from tests.server.reading import PROMPT
from tests.serving import Served, Telling

HOST = b"Host: localhost\r\n"
POST = b"POST /v1/streams HTTP/1.1\r\n" + HOST
SMUGGLED = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"

AMBIGUOUS = {
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n{}   " + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}" + SMUGGLED,
    "a length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}" + SMUGGLED,
    "an endless length": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n" + SMUGGLED,
    "an encoding nobody knows": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a blank before the colon": POST + b"Content-Length : 3\r\n\r\n" + SMUGGLED,
    "a folded header": POST + b"X: a\r\n b\r\n\r\n" + SMUGGLED,
    "a lone line feed": b"POST /v1/streams HTTP/1.1\n" + HOST + b"Content-Length: 0\n\n",
    "a lone carriage return": POST + b"X: a\rContent-Length: 3\r\n\r\n" + SMUGGLED,
    "a NUL": POST + b"X: a\x00b\r\n\r\n" + SMUGGLED,
    "a bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nz\r\n" + SMUGGLED,
    "a chunk size too large": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n" + SMUGGLED,
    "a chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk extension with a line feed": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{}\r\n0\r\n\r\n"
    + SMUGGLED,
    "chunks in HTTP/1.0": b"POST /v1/streams HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an upgrade with a body": POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    + SMUGGLED,
    "an upgrade with chunks": POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    + SMUGGLED,
    "a handshake with a body": b"GET /v1/chat/ws HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    "frames before the handshake's answer": b"GET /v1/chat/ws HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80\x00\x00\x00\x00",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "two hosts in HTTP/1.0": b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "an empty host": b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a path": b"GET /healthz HTTP/1.1\r\nHost: localhost/#@evil.example\r\n\r\n",
    "a host with a user": b"GET /healthz HTTP/1.1\r\nHost: me@localhost\r\n\r\n",
    "a list of hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n",
    "another version": b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "the whole server": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "another scheme": b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target with a user": b"GET http://me@localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_may_mean_two_things_is_refused_once_and_ends_the_connection(served: Served, data: bytes) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(data)
        head = await raw.head()
        told = json.loads(await raw.rest())
        assert (head.status, told["code"] in ("invalid_request", "bad_host")) == (400, True)
        assert head.header("x-request-id") == told["request_id"]
        await raw.until_line_ends()  # and nothing of what came behind was answered
        assert not raw._raw
    assert len(served.seen.dropped) == 1
    assert served.runs.by_id == {}


@pytest.mark.parametrize("together", [True, False])
async def test_an_upgrade_to_what_nobody_speaks_is_passed_over(served: Served, together: bool) -> None:
    asked = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    async with raw_client(served.url) as raw:
        await raw.send(asked + (SMUGGLED if together else b""))
        assert (await raw.head()).status == 200
        await raw.rest()
        if not together:
            await raw.send(SMUGGLED)
        assert (await raw.head()).status == 200
        assert b"scripted" in await raw.rest()
    assert served.seen.dropped == []


async def test_what_follows_the_last_request_is_passed_over(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n" + SMUGGLED)
        head = await raw.head()
        assert (head.status, head.header("connection")) == (200, "close")
        await raw.rest()
        assert await raw.until_line_ends() in ("fin", "rst")
        assert not raw._raw
    assert served.seen.dropped == []


@pytest.mark.parametrize(
    "target", ["http://localhost/v1/models", "HTTP://LOCALHOST/v1/models", "http://localhost:8420/v1/models?"]
)
async def test_a_whole_url_is_a_target_too_and_its_host_is_the_one_that_counts(served: Served, target: str) -> None:
    async with raw_client(served.url) as raw:
        for host, status in (("localhost", 200), ("other.example", 200)):
            await raw.request("GET", target, headers={"Host": host})
            assert (await raw.head()).status == status
            assert b"scripted" in await raw.rest()
        await raw.request("GET", "http://evil.example/v1/models", headers={"Host": "localhost"})
        assert (await raw.head()).status == 421


async def asked_in_http_1_0(served: Served, raw: RawClient) -> Telling:
    """The telling of a run that was begun there."""
    body = json.dumps(PROMPT).encode()
    await raw.send(
        b"POST /v1/chat/chunked HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    return await served.telling()


async def test_http_1_0_needs_no_host_and_gets_no_chunks(served: Served) -> None:
    async with raw_client(served.url) as raw:
        telling = await asked_in_http_1_0(served, raw)
        telling.speak("Hello")
        telling.finish()
        head = await raw.head()
        assert (head.status, head.header("transfer-encoding"), head.header("connection")) == (200, None, "close")
        assert await raw.rest() == b"Hello"
        assert (raw.ended, raw.ended_by) == ("complete", "fin")
    async with raw_client(served.url) as raw:
        await raw.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await raw.head()).status in (200, 421)


async def test_bare_text_that_fails_is_no_whole_answer_in_http_1_0_either(served: Served) -> None:
    async with raw_client(served.url) as raw:
        telling = await asked_in_http_1_0(served, raw)
        telling.speak("Hello")
        assert (await raw.head()).status == 200
        assert await raw.body(5) == b"Hello"
        telling.fail()
        assert await raw.rest() == b""
        assert (raw.ended, raw.ended_by) == ("cut", "rst")


PATHS = [
    "/v1/streams",
    "/v1/streams/events",
    "/v1/chat/stream?prompt=x",
    "/v1/chat/chunked",
    "/v1/chat/completions",
    "/api/chat",
]


@pytest.mark.parametrize("path", PATHS)
async def test_head_opens_no_stream(served: Served, path: str) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("HEAD", path)
        assert (await raw.head()).status == 405
        assert await raw.rest() == b""
        await raw.request("GET", "/healthz")
        assert (await raw.head()).status == 200
    assert served.runs.by_id == {}


@pytest.mark.parametrize(
    "header", ["Range: bytes=0-10", "If-Match: x", "Accept-Encoding: gzip", "TE: trailers", "DNT: 1"]
)
async def test_headers_that_do_not_apply_change_nothing(served: Served, header: str) -> None:
    name, _, value = header.partition(": ")
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", headers={name: value}, body=PROMPT)
        telling = await served.telling()
        telling.speak("Hello, all of you")
        telling.finish()
        head = await raw.head()
        assert (head.status, head.header("content-encoding"), head.header("content-range")) == (200, None, None)
        assert await raw.rest() == b"Hello, all of you"


async def test_a_body_where_none_is_read_stops_nothing(served: Served) -> None:
    """The client's leaving is noticed although a large body came with a GET."""
    async with raw_client(served.url) as raw:
        await raw.send(b"GET /v1/chat/stream?prompt=x HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n")
        telling = await served.telling()
        telling.speak("Hello")
        assert (await raw.head()).status == 200
        await raw.send(b" " * 300_000)
        raw.close()
        await served.attended(0)
        telling.finish()
        await telling.closed.wait()
