"""The fake provider does what its script says and notices how its peer leaves."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator

import aiohttp
import pytest

from tests.fakes.provider import Provider
from tests.fakes.script import (
    Body,
    Cut,
    End,
    Event,
    Flood,
    Gate,
    HalfClose,
    Hang,
    Head,
    Raw,
    Reply,
    Reset,
    Trickle,
    answer,
    closing,
    event_bytes,
    opening,
    text,
    tool_call,
    usage_of,
)


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def ask(provider: Provider, session: aiohttp.ClientSession, **body: object) -> "aiohttp.client._RequestContextManager":
    return session.post(f"{provider.base_url}/chat/completions", json={"stream": True, **body})


async def test_without_a_script_it_gives_a_short_good_answer(
    provider: Provider, session: aiohttp.ClientSession
) -> None:
    async with ask(provider, session, stream_options={"include_usage": True}) as streamed:
        blocks = (await streamed.text()).removesuffix("\n\n").split("\n\n")
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
    pieces = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    async with ask(provider, session, stream=False) as whole:
        message = (await whole.json())["choices"][0]["message"]
    assert "".join(pieces) == "Hello, world!"
    assert chunks[-1]["usage"] == usage_of(3, 4)
    assert blocks[-1] == "data: [DONE]"
    assert message == {"role": "assistant", "content": "Hello, world!"}


async def test_it_lists_models_and_refuses_unknown_routes(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.models = ["one", "two"]
    async with session.get(f"{provider.base_url}/models") as models:
        assert [model["id"] for model in (await models.json())["data"]] == ["one", "two"]
    async with session.get(f"{provider.base_url}/nothing") as nothing:
        assert nothing.status == 404


async def test_it_records_requests_and_counts_connections(provider: Provider, session: aiohttp.ClientSession) -> None:
    for number in range(3):
        async with session.post(
            f"{provider.base_url}/chat/completions", json={"n": number}, headers={"Authorization": "Bearer k"}
        ) as got:
            await got.read()
        request = await provider.next_request()
        assert request.json == {"n": number}
        assert request.headers["authorization"] == "Bearer k"
    assert len(provider.connections) == 1
    assert len(provider.connections[0].requests) == 3


async def test_a_gate_holds_the_stream_and_what_was_before_it_has_arrived(
    provider: Provider, session: aiohttp.ClientSession
) -> None:
    gate = Gate()
    provider.script(Head(), Body(b"one\n"), gate, Body(b"two\n"), End())
    async with ask(provider, session) as got:
        await gate.reached.wait()
        assert await got.content.readline() == b"one\n"
        assert got.content.total_bytes == len(b"one\n")
        gate.open()
        assert await got.content.readline() == b"two\n"
        assert await got.content.read() == b""


@pytest.mark.parametrize("ending", [Cut(), Reset(), HalfClose()], ids=["fin", "rst", "half"])
async def test_a_broken_ending_is_seen_after_all_that_was_said(
    provider: Provider, session: aiohttp.ClientSession, ending: Cut | Reset | HalfClose
) -> None:
    gate = Gate()
    provider.script(Head(), Body(b"all\n"), gate, ending)
    async with ask(provider, session) as got:
        assert await got.content.readline() == b"all\n"
        gate.open()
        with pytest.raises(aiohttp.ClientError):
            await got.content.read()


async def test_raw_bytes_may_break_the_framing(provider: Provider, session: aiohttp.ClientSession) -> None:
    gate = Gate()
    provider.script(Head(), Body(b"all\n"), gate, Raw(b"not a chunk size\r\n"), Hang())
    async with ask(provider, session) as got:
        assert await got.content.readline() == b"all\n"
        gate.open()
        await provider.connections[0].peer_gone.wait()


async def test_a_stream_without_chunks_ends_with_the_connection(
    provider: Provider, session: aiohttp.ClientSession
) -> None:
    provider.script(Head(chunked=False), Body(b"plain"), End())
    async with ask(provider, session) as got:
        assert await got.content.read() == b"plain"
    async with ask(provider, session) as again:
        await again.read()
    assert len(provider.connections) == 2
    assert provider.connections[0].left_by == ""


async def test_it_notices_a_peer_that_leaves_while_it_hangs(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.script(*opening(), Hang())
    async with ask(provider, session) as got:
        await got.content.readline()
        connection = provider.connections[0]
        assert not connection.peer_gone.is_set()
        got.close()
    await connection.peer_gone.wait()
    await connection.closed.wait()
    assert connection.left_by in ("eof", "reset")


async def test_it_notices_a_peer_that_leaves_while_it_waits_at_a_gate_or_floods(
    provider: Provider, session: aiohttp.ClientSession
) -> None:
    gate = Gate()
    provider.script(Head(), gate, Hang())
    provider.script(Head(), Flood(1_000_000), End())
    for number in range(2):
        async with ask(provider, session) as got:
            got.close()
        await provider.connections[number].closed.wait()
        assert provider.connections[number].peer_gone.is_set()


async def test_a_flood_is_complete_and_in_order(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.script(*opening(), Flood(5_000), *closing())
    async with ask(provider, session) as got:
        lines = [line async for line in got.content if line.startswith(b"data: {")]
    deltas = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines]
    assert "".join(deltas) == "".join(f"{number} " for number in range(5_000))


async def test_a_trickle_gives_one_byte_per_permit(provider: Provider, session: aiohttp.ClientSession) -> None:
    permits = asyncio.Semaphore(0)
    provider.script(Head(), Trickle("é!".encode(), permits), End())
    async with ask(provider, session) as got:
        for expected in (b"\xc3", b"\xa9", b"!"):
            permits.release()
            assert await got.content.readany() == expected
        assert await got.content.read() == b""


async def test_a_reply_carries_status_headers_and_length(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.script(Reply(status=429, body={"error": {"message": "slow down"}}, headers={"Retry-After": "2"}))
    provider.script(Reply(body=b"<html>", headers={"Content-Type": "text/html"}))
    async with ask(provider, session) as busy:
        assert (busy.status, busy.headers["Retry-After"]) == (429, "2")
        assert await busy.json() == {"error": {"message": "slow down"}}
    async with ask(provider, session) as page:
        assert (page.content_type, await page.read()) == ("text/html", b"<html>")
    assert len(provider.connections) == 1


async def test_tool_calls_come_in_fragments(provider: Provider, session: aiohttp.ClientSession) -> None:
    first = tool_call(0, "", call_id="call_1", name="weather")
    provider.script(*opening(), first, tool_call(0, '{"city":'), tool_call(0, '"Ulm"}'), *closing(finish="tool_calls"))
    async with ask(provider, session) as got:
        lines = [json.loads(line[6:]) async for line in got.content if line.startswith(b"data: {")]
    calls = [call for line in lines for call in line["choices"][0]["delta"].get("tool_calls", [])]
    assert calls[0] == {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"Ulm"}'


async def test_a_refusing_provider_takes_no_new_connection(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        async with ask(provider, session):
            pass


def test_a_script_without_an_ending_is_refused() -> None:
    with pytest.raises(ValueError, match="must end with"):
        Provider().script(*opening(), text("and then"))


async def test_a_fault_of_the_fakes_own_is_not_hidden() -> None:
    with pytest.RaisesGroup(ValueError):
        async with Provider().listening() as broken:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(broken.base_url.split(":")[2][:-3]))
            writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


def test_the_public_part_needs_nothing_that_only_tests_have() -> None:
    looked = "import sys, penstock.testing.upstream; print(sorted({'pytest', 'hypothesis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", looked], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_an_answer_is_made_of_whole_blocks() -> None:
    blocks = [event_bytes(step.data) for step in answer("é\n") if isinstance(step, Event)]
    assert all(block.startswith(b"data: ") and block.count(b"\n") == 2 for block in blocks)
    assert blocks[-1] == b"data: [DONE]\n\n"
