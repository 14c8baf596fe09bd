"""The library face: mounted in an app of one's own, under uvicorn's own protocols, which know nothing of our host."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from penstock import Penstock
from penstock.core.events import Cancelled
from penstock.server.app import App
from penstock.server.listener import listen
from tests.clients.raw_client import raw_client
from tests.loopback import http_client
from tests.server.reading import PROMPT, added_up, event_stream, received_sse, websocket
from tests.serving import Served, serving, settled, shut_down
from tests.waiting import until

BODY = {"messages": [{"role": "user", "content": "Hello"}]}


@asynccontextmanager
async def running(app: Any, **options: Any) -> AsyncGenerator[str]:
    """Serve an ASGI app as its user would, with plain uvicorn; its URL."""
    before = asyncio.all_tasks()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, **options))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    listener = listen("127.0.0.1", 0)
    await server.startup(sockets=[listener])
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await shut_down(server)
        await settled(before)


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("name", ["starlette_app", "fastapi_app"])
async def test_an_example_streams_on_all_three_transports_and_resumes(name: str, http: str) -> None:
    app = import_module(f"examples.{name}")
    # A fresh one for each test: the end of a lifespan is for good.
    penstock = Penstock(app.answer)
    app.app.router.routes[-1].app = penstock
    app.app.router.lifespan_context = penstock.lifespan
    async with (
        running(app.app, http=http) as url,
        http_client(f"{url}/ai") as client,
    ):
        text = await client.post("/v1/chat/chunked", json=BODY)
        assert text.text == "You said: Hello"
        sse = await client.get("/v1/chat/stream?prompt=Hello")
        events = received_sse(sse.content)
        assert added_up("openai-chat", events).text() == "You said: Hello"
        rest = await client.get("/v1/chat/stream?prompt=Hello", headers={"last-event-id": events[1].cursor})
        assert [event.cursor for event in received_sse(rest.content)] == [event.cursor for event in events[2:]]
        async with websocket(url.replace("http", "ws") + "/ai/v1/chat/ws") as socket:
            await socket.send(type="start", ref="1", request=BODY)
            messages = await socket.until("finished")
            assert "".join(message.get("text", "") for message in messages) == "You said: Hello"
        created = await client.post("/v1/streams", json=BODY, headers={"accept": "application/json"})
        run = created.json()["id"]
        assert created.headers["location"] == f"/ai/v1/streams/{run}"
        assert created.json()["events_url"] == f"/ai/v1/streams/{run}/events"
        async with http_client(url) as root:
            told = await root.get(created.json()["events_url"])
        assert added_up("native", received_sse(told.content)).text() == "You said: Hello"


def mounted(app: App) -> Any:
    return Starlette(routes=[Mount("/ai", app)])


@pytest.fixture(params=["httptools", "h11"])
async def stock(request: pytest.FixtureRequest) -> AsyncGenerator[Served]:
    """The scripted source, mounted, under uvicorn's own HTTP protocols; uvicorn logs every line that is cut as an error."""
    async with serving(stock=mounted, http=request.param, errors_expected=True) as served:
        yield served


async def test_a_failed_text_is_cut(stock: Served) -> None:
    async with raw_client(stock.url) as raw:
        await raw.request("POST", "/ai/v1/chat/chunked", body=PROMPT)
        telling = await stock.telling()
        telling.speak("half an ans")
        telling.fail()
        await raw.head()
        assert await raw.rest() == b"half an ans"
        assert raw.ended == "cut"
    assert stock.seen.failures == []


