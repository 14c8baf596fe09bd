"""One key, one run: however often and at once it is asked for, on whatever transport."""

import asyncio

import httpx2
import pytest

from tests.server.reading import PROMPT, added_up, event_stream, received_sse, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

KEY = {"idempotency-key": "the-key"}


@pytest.mark.parametrize("padding", [0, 300_000], ids=["small", "read in a thread"])
async def test_fifty_posts_at_once_with_one_key_are_one_run(
    served: Served, client: httpx2.AsyncClient, padding: int
) -> None:
    body = {**PROMPT, "padding": "x" * padding}
    limits = httpx2.Limits(max_connections=60)
    async with served.client(limits=limits) as http:
        asking = [asyncio.ensure_future(http.post("/v1/streams", json=body, headers=KEY)) for _ in range(50)]
        telling = await served.telling()
        handle = await served.attended(50)
        telling.speak("once")
        telling.finish()
        answers = await asyncio.gather(*asking)
    assert {answer.headers["penstock-stream-id"] for answer in answers} == {handle.id}
    assert {added_up("native", received_sse(answer.content)).text() for answer in answers} == {"once"}
    assert len(served.source.tellings) == 1


async def test_the_same_key_with_another_body_is_422(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY):
        answer = await client.post("/v1/streams", json={**PROMPT, "temperature": 1}, headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert "new key" in answer.json()["error"]["message"]
    assert len(served.source.tellings) == 1


async def test_a_key_holds_for_its_own_route_only(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY):
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=PROMPT, headers=KEY))
        (await served.telling(1)).finish()
        assert (await asking).status_code == 200
    assert len(served.source.tellings) == 2


async def test_a_key_whose_run_is_gone_is_410_and_starts_nothing(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY) as stream:
        (await served.telling()).finish()
        await stream.rest()
    await until("it has ended", lambda: bool(served.seen.ended))
    await client.delete(f"/v1/streams/{served.only.id}?purge=1")
    answer = await client.post("/v1/streams", json=PROMPT, headers=KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "run_gone")
    assert len(served.source.tellings) == 1


async def test_an_ended_run_is_told_again(served: Served, client: httpx2.AsyncClient) -> None:
    bodies: list[bytes] = []
    for _ in range(2):
        async with event_stream(client, "POST", "/v1/streams?key=in-the-url", json=PROMPT) as stream:
            if not bodies:
                (await served.telling()).finish()
            await stream.rest()
            bodies.append(stream.raw)
    assert bodies[0] == bodies[1]
    assert len(served.source.tellings) == 1


async def test_with_a_key_leaving_is_forgiven_where_it_would_cancel(served: Served, client: httpx2.AsyncClient) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=PROMPT, headers=KEY))
    telling = await served.telling()
    await served.attended(1)
    asking.cancel()
    await served.attended(0)
    assert not telling.closed.is_set()
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=PROMPT, headers=KEY))
    await served.attended(1)
    telling.speak("still here")
    telling.finish()
    assert added_up("openai-chat", received_sse((await asking).content)).text() == "still here"


async def test_a_run_ended_because_its_client_left_does_not_answer_for_the_key(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY):
        pass
    handle = await served.attended(0)
    served.tick(handle.policy.on_disconnect.grace + 1)
    assert handle.id in served.seen.ended
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY) as stream:
        (await served.telling(1)).finish()
        await stream.rest()


async def test_a_refused_request_leaves_its_key_free(served: Served, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/streams", content=b"{", headers=KEY)
    assert answer.status_code == 400
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=KEY):
        assert len(served.source.tellings) == 1


async def test_the_table_of_keys_forgets_the_oldest_first() -> None:
    async with serving(configured()) as served, served.client() as client:
        served.runs.keys.most = 2
        for key in ("a", "b", "c", "a"):
            answer = await client.post(
                "/v1/streams", json=PROMPT, headers={"idempotency-key": key, "accept": "application/json"}
            )
            assert answer.status_code == 201
        assert len(served.runs.by_id) == 4
        assert len(served.runs.keys._keys) == 2


async def test_http_and_websocket_keep_their_keys_apart_by_route(served: Served, client: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "k"}
    async with (
        event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=headers),
        websocket(served.ws_url) as socket,
    ):
        assert await socket.start(key="k") != served.source.tellings[0].run.id


async def test_a_key_that_is_too_long_is_kept_on_no_transport(served: Served, client: httpx2.AsyncClient) -> None:
    key = "k" * 256
    answer = await client.post("/v1/streams", json=PROMPT, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "key")
    async with websocket(served.ws_url) as socket:
        told = await socket.ask(type="start", ref="1", key=key, request=PROMPT)
        assert (told["code"], told["param"]) == ("invalid_request", "key")
    assert served.source.tellings == []
