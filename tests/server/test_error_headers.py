"""What the headers of an error say: which request it was, whether to ask again, and when, for every error in every dialect."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.core.errors import TABLE, Broken, fault
from penstock.core.events import Event, Started
from penstock.core.request import ChatRequest, Run
from penstock.dialects.openai_chat import OpenAIChatDialect
from penstock.registry import names, resolve
from penstock.server.problems import when
from tests.serving import serving


async def failing(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    """Fails as the question says."""
    yield Started(run.id, request.model, run.created)
    raise Broken(request.prompt, retry_after=0.25)


@pytest.mark.parametrize("name", names("dialects"))
async def test_every_error_says_in_every_dialect_what_it_is_whether_to_ask_again_and_when(name: str) -> None:
    dialect: Any = resolve("dialects", name)()
    async with serving(sources={"failing": failing}) as served, served.client() as client:
        for code, row in TABLE.items():
            question = {"model": "failing", "messages": [{"role": "user", "content": code}], "stream": False}
            answer = await client.post(f"/v1/streams?dialect={name}", json=question)
            told = answer.headers
            assert (code, answer.status_code) == (code, dialect.traits.statuses.get(code, row.status))
            assert answer.content == dialect.refuse(fault(code, retry_after=0.25), told["x-request-id"])
            assert told["x-should-retry"] == ("true" if row.retryable else "false")
            assert (told["retry-after"], told["retry-after-ms"]) == ("1", "250")
            if also := dialect.traits.request_id.decode():
                assert told[also] == told["x-request-id"]


@pytest.mark.parametrize(
    ("code", "seconds", "told"),
    [
        ("invalid_request", None, []),
        ("overloaded", None, [("retry-after", "1")]),
        ("rate_limited", 0.0, [("retry-after", "1")]),
        ("rate_limited", 7.0, [("retry-after", "7")]),
        ("rate_limited", 1.5, [("retry-after", "2"), ("retry-after-ms", "1500")]),
        ("provider_error", 0.0002, [("retry-after", "1"), ("retry-after-ms", "1")]),
    ],
)
def test_milliseconds_are_told_where_whole_seconds_would_be_too_long(
    code: str, seconds: float | None, told: list[tuple[str, str]]
) -> None:
    found = [(name.decode(), value.decode()) for name, value in when(fault(code, retry_after=seconds))]
    assert found == told


async def test_an_error_without_a_dialect_gives_no_orders_to_an_sdk(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/nothing/like/it")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-should-retry" not in answer.headers


async def test_a_dialect_whose_clients_look_elsewhere_for_the_request_id_has_it_there_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traits = msgspec.structs.replace(OpenAIChatDialect.traits, request_id=b"request-id")
    monkeypatch.setattr(OpenAIChatDialect, "traits", traits)
    demo = resolve("sources", "demo")(rate=0, tokens=3)
    question = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    async with serving(sources={"demo": demo}) as served, served.client(headers={"x-request-id": "mine"}) as client:
        path = "/v1/chat/completions"
        streamed = await client.post(path, json={**question, "stream": True})
        whole = await client.post(path, json=question)
        refused = await client.post(path, json={})
        other = await client.post("/v1/streams", json={})
    assert [each.status_code for each in (streamed, whole, refused, other)] == [200, 200, 400, 400]
    assert [each.headers.get("request-id") for each in (streamed, whole, refused, other)] == ["mine"] * 3 + [None]
    assert other.headers["x-request-id"] == "mine"
