"""The raw client takes exactly what it is told and tells a whole body from a cut one."""

import pytest

from tests.clients.raw_client import SMALL, LineEndedError, raw_client
from tests.fakes.provider import CHAT, MODELS, Provider
from tests.fakes.script import Body, Cut, End, Flood, Gate, Head, Raw, Reply, Reset, Step, answer, closing, opening
from tests.waiting import until

ASK = {"stream": True}


async def test_it_reads_head_and_body_and_keeps_the_connection(provider: Provider) -> None:
    provider.script(Head(status=201, headers={"X-One": "1"}), Body(b"ab"), Body(b"cde"), End())
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK, headers={"X-Mine": "m"})
        head = await client.head()
        pieces = [await client.body(1), await client.body(2), await client.body(9)]
        assert client.ended == "complete"
        await client.request("GET", MODELS)
        again = await client.head()
        models = await client.rest()
    assert (head.status, head.header("X-One"), head.header("x-two")) == (201, "1", None)
    assert pieces == [b"a", b"bc", b"de"]
    assert (again.status, again.header("content-type")) == (200, "application/json")
    assert (b'"fake"' in models, client.ended) == (True, "complete")
    assert len(provider.connections) == 1
    assert provider.requests[0].headers["x-mine"] == "m"


@pytest.mark.parametrize(
    ("ending", "framed", "expected"),
    [
        ([End()], True, ("complete", None)),
        ([Cut()], True, ("cut", "fin")),
        ([Reset()], True, ("cut", "rst")),
        ([Raw(b"5\r\nab"), Cut()], True, ("cut", "fin")),
        ([Raw(b"0\r\n"), Cut()], True, ("cut", "fin")),
        ([Raw(b"0\r\nX-Trailer: 1\r\n\r\n"), Cut()], True, ("complete", None)),
        ([End()], False, ("complete", "fin")),
        ([Reset()], False, ("cut", "rst")),
    ],
    ids=["zero chunk", "fin", "rst", "fin in a chunk", "fin in the zero chunk", "trailers", "plain fin", "plain rst"],
)
async def test_it_says_how_the_body_ended(
    provider: Provider, ending: list[Step], framed: bool, expected: tuple[str, str | None]
) -> None:
    gate = Gate()
    provider.script(Head(chunked=framed), Body(b"text"), gate, *ending)
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        await client.head()
        assert await client.body(4) == b"text"
        gate.open()
        assert (await client.rest()).removeprefix(b"ab") == b""
    assert (client.ended, client.ended_by) == expected


async def test_it_reads_event_by_event(provider: Provider) -> None:
    gate = Gate()
    provider.script(Head(), Body(b"data: 1\n\ndata: 2\n\nda"), gate, Body(b"ta: 3\n"), Cut())
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        await client.head()
        assert await client.body_until(b"\n\n") == b"data: 1\n\n"
        assert await client.body_until(b"\n\n") == b"data: 2\n\n"
        gate.open()
        assert await client.body_until(b"\n\n") == b"data: 3\n"
    assert client.ended == "cut"


async def test_a_reply_cut_short_of_its_length_is_cut(provider: Provider) -> None:
    provider.script(Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Cut())
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        await client.head()
        assert await client.rest() == b"short"
    assert client.ended == "cut"


async def test_a_line_that_ends_before_the_head_is_an_error(provider: Provider) -> None:
    provider.script(Reset())
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        with pytest.raises(LineEndedError) as caught:
            await client.head()
    assert caught.value.how == "rst"


async def test_a_204_has_no_body(provider: Provider) -> None:
    provider.script(Reply(status=204))
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        assert (await client.head()).status == 204
        assert client.ended == "complete"
        assert await client.rest() == b""


async def test_a_reader_that_does_not_read_stops_the_writer(provider: Provider) -> None:
    provider.script(*opening(), Flood(200_000), *closing())
    async with raw_client(provider.base_url, receive_buffer=SMALL) as client:
        await client.request("POST", CHAT, body=ASK)
        connection = (await provider.next_request()).connection
        await until("the provider can write no more", connection.blocked)
        written = connection.written
        assert written < 8 << 20
        await client.head()
        assert len(await client.body(2 * written)) == 2 * written
        client.reset()
    await connection.peer_gone.wait()
    assert connection.left_by == "reset"


async def test_a_half_closed_client_still_reads(provider: Provider) -> None:
    provider.script(*answer("x"))
    async with raw_client(provider.base_url) as client:
        await client.request("POST", CHAT, body=ASK)
        await client.head()
        client.half_close()
        assert (await client.rest())[-14:] == b"data: [DONE]\n\n"
        assert await client.until_line_ends() == "fin"
