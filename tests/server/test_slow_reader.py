"""A reader that stops reading: it costs nobody anything, and gets every word when it comes back."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from penstock.config.bounds import Bounds
from penstock.config.units import Bytes
from penstock.testing.wire import parse_ndjson, parse_websocket
from tests.clients.raw_client import RawClient, raw_client
from tests.server.reading import PROMPT, TEXT, Messages, added_up, event_stream, received_sse, websocket
from tests.serving import Served, configured, serving

KiB = 1024
TRANSPORTS = ["sse", "ndjson", "text", "websocket"]
SMALL = 4 * KiB
WORD = "Grüße, \U0001f30d! " * 64


class Slow:
    """A reader of one run that takes nothing before it is told to."""

    def __init__(self, transport: str, connection: RawClient | Messages) -> None:
        self.transport = transport
        self.connection = connection
        self.run = ""

    async def whole(self) -> str:
        """Everything, to the end."""
        if isinstance(self.connection, Messages):
            messages = [json.dumps(message) for message in await self.connection.until("finished")]
            return added_up("native", parse_websocket(messages, "id", self.run)).text()
        body = await self.connection.rest()
        assert self.connection.ended == "complete"
        match self.transport:
            case "text":
                return body.decode()
            case "ndjson":
                return added_up("native", parse_ndjson([body], "id")).text()
            case _:
                return added_up("native", received_sse(body)).text()

    async def rest(self) -> str:
        """Take what was on its way when the server ended the connection; says how the body ended."""
        assert isinstance(self.connection, RawClient)
        await self.connection.rest()
        return str(self.connection.ended)


@asynccontextmanager
async def slow(served: Served, transport: str, run: str | None = None) -> AsyncGenerator[Slow]:
    """Start a run, or attach to one, with a client that has taken no more than the head of the answer."""
    if transport == "websocket":
        async with websocket(served.ws_url, receive_buffer=SMALL) as socket:
            reader = Slow(transport, socket)
            if run is None:
                reader.run = await socket.start()
            else:
                reader.run = run
                await socket.ask(type="attach", stream=run)
            yield reader
        return
    async with raw_client(served.url, receive_buffer=SMALL) as raw:
        headers = {"Accept": TEXT[transport]}
        if run is None:
            await raw.request("POST", "/v1/streams", headers=headers, body=PROMPT)
        else:
            await raw.request("GET", f"/v1/streams/{run}/events", headers=headers)
        assert (await raw.head()).status == 200
        yield Slow(transport, raw)


def bounded(slow_reader: Literal["pause", "coalesce", "disconnect"], **bounds: int) -> Any:
    """The default configuration, its EventSource route with this policy."""
    limits = Bounds(**{name: Bytes(size) for name, size in bounds.items()}) if bounds else None
    return configured(routes={"/v1/chat/stream": {"slow_reader": slow_reader, "bounds": limits}})


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stopped_reader_pauses_the_source_and_loses_nothing(served: Served, transport: str) -> None:
    async with slow(served, transport) as reader:
        telling = await served.telling()
        telling.flood(WORD, 600)
        telling.finish()
        log = served.only.log
        await served.stuck(served.only)
        assert telling.yielded < 600
        assert log.said - log.readers[0].taken <= log.bounds.high + len(WORD.encode()) + 16
        async with served.client() as client:
            assert (await client.get("/healthz")).status_code == 200
        assert await reader.whole() == WORD * 600
    assert telling.yielded == 604


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stopped_reader_holds_nobody_up_where_the_route_coalesces(transport: str) -> None:
    async with (
        serving(bounded("coalesce")) as served,
        served.client() as client,
        event_stream(client, "GET", "/v1/chat/stream?prompt=x") as fast,
    ):
        run = served.only.id
        async with slow(served, transport, run) as reader:
            handle = await served.attended(2)
            telling = await served.telling()
            telling.flood(WORD, 600)
            telling.finish()
            await fast.rest()
            assert added_up("openai-chat", received_sse(fast.raw)).text() == WORD * 600
            assert run in served.seen.ended
            assert [each.owed > 64 * KiB for each in handle.log.readers] == [True]
            assert handle.log.kept <= handle.log.bounds.max_run_bytes
            assert await reader.whole() == WORD * 600


async def test_a_reader_far_behind_gets_fewer_larger_deltas() -> None:
    async with (
        serving(bounded("coalesce")) as served,
        served.client() as client,
        event_stream(client, "GET", "/v1/chat/stream?prompt=x") as fast,
        slow(served, "ndjson", served.only.id) as reader,
    ):
        telling = await served.telling()
        await served.attended(2)
        telling.flood("token ", 10_000)
        telling.finish()
        await fast.rest()
        assert isinstance(reader.connection, RawClient)
        body = await reader.connection.rest()
    deltas = [line for line in map(json.loads, body.splitlines()) if line["type"] == "delta"]
    assert "".join(delta["text"] for delta in deltas) == "token " * 10_000
    assert len(deltas) < 3_000
    assert max(len(delta["text"]) for delta in deltas) <= 16 * KiB


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_cap_holds_while_a_reader_is_stopped(transport: str) -> None:
    config = bounded("coalesce", max_run_bytes=256 * KiB)
    async with serving(config) as served, served.client() as client:
        async with event_stream(client, "GET", "/v1/chat/stream?prompt=x") as fast:
            run = served.only.id
            async with slow(served, transport, run) as reader:
                handle = await served.attended(2)
                telling = await served.telling()
                telling.flood(WORD, 600)
                telling.finish()
                taking = asyncio.ensure_future(fast.rest())
                await served.stuck(handle)
                assert handle.log.kept <= 256 * KiB + len(WORD.encode()) + 16
                assert not taking.done()
                assert await reader.whole() == WORD * 600
                await taking
        assert added_up("openai-chat", received_sse(fast.raw)).text() == WORD * 600
        assert handle.log.kept <= 256 * KiB + 128


@pytest.mark.parametrize("transport", ["sse", "ndjson", "text"])
async def test_a_reader_that_makes_no_progress_is_cut_off_and_may_come_back(served: Served, transport: str) -> None:
    async with slow(served, transport) as reader:
        telling = await served.telling()
        telling.flood(WORD, 600)
        telling.finish()
        handle = served.only
        await served.stuck(handle)
        served.tick(0)
        served.tick(19)
        assert len(handle.log.readers) == 1
        served.tick(2)
        assert served.seen.left == [(handle.id, "stalled")]
        assert await reader.rest() == "cut"
    async with slow(served, transport, handle.id) as reader:
        assert await reader.whole() == WORD * 600


async def test_on_a_websocket_only_the_stalled_run_is_let_go(served: Served) -> None:
    async with slow(served, "websocket") as reader:
        telling = await served.telling()
        telling.flood(WORD, 600)
        handle = served.only
        await served.stuck(handle)
        served.tick(0)
        served.tick(21)
        assert served.seen.left == [(handle.id, "stalled")]
        socket = reader.connection
        assert isinstance(socket, Messages)
        messages = await socket.until("detached")
        assert messages[-1]["reason"] == "slow_reader"
        last = messages[-2]["id"]
        assert messages[-1]["id"] == last
        assert (await socket.ask(type="ping"))["type"] == "pong"
        await socket.ask(type="attach", stream=handle.id, after=last)
        telling.finish()
        rest = await socket.until("finished")
        texts = [message.get("text", "") for message in messages + rest]
        assert "".join(texts) == WORD * 600


async def test_a_reader_that_falls_behind_is_dropped_where_the_route_says_so() -> None:
    async with (
        serving(bounded("disconnect")) as served,
        served.client() as client,
        event_stream(client, "GET", "/v1/chat/stream?prompt=x") as fast,
    ):
        run = served.only.id
        async with slow(served, "sse", run) as reader:
            await served.attended(2)
            telling = await served.telling()
            # Lock-step with the fast reader, so that it is never the one behind.
            telling.begin()
            await fast.next()
            for _ in range(400):
                telling.flood("x" * KiB, 4)
                for _ in range(4):
                    await fast.next()
            await served.attended(1)
            assert (run, "slow") in served.seen.left
            assert await reader.rest() == "cut"
        telling.finish()
        await fast.rest()


async def test_a_source_that_never_suspends_leaves_the_loop_to_the_others(served: Served) -> None:
    async with served.client() as client, event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        (await served.telling()).flood("x", 200_000)
        await stream.next()
        for _ in range(5):
            assert (await client.get("/healthz")).status_code == 200
