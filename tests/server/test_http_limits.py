"""What a client may send over HTTP, and how long it may take: every limit has its words, its count, and an end."""

import asyncio
import json

import pytest

from penstock.config.units import Bytes
from penstock.server.http_protocol import MOST_WAITING
from tests.clients.raw_client import RawClient, raw_client
from tests.server.reading import PROMPT
from tests.serving import Served, configured, serving
from tests.waiting import until

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


async def refusal(raw: RawClient) -> tuple[int, str]:
    """Status and code of a refusal that is also the end of the connection."""
    head = await raw.head()
    assert head.header("content-type") == "application/problem+json"
    assert head.header("connection") == "close"
    told = json.loads(await raw.rest())
    assert told["request_id"] == head.header("x-request-id")
    assert told["status"] == head.status
    assert len(told["detail"]) > 15
    assert await raw.until_line_ends() == "fin"
    return head.status, told["code"]


async def answer(served: Served, data: bytes) -> tuple[int, str]:
    """What is said to these bytes."""
    async with raw_client(served.url) as raw:
        await raw.send(data)
        return await refusal(raw)


async def alive(served: Served) -> bool:
    async with raw_client(served.url) as raw:
        await raw.request("GET", "/healthz")
        return (await raw.head()).status == 200


# -- size -----------------------------------------------------------------------------------------------------------------

TOO_LARGE = {
    "101 headers": (GET + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n", (431, "head_too_large")),
    "a header of 9 KiB": (GET + b"X: " + b"y" * 9216 + b"\r\n\r\n", (431, "head_too_large")),
    "20 KiB of headers": (
        GET + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 1000) for n in range(20)) + b"\r\n",
        (431, "head_too_large"),
    ),
    "2 MiB of a header that never ends": (GET + b"X: " + b"y" * 2**21, (431, "head_too_large")),
    "a name that never ends": (GET + b"y" * 2**20, (431, "head_too_large")),
    "empty lines that never end": (b"\r\n" * 2**19, (431, "head_too_large")),
    "a URL of 9 KiB": (b"GET /" + b"y" * 9216 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414, "url_too_long")),
    "a URL that never ends": (b"GET /" + b"y" * 2**20, (414, "url_too_long")),
}


@pytest.mark.parametrize(("data", "told"), TOO_LARGE.values(), ids=TOO_LARGE)
async def test_a_head_that_is_too_large_is_refused_while_it_comes(
    served: Served, data: bytes, told: tuple[int, str]
) -> None:
    async with raw_client(served.url) as raw:
        sending = asyncio.ensure_future(raw.send(data))
        assert await refusal(raw) == told
        sending.cancel()
        await asyncio.wait([sending])
    assert served.seen.dropped == [told[1]]
    assert await alive(served)


async def test_a_head_just_below_the_limits_is_read(served: Served) -> None:
    headers = b"".join(b"X-%d: y\r\n" % n for n in range(98)) + b"X: " + b"y" * 8180 + b"\r\n"
    async with raw_client(served.url) as raw:
        await raw.send(GET + headers + b"\r\n")
        assert (await raw.head()).status == 200


async def test_trailers_are_counted_and_pass_for_no_headers(served: Served) -> None:
    head = b"POST /v1/chat/chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = json.dumps(PROMPT).encode()
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    async with raw_client(served.url) as raw:
        await raw.send(head + chunk + b"Idempotency-Key: smuggled\r\n\r\n")
        telling = await served.telling()
        telling.speak("Hello")
        telling.finish()
        assert (await raw.head()).status == 200
        assert await raw.rest() == b"Hello"
    assert await answer(served, head + chunk + b"X: y\r\n" * 200) == (431, "head_too_large")


