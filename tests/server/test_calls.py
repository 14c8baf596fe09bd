"""Embeddings and token counts: asked of the provider that has them, as they came; refused or estimated where there is none."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from penstock.config.units import Secret
from penstock.server.token_estimate import PICTURE, estimate
from penstock.sources import provider as provider_room
from tests.contract.validate import check_value
from tests.fakes.provider import Provider
from tests.fakes.script import Body, Cut, End, Gate, Head, Reply
from tests.server.keyed import ALICE, BOB, bearer, keyed, with_keys
from tests.serving import MODEL, Served, serving

VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "model": "up",
    "new": 1,
}
COUNTING = {"model": "claude", "messages": [{"role": "user", "content": "Hello, world"}]}


def config(provider: Provider) -> Config:
    """An OpenAI-compatible provider and one that speaks Anthropic's protocol, both the same fake."""
    key = Secret("sk-secret")
    return Config(
        providers={
            "open": ProviderConfig(base_url=provider.base_url, api_key=key),
            "claudes": ProviderConfig(base_url=provider.base_url, api_key=key, kind="anthropic"),
            "thinkers": ProviderConfig(base_url=provider.base_url, api_key=key, kind="openai-responses"),
        },
        models={
            "embedder": ModelConfig(targets=("open/up",)),
            "claude": ModelConfig(targets=("claudes/opus",)),
            "thinker": ModelConfig(targets=("thinkers/gpt",)),
            "demo": ModelConfig(targets=("demo",)),
            "either": ModelConfig(targets=("demo", "claude", "embedder")),
        },
    )


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    async with serving(config(provider)) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncGenerator[httpx2.AsyncClient]:
    async with served.client() as http:
        yield http


async def test_embeddings_pass_through_but_for_the_model(client: httpx2.AsyncClient, provider: Provider) -> None:
    provider.script(Reply(body=VECTORS))
    asked = {
        "model": "embedder",
        "input": ["a", "b"],
        "dimensions": 2,
        "encoding_format": "float",
        "unheard_of": {"x": 1},
    }
    answer = await client.post("/v1/embeddings", json=asked)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", VECTORS)
    request = await provider.next_request()
    assert request.json == {**asked, "model": "up"}
    assert (request.path, request.headers["authorization"]) == ("/v1/embeddings", "Bearer sk-secret")
    assert (request.headers["accept"], request.headers["accept-encoding"]) == ("application/json", "identity")