@pytest.mark.parametrize("path", ["/ai/v1/chat/chunked", "/ai/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_before_the_first_token_is_noticed(stock: Served, path: str, stream: bool) -> None:
    async with raw_client(stock.url) as raw:
        await raw.request("POST", path, body={**PROMPT, "stream": stream})
        handle = await stock.attended(1)
        raw.reset()
        await until("the run has ended", lambda: handle.id in stock.seen.ended)
    assert stock.seen.ended == {handle.id: Cancelled("disconnect")}
    await stock.quiet()
    assert stock.seen.failures == []


async def test_a_websocket_that_leaves_is_noticed(stock: Served) -> None:
    async with websocket(stock.ws_url.replace("/v1", "/ai/v1")) as socket:
        await socket.start()
        handle = await stock.attended(1)
        socket.connection.transport.abort()
        await stock.attended(0, handle.id)
    assert stock.seen.failures == []


async def test_a_connection_serves_one_stream_after_the_other(stock: Served) -> None:
    async with raw_client(stock.url) as raw:
        for number in range(3):
            await raw.request("POST", "/ai/v1/streams", body=PROMPT)
            telling = await stock.telling(number)
            telling.speak(f"answer {number}")
            telling.finish()
            await raw.head()
            assert f"answer {number}".encode() in await raw.rest()
            assert raw.ended == "complete"
    await stock.quiet()
    assert stock.logged == []


async def test_a_reader_that_makes_no_progress_gives_up_its_write_and_may_come_back(stock: Served) -> None:
    async with raw_client(stock.url, receive_buffer=4096) as raw:
        await raw.request("POST", "/ai/v1/streams", body=PROMPT)
        telling = await stock.telling()
        telling.flood("x" * 1_000, 1_000)
        await raw.head()
        handle = stock.only
        await stock.stuck(handle)
        stock.tick(0)
        stock.tick(21)
        assert stock.seen.left == [(handle.id, "stalled")]
        await stock.quiet()
        await raw.rest()
        assert raw.ended == "cut"
    telling.finish()
    async with stock.client() as client, event_stream(client, "GET", f"/ai/v1/streams/{handle.id}/events") as stream:
        await stream.rest()
        assert added_up("native", received_sse(stream.raw)).text() == "x" * 1_000_000
    assert stock.seen.failures == []


async def test_a_shared_stream_and_a_poll_work_under_a_mount(stock: Served) -> None:
    async with stock.client() as client:
        created = await client.post("/ai/v1/streams", json=PROMPT, headers={"accept": "application/json"})
        run, url = created.json()["id"], created.json()["events_url"]
        (await stock.telling()).finish()
        await until("it has ended", lambda: run in stock.seen.ended)
        shared = await client.get(f"/ai/v1/streams/events?streams={run}")
        poll = await client.get(f"{url}?wait=1")
    assert [len(received_sse(answer.content)) for answer in (shared, poll)] == [4, 4]
    await stock.quiet()
    assert stock.logged == []


async def test_an_unknown_path_below_the_mount_is_named_as_it_was_asked_for(stock: Served) -> None:
    async with stock.client() as client:
        answer = await client.get("/ai/v1/stream")
    assert answer.status_code == 404
    assert "did you mean /ai/v1/streams?" in answer.json()["detail"]


async def test_a_source_may_see_its_run_and_yield_more_than_text() -> None:
    async def telling(request: Any, run: Any) -> AsyncGenerator[Any, None]:
        yield {"looking": "up"}
        yield "found"
        yield b"\x89PNG"

    async with (
        running(Penstock({"teller": telling})) as url,
        http_client(url) as client,
    ):
        answer = await client.post("/v1/streams", json=BODY, headers={"accept": "application/x-ndjson"})
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "teller"
    types = [json.loads(line)["type"] for line in answer.text.splitlines()]
    assert types == ["started", "note", "opened", "delta", "opened", "chunk", "closed", "closed", "finished"]


async def test_the_lifespan_of_the_app_around_it_ends_the_runs_and_tells_their_readers() -> None:
    forever = asyncio.Event()

    async def answer() -> AsyncGenerator[str, None]:
        yield "half"
        await forever.wait()

    penstock = Penstock(answer)
    app = Starlette(routes=[Mount("/ai", penstock)], lifespan=penstock.lifespan)
    async with running(app) as url, raw_client(url) as raw:
        await raw.request("POST", "/ai/v1/streams", headers={"Accept": "application/x-ndjson"}, body=BODY)
        await raw.head()
        await raw.body_until(b'"half"')
        await penstock.close()
        last = json.loads((await raw.rest()).splitlines()[-1])
        assert (last["type"], last["error"]["code"]) == ("failed", "interrupted")


async def no_generator() -> None:
    """A coroutine."""


@pytest.mark.parametrize("wrong", [no_generator, "text", 7, {"name": no_generator}])
def test_what_is_no_async_generator_is_refused_when_it_is_given(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"yield|function"):
        Penstock(wrong)
