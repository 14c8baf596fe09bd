"""A whole answer as one object: when it is complete, in every dialect; and never a part of it as if it were all."""

import asyncio

import httpx2
import pytest

from penstock.core.events import Cancelled
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT
from tests.serving import Served
from tests.waiting import until

WHOLE = {**PROMPT, "stream": False}
ROUTES = {
    "/v1/streams": "native",
    "/v1/chat/chunked": "native",
    "/v1/chat/completions": "openai-chat",
    "/api/chat": "token-done",
}


def text_of(dialect: str, answer: httpx2.Response) -> str:
    body = answer.json()
    match dialect:
        case "native":
            text = body["parts"][0]["text"]
        case "openai-chat":
            text = body["choices"][0]["message"]["content"]
        case "plain":
            text = body["text"]
        case _:
            text = body["token"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(("path", "dialect"), ROUTES.items())
async def test_the_answer_is_one_object_with_its_length(
    served: Served, client: httpx2.AsyncClient, path: str, dialect: str
) -> None:
    asking = asyncio.ensure_future(client.post(path, json=WHOLE))
    telling = await served.telling()
    telling.speak("Hel", "lo")
    await served.attended(1)
    telling.finish()
    answer = await asking
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert text_of(dialect, answer) == "Hello"


@pytest.mark.parametrize("dialect", ["native", "openai-chat", "token-done", "plain"])
async def test_the_dialect_is_a_choice_here_too(served: Served, client: httpx2.AsyncClient, dialect: str) -> None:
    for number, accept in enumerate(("*/*", "application/json")):
        asking = asyncio.ensure_future(
            client.post(f"/v1/streams?dialect={dialect}", json=WHOLE, headers={"accept": accept})
        )
        telling = await served.telling(number)
        telling.speak("Hello")
        telling.finish()
        answer = await asking
        assert answer.status_code == 200
        assert text_of(dialect, answer) == "Hello"


async def test_json_is_an_answer_wherever_a_whole_object_is_asked_for(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/chunked", json=WHOLE, headers={"accept": "application/json"}))
    telling = await served.telling()
    telling.finish()
    assert (await asking).status_code == 200


@pytest.mark.parametrize(("path", "dialect"), ROUTES.items())
async def test_a_run_that_failed_answers_the_status_of_its_error_and_no_text(
    served: Served, client: httpx2.AsyncClient, path: str, dialect: str
) -> None:
    asking = asyncio.ensure_future(client.post(path, json=WHOLE))
    telling = await served.telling()
    telling.speak("half an ans")
    telling.fail("provider_overloaded", retry_after=3)
    answer = await asking
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert "half" not in answer.text


async def test_a_cancelled_run_is_409(served: Served, client: httpx2.AsyncClient) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=WHOLE))
    handle = await served.attended(1)
    await client.delete(f"/v1/streams/{handle.id}")
    assert (await asking).status_code == 409


async def test_a_waiter_that_leaves_is_a_reader_that_leaves(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/completions", body=WHOLE)
        handle = await served.attended(1)
        raw.reset()
        await until("the run has ended", lambda: handle.id in served.seen.ended)
    assert served.seen.ended == {handle.id: Cancelled("disconnect")}


async def test_a_long_answer_flows_while_somebody_waits_for_all_of_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=WHOLE))
    telling = await served.telling()
    telling.flood("0123456789" * 10, 20_000)
    telling.finish()
    assert text_of("openai-chat", await asking) == "0123456789" * 200_000


async def test_an_answer_larger_than_what_is_kept_is_an_error_and_no_part_of_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=WHOLE))
    telling = await served.telling()
    telling.flood("0123456789" * 100, 12_000)
    telling.finish()
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "answer_too_large")
