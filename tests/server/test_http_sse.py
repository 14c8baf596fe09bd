"""One run over one event stream: what is written, when, and how it resumes and ends."""

import asyncio
import json

import httpx2
import pytest

from penstock.core.cursor import parse_cursor
from penstock.core.events import Cancelled, Finished
from penstock.testing.readings import READERS
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, added_up, event_stream, received_sse
from tests.serving import Served


async def test_each_token_is_on_the_wire_before_the_next_is_said(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.begin()
        assert [(await stream.value())["type"] for _ in range(2)] == ["started", "opened"]
        for word in ("one", " two", " three"):
            telling.speak(word)
            assert (await stream.value())["text"] == word
        telling.finish()
        assert [json.loads(event.data)["type"] for event in await stream.rest()] == ["closed", "finished"]
    assert served.seen.ended == {served.only.id: Finished("stop")}
    assert served.seen.left == [(served.only.id, "done")]


async def test_the_headers_keep_proxies_and_caches_from_holding_the_stream_back(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        headers = stream.response.headers
        assert headers["cache-control"] == "no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["transfer-encoding"] == "chunked"
        assert headers["penstock-stream-id"] == served.only.id
        assert headers["penstock-model"] == "scripted"
        assert headers["x-request-id"].startswith("req_")
        assert {"content-length", "content-encoding"} & set(headers) == set()


async def test_every_event_ends_in_its_id_and_ids_count_from_one(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b")
        telling.finish()
        events = await stream.rest()
    run = served.only.id
    assert [event.id for event in events] == [f"{run}:a1:{n}" for n in range(1, 7)]
    blocks = stream.raw.decode().split("\n\n")
    assert [block.rpartition("\n")[2][:4] for block in blocks] == ["id: "] * 6 + [""]
    assert stream.parser.blocks_without_data == 0
    assert stream.parser.retry == 1000


async def test_a_cut_stream_resumes_with_exactly_the_rest(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b", "c")
        last = [await stream.next() for _ in range(4)][-1]
    telling.speak("d")
    telling.finish()
    path = f"/v1/streams/{served.only.id}/events"
    async with event_stream(client, "GET", path, headers={"last-event-id": last.id}) as stream:
        rest = [json.loads(event.data) for event in await stream.rest()]
    assert [event.get("text", event["type"]) for event in rest] == ["c", "d", "closed", "finished"]


async def test_the_header_wins_over_the_option(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b")
        telling.finish()
        events = await stream.rest()
    path = f"/v1/streams/{served.only.id}/events?after={events[0].id}"
    async with event_stream(client, "GET", path, headers={"last-event-id": events[3].id}) as stream:
        assert [event.id for event in await stream.rest()] == [event.id for event in events[4:]]
    async with event_stream(client, "GET", path) as stream:
        assert [event.id for event in await stream.rest()] == [event.id for event in events[1:]]


async def test_a_post_with_a_cursor_never_starts_a_run(served: Served, client: httpx2.AsyncClient) -> None:
    """As fetch-event-source does when its tab comes back: the same POST again, with the last id."""
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b")
        last = [await stream.next() for _ in range(3)][-1]
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers={"last-event-id": last.id}) as stream:
        telling.finish()
        assert [json.loads(event.data).get("text") for event in await stream.rest()] == ["b", None, None]
    assert len(served.source.tellings) == 1


async def test_a_reconnect_with_a_large_body_still_notices_that_its_client_leaves(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.begin()
        first = await stream.next()
    await served.attended(0)
    async with raw_client(served.url) as raw:
        body = {**PROMPT, "padding": "x" * 300_000}
        await raw.request("POST", "/v1/streams", headers={"Last-Event-ID": first.id}, body=body)
        assert (await raw.head()).status == 200
        await served.attended(1)
        raw.reset()
        await served.attended(0)


async def test_an_eventsource_knows_its_position_before_the_first_token(
    served: Served, client: httpx2.AsyncClient
) -> None:
    url = "/v1/chat/stream?prompt=Hello"
    async with event_stream(client, "GET", url) as stream:
        assert await stream.piece() == f"id: {served.only.id}:a1:0\n\n".encode()
    cursor = stream.parser._id
    telling = await served.telling()
    async with event_stream(client, "GET", url, headers={"last-event-id": cursor}) as stream:
        telling.speak("Hello")
        telling.finish()
        events = await stream.rest()
    assert "".join(json.loads(e.data)["choices"][0]["delta"].get("content", "") for e in events) == "Hello"
    assert len(served.source.tellings) == 1
    done = await client.get(url, headers={"last-event-id": events[-1].id})
    assert (done.status_code, done.content) == (204, b"")


async def test_an_eventsource_gets_no_sentinel_and_no_usage_chunk(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "GET", "/v1/chat/stream?prompt=Hello") as stream:
        telling = await served.telling()
        telling.finish()
        events = await stream.rest()
    assert [len(json.loads(event.data)["choices"]) for event in events] == [1, 1]
    assert events[-1].id == f"{served.only.id}:a1:{served.only.log.last}"


async def test_a_post_of_chat_stream_streams_though_the_body_does_not_say_so(
    served: Served, client: httpx2.AsyncClient
) -> None:
    body = {"messages": PROMPT["messages"]}
    asking = asyncio.ensure_future(client.post("/v1/chat/stream", json=body))
    telling = await served.telling()
    telling.finish()
    response = await asking
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.endswith("data: [DONE]\n\n")


async def test_event_names_are_given_on_request(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams?event_names=1", json=PROMPT) as stream:
        (await served.telling()).finish()
        assert {event.event for event in await stream.rest()} == {
            "penstock.started",
            "penstock.opened",
            "penstock.closed",
            "penstock.finished",
        }


async def test_a_failure_after_the_first_token_is_an_event_of_its_dialect_and_a_clean_end(
    served: Served, client: httpx2.AsyncClient
) -> None:
    for number, (path, dialect) in enumerate(
        [
            ("/v1/streams", "native"),
            ("/v1/chat/completions", "openai-chat"),
            ("/v1/messages", "anthropic"),
            ("/api/chat", "token-done"),
        ]
    ):
        asking = asyncio.ensure_future(client.post(path, json={**PROMPT, "max_tokens": 64}))
        telling = await served.telling(number)
        telling.speak("half an ans")
        telling.fail("provider_truncated")
        body = (await asking).text
        last = json.loads(body.rstrip().rpartition("data: ")[2].partition("\n")[0])
        told = last["error"].get("details", last["error"]) if dialect != "token-done" else last
        code = told.get("code") or told["error_code"].lower()
        assert (dialect, code, "[DONE]" in body) == (dialect, "provider_truncated", False)


async def test_a_cancelled_stream_says_so_and_is_not_done(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a")
        await stream.next()
        answer = await client.delete(f"/v1/streams/{served.only.id}")
        assert answer.json()["end"] == {"type": "cancelled", "by": "client"}
        await telling.closed.wait()
        assert json.loads((await stream.rest())[-1].data) == {"type": "cancelled", "by": "client"}
    assert served.seen.ended == {served.only.id: Cancelled("client")}


async def test_what_is_ready_together_leaves_in_one_piece(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/streams", body=PROMPT)
        await raw.head()
        telling = await served.telling()
        telling.begin()
        telling.say([])
        await raw.body_until(b":2\n\n")
        handle = served.only
        async with served.client() as client:
            assert (await client.get("/healthz")).status_code == 200
        telling.flood("x", 100)
        telling.finish()
        body = await raw.rest()
        assert raw.ended == "complete"
        assert parse_cursor(body.decode().rpartition("id: ")[2].strip()).offset == handle.log.last


@pytest.mark.parametrize("dialect", sorted(READERS))
async def test_every_dialect_is_told_on_request(served: Served, client: httpx2.AsyncClient, dialect: str) -> None:
    async with event_stream(client, "POST", f"/v1/streams?dialect={dialect}", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("Hel", "lo\n", "wörld \U0001f30d")
        telling.finish()
        await stream.rest()
    assert added_up(dialect, received_sse(stream.raw)).text() == "Hello\nwörld \U0001f30d"


async def test_a_client_with_a_new_parser_has_what_is_open_opened_again_and_only_what_is_new_said(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a", "b")
        events = [await stream.next() for _ in range(4)]
    telling.speak("c")
    telling.finish()
    url = f"/v1/streams/{served.only.id}/events?reopen=1&dialect=native"
    async with event_stream(client, "GET", url, headers={"Last-Event-ID": events[2].id}) as stream:
        told = [json.loads(event.data) for event in await stream.rest()]
    assert [each["type"] for each in told] == ["started", "opened", "delta", "delta", "closed", "finished"]
    assert [each["text"] for each in told[2:4]] == ["b", "c"]
