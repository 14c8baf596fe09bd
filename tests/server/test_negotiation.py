"""Which transport and which dialect answer: by Accept with its qualities, by ?dialect=, by route."""

import asyncio
import json

import httpx2
import pytest

from penstock.core.errors import Refused
from penstock.registry import names
from penstock.server.negotiation import choose, prefers_json
from penstock.server.service import Transport
from penstock.testing.readings import READERS
from tests.server.reading import PROMPT, TEXT, added_up, received_sse, said, told
from tests.serving import Served

ALL: tuple[Transport, ...] = ("sse", "ndjson", "text")

ACCEPTS = [
    ("", "sse"),
    ("*/*", "sse"),
    ("text/event-stream", "sse"),
    ("TEXT/Event-Stream; charset=utf-8", "sse"),
    ("application/x-ndjson", "ndjson"),
    ("application/jsonl", "ndjson"),
    ("application/*", "ndjson"),
    ("text/*", "sse"),
    ("text/plain", "text"),
    ("text/plain;q=0.5, application/x-ndjson;q=0.9", "ndjson"),
    ("text/event-stream;q=0.1, text/plain", "text"),
    ("text/event-stream;q=0, */*", "ndjson"),
    ("*/*;q=0.1, text/plain;q=0.2", "text"),
    ("*/*, application/x-ndjson", "ndjson"),
    ("text/html, application/xhtml+xml, */*;q=0.8", "sse"),
    ("application/json;q=0.9, text/event-stream", "sse"),
    ("text/plain;q=oops, application/x-ndjson;q=0.1", "ndjson"),
    (",,;;,text/plain", "text"),
]


@pytest.mark.parametrize(("accept", "transport"), ACCEPTS)
async def test_the_transport_is_what_is_wanted_most(accept: str, transport: str) -> None:
    assert choose(accept, ALL) == transport


@pytest.mark.parametrize(
    "accept", ["image/png", "application/xml, text/html", "*/*;q=0", "text/event-stream;q=0", "x" * 8000]
)
async def test_nothing_else_is_acceptable(served: Served, client: httpx2.AsyncClient, accept: str) -> None:
    with pytest.raises(Refused):
        choose(accept, ALL)
    answer = await client.post("/v1/streams", json=PROMPT, headers={"accept": accept})
    assert (answer.status_code, answer.json()["error"]["code"]) == (406, "not_acceptable")
    assert all(media in answer.json()["error"]["message"] for media in TEXT.values())
    assert served.runs.by_id == {}


@pytest.mark.parametrize(
    ("accept", "json_first"),
    [
        ("application/json", True),
        ("application/json, */*;q=0.5", True),
        ("application/json, text/event-stream", True),
        ("text/event-stream, application/json", False),
        ("application/json;q=0.5, text/event-stream", False),
        ("application/json;q=0, */*", False),
        ("*/*", False),
        ("application/*", False),
        ("application/json-patch+json", False),
    ],
)
async def test_json_is_the_answer_where_it_is_wanted_more_than_a_stream(accept: str, json_first: bool) -> None:
    assert prefers_json(accept, ALL) == json_first


@pytest.mark.parametrize("transport", TEXT)
async def test_the_content_type_is_that_of_the_transport(
    served: Served, client: httpx2.AsyncClient, transport: str
) -> None:
    run = await said(served, client, "Hi")
    answer = await client.get(f"/v1/streams/{run}/events", headers={"accept": TEXT[transport]})
    assert answer.headers["content-type"] == f"{TEXT[transport]}; charset=utf-8"


async def test_the_route_for_chunked_bodies_is_bare_text_unless_lines_are_asked_for(
    served: Served, client: httpx2.AsyncClient
) -> None:
    plain = await told(served, client.post("/v1/chat/chunked", json=PROMPT), "Hi")
    chunked = {"accept": "application/x-ndjson"}
    rows = await told(served, client.post("/v1/chat/chunked", json=PROMPT, headers=chunked), "Hi")
    assert plain.text == "Hi"
    assert json.loads(rows.text.splitlines()[2])["text"] == "Hi"
    refused = await client.post("/v1/chat/chunked", json=PROMPT, headers={"accept": "text/event-stream"})
    assert refused.status_code == 406
    refused = await client.post("/v1/chat/chunked", json=PROMPT, headers={"accept": "application/json"})
    assert (refused.status_code, len(served.source.tellings)) == (406, 2)


async def test_who_would_rather_have_json_but_takes_anything_gets_the_stream_there_is(
    served: Served, client: httpx2.AsyncClient
) -> None:
    """As httpie asks, and axios: `POST /v1/streams` alone has an object to give to them."""
    rather = {"accept": "application/json, */*;q=0.5"}
    answer = await told(served, client.post("/v1/chat/chunked", json=PROMPT, headers=rather), "Hi")
    assert (answer.status_code, answer.text) == (200, "Hi")
    events = await client.get(f"/v1/streams/{answer.headers['penstock-stream-id']}/events", headers=rather)
    assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (await client.post("/v1/streams", json=PROMPT, headers=rather)).status_code == 201


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/stream", "/api/chat"])
async def test_a_route_with_one_transport_ignores_accept(served: Served, client: httpx2.AsyncClient, path: str) -> None:
    answer = await told(served, client.post(path, json=PROMPT, headers={"accept": "application/json"}), "Hi")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("dialect", sorted(READERS))
@pytest.mark.parametrize("path", ["/v1/streams", "/v1/chat/completions", "/api/chat", "/v1/chat/stream"])
async def test_any_route_tells_any_dialect(served: Served, client: httpx2.AsyncClient, path: str, dialect: str) -> None:
    answer = await told(served, client.post(f"{path}?dialect={dialect}", json=PROMPT), "Hi ", "there")
    assert added_up(dialect, received_sse(answer.content)).text() == "Hi there"


async def test_an_unknown_dialect_names_those_there_are(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/streams?dialect=klingon", json=PROMPT)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unknown_dialect", "dialect")
    assert ", ".join(names("dialects")) in error["message"]


async def test_bare_text_carries_no_other_dialect(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/streams?dialect=native", json=PROMPT, headers={"accept": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("dialct=native", "did you mean 'dialect'?"),
        ("colour=red", "this route knows"),
        ("after=&after=", "twice"),
        ("reasoning=maybe", "1 or 0"),
        ("prompt=x", "this route knows"),
        ("%00=%ff", "this route knows"),
        ("x" * 5000, "this route knows"),
    ],
)
async def test_an_unknown_option_is_named_with_the_nearest_there_is(
    served: Served, client: httpx2.AsyncClient, query: str, hint: str
) -> None:
    answer = await client.post(f"/v1/streams?{query}", json=PROMPT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_option")
    assert hint in answer.json()["error"]["message"]
    assert len(answer.content) < 600
    assert served.runs.by_id == {}


async def test_an_eventsource_that_asks_nothing_is_told_what_is_missing(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/chat/stream")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


async def test_a_prompt_in_a_url_keeps_its_letters(served: Served, client: httpx2.AsyncClient) -> None:
    asking = asyncio.ensure_future(client.get("/v1/chat/stream", params={"prompt": "Grüße & 100 % \U0001f30d+"}))
    telling = await served.telling()
    assert telling.request.prompt == "Grüße & 100 % \U0001f30d+"
    telling.finish()
    assert (await asking).status_code == 200
