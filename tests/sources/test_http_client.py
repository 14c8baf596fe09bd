"""Our HTTP client against servers on real sockets: what is sent, what is heard, and what leaving does, on both event loops."""

import asyncio
import socket
import subprocess
import sys

import pytest
import trustme

from penstock.sources.http_client import HttpClient, head_of
from penstock.sources.http_response import HttpResponse
from penstock.sources.upstream import BodyBroken, NotHTTP, Unreachable, check_headers
from tests.sources.http_server import (
    CHUNKED,
    LARGE,
    OK,
    Visit,
    asked,
    body_of,
    never,
    politely,
    serving,
    trusting,
    unasked,
)
from tests.waiting import until

# -- what is sent --------------------------------------------------------------------------------------------------------


async def test_a_request_is_one_head_and_its_body() -> None:
    async with serving(politely, resolve=unasked) as (server, client):
        assert await asked(client, b'{"n": 1}') == b"ok"
        (visit,) = server.visits
        port = server.url.split(":")[2].split("/")[0].encode()
        assert visit.heads == [
            b"POST /v1/chat?a=b HTTP/1.1\r\nHost: 127.0.0.1:" + port + b"\r\nX-Team: blue\r\nContent-Length: 8\r\n\r\n"
        ]
        assert visit.bodies == [b'{"n": 1}']


@pytest.mark.parametrize(
    ("url", "lines"),
    [
        ("http://API.test:80/v1", ["POST /v1 HTTP/1.1", "Host: api.test"]),
        ("https://api.test:443/v1", ["POST /v1 HTTP/1.1", "Host: api.test"]),
        ("https://api.test:8443/v1", ["POST /v1 HTTP/1.1", "Host: api.test:8443"]),
        ("http://[::1]:81/v1", ["POST /v1 HTTP/1.1", "Host: [::1]:81"]),
        ("http://bücher.test:81/ü b/?q=ä", ["POST /%C3%BC%20b/?q=%C3%A4 HTTP/1.1", "Host: xn--bcher-kva.test:81"]),
        (
            "http://a%40b:c%3Ad@api.test/v1",
            ["POST /v1 HTTP/1.1", "Host: api.test", "Authorization: Basic YUBiOmM6ZA=="],
        ),
    ],
)
def test_the_head_names_target_and_host_as_the_protocol_wants_them(url: str, lines: list[str]) -> None:
    assert head_of(url, {}).decode().split("\r\n") == [*lines, "Content-Length: "]