async def test_a_body_is_refused_as_soon_as_it_is_too_long_though_it_never_ends() -> None:
    async with serving(configured(max_body=Bytes(100_000))) as served, raw_client(served.url) as raw:
        await raw.send(b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        await raw.send(piece * 2)
        head = await raw.head()
        assert (head.status, json.loads(await raw.rest())["error"]["code"]) == (413, "body_too_large")
        await raw.send(piece * 20)  # nobody keeps it
        (connection,) = served.host.server_state.connections
        assert not connection.cycle.body  # type: ignore[union-attr]
        served.later(29)
        assert served.host.server_state.connections
        served.later(31)
        assert await raw.until_line_ends() in ("fin", "rst")


async def test_a_body_that_is_refused_before_it_is_sent_need_not_be_sent(served: Served) -> None:
    async with raw_client(served.url) as raw:
        head = (
            b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        await raw.send(head)
        refused = await raw.head()
        assert (refused.status, refused.header("connection")) == (413, "close")
        await raw.rest()
        assert await raw.until_line_ends() == "fin"


async def test_a_body_that_is_waited_for_is_asked_for(served: Served) -> None:
    async with raw_client(served.url) as raw:
        body = json.dumps(PROMPT).encode()
        head = (
            b"POST /v1/chat/chunked HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
            % len(body)
        )
        await raw.send(head)
        assert await raw.raw(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await raw.send(body)
        telling = await served.telling()
        telling.speak("Hello")
        telling.finish()
        assert (await raw.head()).status == 200
        assert await raw.rest() == b"Hello"
        await raw.request("GET", "/healthz")
        assert (await raw.head()).status == 200


# -- time -----------------------------------------------------------------------------------------------------------------

SLOW = {
    "half a head": (GET, 10, "head_timeout"),
    "half a line": (b"GE", 10, "head_timeout"),
    "an empty line": (b"\r\n", 10, "head_timeout"),
    "half a body": (
        b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        30,
        "body_timeout",
    ),
    "no body": (b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", 30, "body_timeout"),
    "half a chunk": (
        b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9",
        30,
        "body_timeout",
    ),
}


@pytest.mark.parametrize(("data", "seconds", "cause"), SLOW.values(), ids=SLOW)
async def test_whoever_does_not_come_to_an_end_is_told_408_and_shown_the_door(
    served: Served, data: bytes, seconds: float, cause: str
) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(data)
        await received(served, data)
        served.later(seconds - 1)
        assert served.seen.dropped == []
        served.later(seconds + 1)
        assert await refusal(raw) == (408, "request_timeout")
        assert served.seen.dropped == [cause]
        served.later(3)  # it has had the time to read it
        await until("the connection is gone", lambda: not served.host.server_state.connections)
    await served.quiet()
    assert served.runs.by_id == {}


async def received(served: Served, data: bytes) -> None:
    """The server has read so much of a head, or has a request."""

    def seen() -> bool:
        connections = list(served.host.server_state.connections)
        return bool(connections) and all(
            each._stage.name == "BODY" or each._received >= len(data)  # type: ignore[union-attr]
            for each in connections
        )

    await until("the server has read it", seen)


async def test_whoever_asks_nothing_is_let_go_without_a_word(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await until("it is in", lambda: bool(served.host.server_state.connections))
        served.later(11)
        assert await raw.until_line_ends() in ("fin", "rst")
        assert served.seen.dropped == ["head_timeout"]


async def test_a_head_that_trickles_has_no_more_time_than_another(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for second in range(10):
            await raw.send(b"G" if not second else b"\r\nX: y" if second > 1 else b"ET / HTTP/1.1\r\nHost: localhost")
            await until("it is in", lambda: bool(served.host.server_state.connections))
            served.later(second)
        assert served.seen.dropped == []
        served.later(11)
        assert await refusal(raw) == (408, "request_timeout")


async def test_a_body_has_a_second_more_for_every_4_kib_that_have_come(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(
            b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b" " * 409_600
        )
        await until("it has come", lambda: any_received(served) == 409_600)
        served.later(31)
        served.later(129)
        assert served.seen.dropped == []
        served.later(131)
        assert await refusal(raw) == (408, "request_timeout")


def any_received(served: Served) -> int:
    return sum(each._received for each in served.host.server_state.connections)  # type: ignore[union-attr]


async def test_a_request_that_is_complete_has_all_the_time_there_is(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        served.later(3600)
        telling.speak("late")
        telling.finish()
        assert (await raw.head()).status == 200
        assert await raw.rest() == b"late"
        assert served.seen.dropped == []


async def test_a_connection_rests_for_75_seconds(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for _ in range(2):
            await raw.request("GET", "/healthz")
            assert (await raw.head()).status == 200
            await raw.rest()
            served.later(74)
        served.later(76)
        assert await raw.until_line_ends() in ("fin", "rst")
        assert served.seen.dropped == []


async def test_nothing_is_counted_against_whoever_waits_for_an_answer_before(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        await raw.send(b"GET /healthz HTTP/1.1\r\n")
        telling.speak("Hello")
        assert (await raw.head()).status == 200
        assert await raw.body(5) == b"Hello"
        served.later(3600)
        assert served.seen.dropped == []
        telling.finish()
        assert await raw.rest() == b""
        await raw.send(b"Host: localhost\r\n\r\n")
        assert (await raw.head()).status == 200


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(
            b"".join(
                b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in (b"/healthz", b"/nothing", b"/readyz")
            )
        )
        assert [((await raw.head()).status, bool(await raw.rest())) for _ in range(3)] == [
            (200, True),
            (404, True),
            (200, True),
        ]


async def test_so_many_requests_may_wait_behind_an_answer_and_no_more(served: Served) -> None:
    behind = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for number, (more, dropped) in enumerate([(MOST_WAITING, []), (MOST_WAITING + 1, ["pipeline_flood"])]):
        async with raw_client(served.url) as raw:
            await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
            telling = await served.telling(number)
            telling.speak("Hello")
            assert (await raw.head()).status == 200
            await raw.send(more * behind)
            if dropped:
                await telling.closed.wait()
            else:
                telling.finish()
                assert await raw.rest() == b"Hello"
                for _ in range(more):
                    assert (await raw.head()).status == 200
                    await raw.rest()
            assert served.seen.dropped == dropped


async def test_a_client_that_says_no_more_while_it_waits_has_left(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak("Hello")
        assert (await raw.head()).status == 200
        raw.half_close()
        await telling.closed.wait()
    assert await alive(served)


async def test_nobody_keeps_a_refused_connection_by_not_reading(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(b"nonsense\r\n\r\n")
        assert (await raw.head()).status == 400
        served.later(3)
        await until("the connection is gone", lambda: not served.host.server_state.connections)
