"""Signs of life in a silence: in each transport's harmless form, from the moment the status is out; the ticker is the test's."""

import asyncio
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, TEXT, detached, event_stream, websocket
from tests.serving import Served
from tests.waiting import until

BEATS = {"sse": b": ping\n", "ndjson": b"\n"}


@pytest.mark.parametrize("transport", BEATS)
async def test_a_silence_before_the_first_token_is_filled(served: Served, transport: str) -> None:
    beat = BEATS[transport]
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", headers={"Accept": TEXT[transport]}, body=PROMPT)
        assert (await raw.head()).status == 200
        await served.attended(1)
        for _ in range(3):
            served.tick(16)
            assert await raw.body(len(beat)) == beat
        telling = await served.telling()
        telling.speak("at last")
        telling.finish()
        assert (await raw.rest()).count(beat if transport == "sse" else b"\n\n") == 0


async def test_no_beat_where_something_was_said(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", body=PROMPT)
        await raw.head()
        telling = await served.telling()
        for second in range(0, 60, 10):
            telling.speak(f"{second}")
            await raw.body_until(b'"text":"%d"}\n' % second)
            await raw.body_until(b"\n\n")
            served.tick(10)
        telling.finish()
        assert b": ping" not in await raw.rest()


async def test_bare_text_has_no_beat(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", headers={"Accept": "text/plain"}, body=PROMPT)
        await raw.head()
        handle = await served.attended(1)
        served.tick(16)
        telling = await served.telling()
        telling.speak("words")
        await until("the beat is over", lambda: not handle.log.readers[0].beat)
        telling.finish()
        assert await raw.rest() == b"words"


async def test_no_beat_before_the_status_of_a_held_answer(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/completions", body=PROMPT)
        await served.attended(1)
        served.tick(7)
        telling = await served.telling()
        telling.fail("provider_rate_limited")
        assert (await raw.head()).status == 429


async def test_a_beat_never_makes_a_block_of_its_own(served: Served, client: httpx2.AsyncClient) -> None:
    """SDKs read every block as JSON, so a comment must join the block that follows it."""
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        await served.attended(1)
        for _ in range(3):
            served.tick(16)
            assert await stream.piece() == b": ping\n"
        telling.finish()
        events = await stream.rest()
    assert (len(events), len(stream.parser.comments), stream.parser.blocks_without_data) == (4, 3, 0)


async def test_a_shared_stream_beats_in_a_silence_of_all(served: Served, client: httpx2.AsyncClient) -> None:
    runs = [await detached(client) for _ in range(2)]
    async with event_stream(client, "GET", f"/v1/streams/events?streams={','.join(runs)}") as stream:
        await stream.piece()
        for run in runs:
            await served.attended(1, run)
        served.tick(16)
        assert (await stream.piece()).startswith(b": ping\n")
        for telling in served.source.tellings:
            telling.finish()
        await stream.rest()
        assert stream.parser.blocks_without_data == 1


async def test_a_slow_websocket_is_left_in_peace_as_long_as_something_moves(served: Served) -> None:
    async with websocket(served.ws_url, receive_buffer=4096) as socket:
        await socket.start()
        telling = await served.telling()
        telling.flood("x" * 1000, 5000)
        await served.stuck(served.only)
        (connection,) = served.host.server_state.connections
        ours: Any = connection
        ours.overdue(0.0)
        for _ in range(100):
            await socket.next()
        await served.stuck(served.only)
        ours.overdue(0.0)
        assert not ours.transport.is_closing()
        ours.overdue(0.0)
        assert ours.transport.is_closing()
        with pytest.raises(ConnectionClosed):
            await socket.until("never")


async def test_a_websocket_that_answers_its_pings_lives(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        (connection,) = served.host.server_state.connections
        ours: Any = connection
        for _ in range(3):
            ours.overdue(0.0)
            await until("the pong is there", lambda: ours.pending_ping_payload is None)
        assert (await socket.ask(type="ping"))["type"] == "pong"


async def test_a_whole_answer_has_no_beat(served: Served, client: httpx2.AsyncClient) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json={**PROMPT, "stream": False}))
    await served.attended(1)
    served.tick(16)
    (await served.telling()).finish()
    assert (await asking).content.startswith(b'{"id"')