def test_a_header_given_stands_above_the_one_of_the_url() -> None:
    lines = (
        head_of("http://a:b@api.test/v1", {"authorization": "Bearer k", "HOST": "other.test"}).decode().split("\r\n")
    )
    assert lines[1:3] == ["HOST: other.test", "authorization: Bearer k"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Team", "a\r\nX-Evil: 1"),
        ("X-Team", "key\n"),
        ("X-Team", "\0"),
        ("X Team", "value"),
        ("", "value"),
        ("Content-Length", "17"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_a_header_that_would_break_the_request_is_refused_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header") as refused:
        check_headers({name: value})
    assert value not in str(refused.value)


async def test_tokens_are_not_held_back_by_the_kernel() -> None:
    async with serving(politely) as (_, client):
        await asked(client)
        (connection,) = client._pool._open
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_large_request_arrives_whole() -> None:
    async with serving(politely) as (server, client):
        assert await asked(client, LARGE) == b"ok"
        assert await asked(client, b"{}") == b"ok"
        assert [visit.bodies for visit in server.visits] == [[LARGE, b"{}"]]


async def test_a_large_request_that_is_refused_early_is_not_sent_to_its_end() -> None:
    taken = 0

    async def too_large(visit: Visit) -> None:
        nonlocal taken
        await visit.head()
        await visit.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        while more := await visit.reader.read(65_536):
            taken += len(more)

    async with serving(too_large) as (server, client):
        response = await client.post(LARGE)
        assert (response.status, await body_of(response)) == (413, b"no!")
        await server.visits[0].left.wait()
        assert taken < len(LARGE)
        server.play = politely
        assert await asked(client) == b"ok"
        assert len(server.visits) == 2


async def test_an_answer_that_begins_before_the_request_has_ended_is_read_and_the_request_goes_on() -> None:
    async def eager(visit: Visit) -> None:
        length = await visit.head()
        await visit.say(CHUNKED + b"1\r\na\r\n")
        visit.bodies.append(await visit.reader.readexactly(length))
        await visit.say(b"1\r\nb\r\n0\r\n\r\n")

    async with serving(eager) as (server, client):
        assert await asked(client, LARGE) == b"ab"
        assert server.visits[0].bodies == [LARGE]


# -- what is heard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"], ids=["100", "103"]
)
async def test_informational_answers_are_passed_over(noise: bytes) -> None:
    async def informed(visit: Visit) -> None:
        for _ in range(2):
            await visit.request()
            await visit.say(noise)
            await visit.say(noise + OK)

    async with serving(informed) as (server, client):
        assert [await asked(client), await asked(client)] == [b"ok", b"ok"]
        assert len(server.visits) == 1


async def test_an_answer_of_another_protocol_is_refused_at_once() -> None:
    async def switched(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")

    async with serving(switched) as (server, client):
        with pytest.raises(NotHTTP):
            await client.post(b"{}")
        await server.visits[0].left.wait()


async def test_a_body_ended_by_closing_is_whole() -> None:
    async def old(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        visit.leave()

    async with serving(old) as (_, client):
        assert await asked(client) == b"all of it"


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n", CHUNKED + b"9\r\nhalf"],
    ids=["length", "between-chunks", "in-a-chunk"],
)
async def test_a_body_cut_short_gives_what_came_and_then_breaks(begun: bytes) -> None:
    async def cutting(visit: Visit) -> None:
        await visit.request()
        await visit.say(begun)
        visit.leave()

    async with serving(cutting) as (server, client):
        response = await client.post(b"{}")
        await server.visits[0].left.wait()
        assert await response.read() == b"half"
        for _ in range(2):
            with pytest.raises(BodyBroken):
                await response.read()
        assert not response.ended


async def test_a_server_that_is_not_read_has_to_wait_and_then_goes_on() -> None:
    async def flooding(visit: Visit) -> None:
        await visit.request()
        visit.writer.transport.set_write_buffer_limits(high=0)
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        visit.writer.write(LARGE)

    async with serving(flooding) as (server, client):
        response = await client.post(b"{}")
        transport = server.visits[0].writer.transport
        held: list[int] = []

        def settled() -> bool:
            held.append(transport.get_write_buffer_size())
            return len(held) > 20 and held[-1] == held[-20] > 0

        await until("the server's unsent bytes stay the same", settled)
        assert response._unread < 1_000_000
        assert await body_of(response) == LARGE


async def test_a_flood_that_is_cut_is_read_to_where_it_was_cut() -> None:
    async def cut(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(LARGE) + 1))
        visit.writer.write(LARGE)
        visit.leave()

    async with serving(cut) as (_, client):
        response = await client.post(b"{}")
        whole = b""
        while len(whole) < len(LARGE):
            whole += await response.read()
        assert whole == LARGE
        with pytest.raises(BodyBroken):
            await response.read()


# -- leaving -------------------------------------------------------------------------------------------------------------


async def cancelled(waiting: "asyncio.Future[HttpResponse] | asyncio.Future[bytes]") -> bool:
    waiting.cancel()
    await asyncio.wait([waiting])
    return waiting.cancelled()


async def test_a_look_up_that_is_waited_for_can_be_cancelled_and_another_still_waits() -> None:
    found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        began.set()
        return await found

    async with serving(politely, name="api.test", resolve=resolve) as (_, client):
        leaving, staying = asyncio.ensure_future(client.post(b"{}")), asyncio.ensure_future(asked(client))
        await began.wait()
        assert await cancelled(leaving)
        found.set_result(["127.0.0.1"])
        assert await staying == b"ok"


async def test_a_handshake_can_be_cancelled(authority: trustme.CA) -> None:
    async with serving(never) as (server, _):
        secret = HttpClient(server.url.replace("http:", "https:"), {}, ssl=trusting(authority))
        asking = asyncio.ensure_future(secret.post(b"{}"))
        await until("the server is connected to", lambda: len(server.visits) == 1)
        assert await cancelled(asking)
        await server.visits[0].left.wait()
        await secret.close()


async def test_sending_can_be_cancelled() -> None:
    stopped = asyncio.Event()

    async def deaf(visit: Visit) -> None:
        await visit.head()
        visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stopped.wait()
        visit.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async with serving(deaf) as (server, client):
        asking = asyncio.ensure_future(client.post(LARGE))
        await until("the client has to wait", lambda: any(one._full for one in client._pool._open))
        assert await cancelled(asking)
        stopped.set()
        await server.visits[0].left.wait()


async def test_waiting_for_an_answer_can_be_cancelled() -> None:
    async with serving(never) as (server, client):
        asking = asyncio.ensure_future(client.post(b"{}"))
        await until("the server is asked", lambda: any(visit.bodies for visit in server.visits))
        assert await cancelled(asking)
        await server.visits[0].left.wait()


async def test_waiting_for_more_can_be_cancelled_and_gone_on_with() -> None:
    more = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await visit.say(CHUNKED)
        await more.wait()
        await visit.say(b"1\r\na\r\n")

    async with serving(slow) as (server, client):
        response = await client.post(b"{}")
        assert await cancelled(asyncio.ensure_future(response.read()))
        more.set()
        assert await response.read() == b"a"
        response.close()
        await server.visits[0].left.wait()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED], ids=["to-the-end", "chunked"])
