"""Leaving: noticed at once, also before the first token, on every transport; and what it means for the run."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from penstock.config.units import OnDisconnect, Seconds
from penstock.core.events import Cancelled, Finished
from tests.clients.raw_client import RawClient, raw_client
from tests.server.reading import PROMPT, TEXT, Messages, event_stream, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

POLICIES = ["cancel", "grace", "finish"]
HOW = ["sse", "ndjson", "text", "held", "whole", "websocket"]


@asynccontextmanager
async def served_with(what: Any) -> AsyncGenerator[Served]:
    """A server whose every route has this `on_disconnect`; no heartbeat could tell it that somebody left."""
    policy = OnDisconnect(what, 30)
    config = configured(heartbeat=Seconds(3600))
    routes: dict[str, dict[str, Any]] = {route.path: {"on_disconnect": policy} for route in config.route}
    routes["/v1/chat/chunked"]["header_hold"] = Seconds(0)
    async with serving(configured(config, routes=routes)) as served:
        yield served


@asynccontextmanager
async def reading(served: Served, how: str) -> AsyncGenerator[RawClient | Messages]:
    """One client that has begun a run and reads it; nothing was said yet."""
    if how == "websocket":
        async with websocket(served.ws_url) as socket:
            await socket.start()
            yield socket
        return
    path, headers, body = "/v1/chat/chunked", {"Accept": TEXT.get(how, "*/*")}, PROMPT
    if how in ("sse", "held", "whole"):
        path = {"sse": "/v1/chat/stream", "held": "/v1/chat/completions", "whole": "/v1/chat/completions"}[how]
        body = {**PROMPT, "stream": how != "whole"}
    async with raw_client(served.url) as raw:
        if how == "sse":
            await raw.request("GET", f"{path}?prompt=x")
        else:
            await raw.request("POST", path, headers=headers, body=body)
        if how not in ("held", "whole"):
            assert (await raw.head()).status == 200
        yield raw


def leave(client: RawClient | Messages, *, abruptly: bool) -> None:
    if isinstance(client, Messages):
        if abruptly:
            client.connection.transport.abort()
        else:
            client.connection.transport.close()
    elif abruptly:
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("abruptly", [True, False], ids=["rst", "fin"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", POLICIES)
async def test_leaving_before_the_first_token_is_noticed_and_the_policy_kept(
    what: str, how: str, abruptly: bool
) -> None:
    async with served_with(what) as served:
        async with reading(served, how) as client:
            handle = await served.attended(1)
            telling = await served.telling()
            leave(client, abruptly=abruptly)
            await served.attended(0)
        match what:
            case "cancel":
                await telling.closed.wait()
                assert served.seen.ended == {handle.id: Cancelled("disconnect")}
            case "grace":
                served.tick(29)
                assert not telling.closed.is_set()
                served.tick(2)
                await telling.closed.wait()
                assert served.seen.ended == {handle.id: Cancelled("grace")}
            case _:
                served.tick(100)
                telling.speak("nobody listens")
                telling.finish()
                await telling.closed.wait()
                assert served.seen.ended == {handle.id: Finished("stop")}


async def test_a_run_goes_on_while_one_of_its_readers_stays() -> None:
    async with served_with("cancel") as served, served.client() as client:
        async with event_stream(client, "GET", "/v1/chat/stream?prompt=x") as stream:
            telling = await served.telling()
            async with event_stream(client, "GET", f"/v1/streams/{served.only.id}/events"):
                await served.attended(2)
            await served.attended(1)
            telling.finish()
            await stream.rest()
        assert served.seen.ended == {served.only.id: Finished("stop")}


async def test_coming_back_within_the_grace_keeps_the_run(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT):
        pass
    handle = await served.attended(0)
    async with event_stream(client, "GET", f"/v1/streams/{handle.id}/events") as stream:
        served.tick(61)
        (await served.telling()).finish()
        await stream.rest()
    assert served.seen.ended == {handle.id: Finished("stop")}


async def test_a_background_run_finishes_whoever_leaves(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json={**PROMPT, "background": True}):
        pass
    handle = await served.attended(0)
    served.tick(299)
    (await served.telling()).finish()
    await until("it has ended", lambda: handle.id in served.seen.ended)
    assert served.seen.ended == {handle.id: Finished("stop")}


async def test_a_connection_serves_one_stream_after_the_other(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for number in range(3):
            await raw.request("POST", "/v1/streams", body=PROMPT)
            telling = await served.telling(number)
            telling.speak(f"answer {number}")
            telling.finish()
            assert (await raw.head()).status == 200
            assert f"answer {number}".encode() in await raw.rest()
            assert raw.ended == "complete"
        assert [reason for _, reason in served.seen.left] == ["done"] * 3
        await raw.request("POST", "/v1/streams", body=PROMPT)
        telling = await served.telling(3)
        await served.attended(1, telling.run.id)
        raw.reset()
        await served.attended(0, telling.run.id)


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for _ in range(3):
            await raw.request("POST", "/v1/streams", body=PROMPT)
        for number in range(3):
            telling = await served.telling(number)
            assert len(served.source.tellings) == number + 1
            telling.speak(f"answer {number}")
            telling.finish()
            await raw.head()
            assert f"answer {number}".encode() in await raw.rest()
    await served.quiet()


async def test_a_cut_answer_takes_the_pipelined_requests_along_and_nothing_else(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for _ in range(2):
            await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak("half")
        telling.fail()
        await raw.head()
        assert await raw.rest() == b"half"
        assert raw.ended == "cut"
    await served.quiet()
    assert len(served.source.tellings) == 1


async def test_an_end_nobody_waits_for_is_no_fault(served: Served, client: httpx2.AsyncClient) -> None:
    """The client leaves in the very moment the run ends."""
    for number in range(10):
        async with raw_client(served.url) as raw:
            await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
            telling = await served.telling(number)
            telling.speak("a")
            await raw.head()
            telling.finish() if number % 2 else telling.fail()
            raw.reset()
        await served.attended(0, telling.run.id)
    await served.quiet()
