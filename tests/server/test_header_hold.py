"""The status line waits for the first thing said, so that a refusal has its own status; but not for ever."""

import asyncio
import json

import httpx2
import pytest

from penstock.core.errors import TABLE
from penstock.core.events import Started
from penstock.registry import resolve
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, event_stream, received_sse
from tests.serving import Served, configured, serving

FOREIGN = {
    "/v1/chat/completions": "openai-chat",
    "/v1/chat/stream": "openai-chat",
    "/v1/messages": "anthropic",
    "/api/chat": "token-done",
}
CODES = [code for code, row in TABLE.items() if row.blame == "provider"]


@pytest.mark.parametrize("code", CODES)
async def test_a_provider_that_refuses_before_the_first_token_is_a_status_of_its_own(
    served: Served, client: httpx2.AsyncClient, code: str
) -> None:
    for number, (path, dialect) in enumerate(FOREIGN.items()):
        asking = asyncio.ensure_future(client.post(path, json={**PROMPT, "max_tokens": 64}))
        telling = await served.telling(number)
        telling.say(Started(telling.run.id, "scripted", 0))
        telling.fail(code, "what the provider said", retry_after=6.2)
        answer = await asking
        status = resolve("dialects", dialect)().traits.statuses.get(code, TABLE[code].status)
        assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
        assert answer.headers["penstock-stream-id"] == telling.run.id
        body = answer.json()
        told = body["error"] if dialect == "token-done" else body["error"]["message"]
        assert told == "what the provider said"


async def test_a_native_stream_has_its_status_at_once_and_the_failure_as_an_event(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as stream:
        (await served.telling()).fail("provider_rate_limited", retry_after=7)
        (event,) = await stream.rest()
    failed = json.loads(event.data)
    assert failed["type"] == "failed"
    assert (failed["error"]["code"], failed["error"]["retry_after"]) == ("provider_rate_limited", 7)
    again = await client.get(f"/v1/streams/{served.only.id}/events", headers={"last-event-id": event.id})
    assert again.status_code == 204


async def test_an_eventsource_never_waits_for_its_status(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "GET", "/v1/chat/stream?prompt=x") as stream:
        await stream.piece()
        (await served.telling()).fail("provider_rate_limited")
        (event,) = await stream.rest()
    assert json.loads(event.data)["error"]["code"] == "provider_rate_limited"
    url = "/v1/chat/stream?prompt=x"
    assert (await client.get(url, headers={"last-event-id": event.id})).status_code == 204


async def test_after_the_hold_the_answer_begins_and_a_failure_is_in_the_stream(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/completions", body=PROMPT)
        await served.attended(1)
        served.tick(7)
        served.tick(1.5)
        assert (await raw.head()).status == 200
        (await served.telling()).fail("provider_rate_limited")
        (message,) = received_sse(await raw.rest())
        assert isinstance(message.value, dict)
        assert "error" in message.value
        assert raw.ended == "complete"


async def test_the_first_word_begins_the_answer_at_once(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/completions", body=PROMPT)
        (await served.telling()).begin()
        assert (await raw.head()).status == 200


async def test_a_cancel_while_the_status_is_held_is_409(served: Served, client: httpx2.AsyncClient) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=PROMPT))
    handle = await served.attended(1)
    await client.delete(f"/v1/streams/{handle.id}")
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")


async def test_a_source_that_raises_before_the_first_token_is_a_500_without_its_secrets(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=PROMPT))
    (await served.telling()).say(ValueError("sk-secret"))
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "source_failed")
    assert "sk-secret" not in answer.text
    assert [type(error) for error in served.seen.raised] == [ValueError]


async def test_no_hold_where_the_route_has_none() -> None:
    config = configured(routes={"/v1/chat/completions": {"header_hold": 0.0}})
    async with serving(config) as served, raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/completions", body=PROMPT)
        assert (await raw.head()).status == 200


@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
async def test_chunked_bodies_carry_the_status_of_a_refusal_too(
    served: Served, client: httpx2.AsyncClient, accept: str
) -> None:
    """Bare text has no words for it: without the hold this would be an empty 200 and a cut."""
    asking = asyncio.ensure_future(client.post("/v1/chat/chunked", json=PROMPT, headers={"accept": accept}))
    (await served.telling()).fail("provider_rate_limited", retry_after=7)
    answer = await asking
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "provider_rate_limited"