@pytest.mark.parametrize(
    ("status", "error", "told", "code"),
    [
        (401, {"message": "bad key sk-secret"}, 502, "provider_auth"),
        (404, {"message": "no such model"}, 404, "provider_model_unknown"),
        (429, {"message": "slow down"}, 429, "provider_rate_limited"),
        (400, {"message": "input too long"}, 400, "provider_refused"),
        (500, {"message": "oh"}, 502, "provider_error"),
        (200, {"message": "after all"}, 502, "provider_error"),
    ],
)
async def test_what_a_provider_says_no_with_is_an_error_of_the_table(
    client: httpx2.AsyncClient, provider: Provider, status: int, error: dict[str, str], told: int, code: str
) -> None:
    provider.script(Reply(status=status, body={"error": error}, headers={"Content-Type": "text/json"}))
    answer = await client.post("/v1/embeddings", json={"model": "embedder", "input": "x"})
    check_value("openai-chat", answer.json(), "refusal")
    assert (answer.status_code, answer.json()["error"]["code"]) == (told, code)
    assert "sk-secret" not in answer.text


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([Head(headers={"Content-Type": "application/json"}), Body(b'{"data": ['), Cut()], "provider_truncated"),
        ([Head(), Body(b"data: {}\n\n"), End()], "provider_garbled"),
        ([Reply(body=b"<html>", headers={"Content-Type": "text/html"})], "provider_garbled"),
    ],
)
async def test_half_an_answer_is_none(
    client: httpx2.AsyncClient, provider: Provider, steps: list[Any], code: str
) -> None:
    provider.script(*steps)
    answer = await client.post("/v1/embeddings", json={"model": "embedder", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, code)


async def test_an_answer_has_a_bound_in_size_and_in_time(
    client: httpx2.AsyncClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_room, "CALL_BYTES", 1000)
    provider.script(Reply(body={"data": "x" * 1000}))
    answer = await client.post("/v1/embeddings", json={"model": "embedder", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_garbled")
    monkeypatch.setattr(provider_room, "CALL_SECONDS", 0.01)
    gate = Gate()
    provider.script(gate, Reply(body=VECTORS))
    answer = await client.post("/v1/embeddings", json={"model": "embedder", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "first_token_timeout")
    assert answer.headers["x-should-retry"] == "true"


async def test_of_several_targets_the_first_that_can_is_asked(client: httpx2.AsyncClient, provider: Provider) -> None:
    provider.script(Reply(body=VECTORS))
    assert (await client.post("/v1/embeddings", json={"model": "either", "input": "x"})).json() == VECTORS
    provider.script(Reply(body={"input_tokens": 3}))
    counted = await client.post("/v1/messages/count_tokens", json={**COUNTING, "model": "either"})
    assert counted.json() == {"input_tokens": 3}
    assert [(each.path, each.json["model"]) for each in provider.requests] == [
        ("/v1/embeddings", "up"),
        ("/v1/messages/count_tokens", "opus"),
    ]


@pytest.mark.parametrize("model", [MODEL, "demo", "claude"])
async def test_a_model_without_embeddings_says_so(client: httpx2.AsyncClient, model: str) -> None:
    answer = await client.post("/v1/embeddings", json={"model": model, "input": "x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "not_offered", "model")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x"}, 400, "model"),
        ({"model": 1, "input": "x"}, 400, "model"),
        ({"model": "nobody", "input": "x"}, 404, "model"),
        ({"model": "embedder"}, 400, "input"),
        ({"model": "embedder", "input": ""}, 400, "input"),
        ({"model": "embedder", "input": []}, 400, "input"),
        ({"model": "embedder", "input": {"text": "x"}}, 400, "input"),
    ],
)
async def test_a_field_that_is_wrong_is_named(
    client: httpx2.AsyncClient, provider: Provider, body: dict[str, Any], status: int, param: str
) -> None:
    answer = await client.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert provider.requests == []


async def test_a_client_that_leaves_takes_its_call_with_it(served: Served, provider: Provider) -> None:
    gate = Gate()
    provider.script(gate, Reply(body=VECTORS))
    async with served.client() as client:
        asking = asyncio.ensure_future(client.post("/v1/embeddings", json={"model": "embedder", "input": "x"}))
        request = await provider.next_request()
        asking.cancel()
        await asyncio.wait([asking])
    await request.connection.peer_gone.wait()
    await served.quiet()


async def test_calls_count_against_the_limits_of_a_key(provider: Provider) -> None:
    settings = msgspec.structs.replace(
        config(provider), auth=with_keys(concurrent_runs=1, runs_per_minute=3, burst=3).auth
    )
    asked = {"model": "embedder", "input": "x"}
    async with keyed(settings) as (_, client):
        assert (await client.post("/v1/embeddings", json=asked)).status_code == 401
        gate = Gate()
        provider.script(gate, Reply(body=VECTORS))
        first = asyncio.ensure_future(client.post("/v1/embeddings", json=asked, headers=bearer(ALICE)))
        await gate.reached.wait()
        second = await client.post("/v1/embeddings", json=asked, headers=bearer(ALICE))
        assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_runs")
        provider.script(Reply(body=VECTORS))
        assert (await client.post("/v1/embeddings", json=asked, headers=bearer(BOB))).status_code == 200
        gate.open()
        assert (await first).status_code == 200
        provider.script(Reply(body=VECTORS))
        assert (await client.post("/v1/embeddings", json=asked, headers=bearer(ALICE))).status_code == 200
        spent = await client.post("/v1/embeddings", json=asked, headers=bearer(ALICE))
        assert (spent.status_code, spent.json()["error"]["code"]) == (429, "rate_limited")


async def test_a_server_that_goes_begins_no_calls(served: Served, client: httpx2.AsyncClient) -> None:
    served.runs.admission.draining = True
    answer = await client.post("/v1/embeddings", json={"model": "embedder", "input": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_tokens_are_counted_by_a_provider_that_can(client: httpx2.AsyncClient, provider: Provider) -> None:
    provider.script(Reply(body={"input_tokens": 11}))
    answer = await client.post("/v1/messages/count_tokens", json={**COUNTING, "tools": []})
    assert (answer.status_code, answer.json()) == (200, {"input_tokens": 11})
    assert "penstock-estimated" not in answer.headers
    request = await provider.next_request()
    assert (request.path, request.json) == ("/v1/messages/count_tokens", {**COUNTING, "tools": [], "model": "opus"})
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == ("sk-secret", "2023-06-01")


@pytest.mark.parametrize("model", [MODEL, "demo", "embedder"])
async def test_elsewhere_they_are_estimated_and_the_answer_says_so(
    client: httpx2.AsyncClient, provider: Provider, model: str
) -> None:
    answer = await client.post("/v1/messages/count_tokens", json={**COUNTING, "model": model})
    assert (answer.status_code, answer.headers["penstock-estimated"]) == (200, "true")
    assert answer.json() == {"input_tokens": 7}
    assert provider.requests == []


@pytest.mark.parametrize("messages", [None, [], "Hello", [1]])
async def test_a_count_of_nothing_is_refused(client: httpx2.AsyncClient, messages: Any) -> None:
    answer = await client.post("/v1/messages/count_tokens", json={"model": "demo", "messages": messages})
    assert answer.status_code == 400


def test_an_estimate_grows_with_words_tools_and_pictures() -> None:
    def of(**fields: Any) -> int:
        return estimate({"messages": [{"role": "user", "content": "Hello"}], **fields})

    bare = of()
    assert of(system="x" * 400) == bare + 100
    assert of(system="漢" * 100) == bare + 100
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x" * 10**6}}
    assert of(messages=[{"role": "user", "content": [picture]}]) < PICTURE + 20
    assert of(tools=[{"name": "weather", "input_schema": {"type": "object"}}]) > bare


def test_an_estimate_of_a_deep_or_odd_request_is_a_number() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = {"content": [deep]}
    assert estimate({"messages": [deep]}) > 4
    assert estimate({"messages": "odd", "system": None, "tools": 7}) > 0


async def test_tokens_are_counted_in_openais_words_too(client: httpx2.AsyncClient, provider: Provider) -> None:
    provider.script(Reply(body={"object": "response.input_tokens", "input_tokens": 11}))
    spoken = {"type": "message", "role": "user", "content": "Hello"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "rs_1:gAAAA"}
    asked = {"model": "thinker", "instructions": "Be brief.", "input": [{**spoken, "id": "msg_1"}, thought]}
    answer = await client.post("/v1/responses/input_tokens", json=asked)
    assert (answer.status_code, answer.json()["input_tokens"]) == (200, 11)
    request = await provider.next_request()
    assert request.path == "/v1/responses/input_tokens"
    assert request.json == {"model": "gpt", "instructions": "Be brief.", "input": [spoken]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 7}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
async def test_a_count_of_what_the_provider_does_not_have_is_refused(
    client: httpx2.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    answer = await client.post("/v1/responses/input_tokens", json={"model": "thinker", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