async def test_closing_the_client_breaks_what_is_read_and_never_ends_it(head: bytes) -> None:
    async def slow(visit: Visit) -> None:
        await visit.request()
        await visit.say(head)

    async with serving(slow) as (server, client):
        response = await client.post(b"{}")
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(BodyBroken):
            await reading
        await server.visits[0].left.wait()


async def test_closing_the_client_ends_the_wait_for_an_answer() -> None:
    async with serving(never) as (server, client):
        asking = asyncio.ensure_future(client.post(b"{}"))
        await until("the server is asked", lambda: any(visit.bodies for visit in server.visits))
        await client.close()
        with pytest.raises(Unreachable):
            await asking
        with pytest.raises(Unreachable):
            await client.post(b"{}")


# -- what is imported ----------------------------------------------------------------------------------------------------

ASK = """
import asyncio, sys
{before}
from penstock.core.errors import Broken
from penstock.core.request import ChatRequest
from penstock.sources.openai_http import OpenAIProvider
from penstock.testing.sources import SoloRun

BOTH = {{"aiohttp", "httptools"}}

async def main():
    source = OpenAIProvider("http://127.0.0.1:1/v1").source("m")
    assert not any(sys.modules.get(name) for name in BOTH)
    try:
        async for event in source(ChatRequest(model="m", messages=()), SoloRun()):
            raise AssertionError(event)
    except Broken as problem:
        print(problem.fault.code)
    await source.close()
    print(*(name for name in BOTH if sys.modules.get(name)))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("before", "imported"),
    [("", "httptools"), ("sys.modules['httptools'] = None", "aiohttp")],
    ids=["usual", "without"],
)
def test_aiohttp_is_imported_only_where_there_is_no_httptools(before: str, imported: str) -> None:
    ran = subprocess.run([sys.executable, "-c", ASK.format(before=before)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["provider_unreachable", imported]
