"""The strategy `auto` over real sockets: what is asked and hinted, and targets that become slow or fail and are well again."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

import httpx2
import pytest

from penstock import assembly
from penstock.config.model import Config
from penstock.config.models import Features, ModelConfig, RetryConfig, Strategy
from penstock.config.rules import RuleConfig
from penstock.config.units import Seconds
from penstock.core.health import STALE
from penstock.core.rules import When
from penstock.staging import Staging
from tests.fakes.provider import Provider, Request, usual
from tests.fakes.script import Reply, Step
from tests.flow.scripted import Clock
from tests.server.reading import websocket
from tests.serving import configured, serving

DOWN = Reply(status=500, body={"error": {"message": "out of order", "type": "server_error"}})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that health goes by."""
    clock = Clock()
    monkeypatch.setattr("penstock.catalog.Staging", partial(Staging, clock=clock))
    return clock


@pytest.fixture
async def providers() -> AsyncGenerator[list[Provider]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Provider().listening()) for _ in range(2)]


@pytest.fixture
async def client(
    clock: Clock, providers: list[Provider], request: pytest.FixtureRequest
) -> AsyncGenerator[httpx2.AsyncClient]:
    names = tuple(f"{provider.base_url}#{name}" for provider, name in zip(providers, "ab", strict=True))
    strategy = cast("Strategy", getattr(request, "param", "auto"))
    rules = (RuleConfig(when=When(code=True), use=(names[1],)),) if strategy == "auto" else ()
    model = ModelConfig(targets=names, strategy=strategy, rule=rules, retry=RetryConfig(attempts=1), sticky=not rules)
    async with (
        serving(configured(Config(models={"fast": model}), heartbeat=Seconds(3600))) as server,
        server.client() as client,
    ):
        yield client


async def asked(client: httpx2.AsyncClient, text: str = "hi", hint: str = "", **more: Any) -> str:
    """The target that answered."""
    body = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": text}], **more}
    told = await client.post("/v1/chat/completions", json=body, headers={"Penstock-Route": hint} if hint else {})
    assert told.status_code == 200
    assert "data: [DONE]" in told.text
    return str(told.headers["penstock-target"])


@pytest.mark.parametrize("client", ["auto", "latency"], indirect=True)
async def test_a_target_made_slow_loses_its_traffic_and_regains_it_after_a_probe(
    client: httpx2.AsyncClient, providers: list[Provider], clock: Clock
) -> None:
    def slowly(request: Request) -> list[Step]:
        clock.turn(8)
        return usual(request)

    providers[0].unscripted = slowly
    assert await asked(client) == "a"
    assert [await asked(client) for _ in range(4)] == ["b"] * 4
    clock.turn(STALE)
    assert await asked(client) == "a", "it is tried"
    assert [await asked(client) for _ in range(4)] == ["b"] * 4, "and is still slow"
    providers[0].unscripted = usual
    clock.turn(STALE)
    assert [await asked(client) for _ in range(4)] == ["a"] * 4


@pytest.mark.parametrize("client", ["auto", "latency"], indirect=True)
async def test_a_target_made_failing_loses_its_traffic_and_regains_it_after_a_probe(
    client: httpx2.AsyncClient, providers: list[Provider], clock: Clock
) -> None:
    providers[0].unscripted = lambda request: [DOWN]
    assert [await asked(client) for _ in range(12)] == ["b"] * 12
    refused = len(providers[0].requests)
    assert refused == 5, "it is left alone after five failures in a row"
    providers[0].unscripted = usual
    clock.turn(6)
    assert "a" in [await asked(client) for _ in range(2)]
    assert len(providers[0].requests) > refused


async def test_what_is_asked_and_what_is_hinted_decide_and_the_note_says_so(client: httpx2.AsyncClient) -> None:
    assert await asked(client) == "a"
    assert await asked(client, "Fix this: ```py\nprint(\n```") == "b"
    assert await asked(client, hint="b") == "b"
    assert await asked(client, metadata={"route": "b"}) == "b"
    told = await client.post("/v1/streams", json={"model": "fast", "prompt": "Refactor it."})
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    (note,) = [event["body"] for event in events if event["type"] == "note"]
    assert note == {"target": "b", "why": "rule 1: code", "candidates": ["b", "a"]}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/streams"])
async def test_a_hint_nobody_knows_is_refused_in_words_of_the_dialect(client: httpx2.AsyncClient, path: str) -> None:
    body = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    refused = await client.post(path, json=body, headers={"Penstock-Route": "quick"})
    assert refused.status_code == 400
    assert "'quick' is none of what this model knows: fast, cheap, best, local, a, b" in refused.text


@pytest.mark.parametrize("client", ["order"], indirect=True)
async def test_a_conversation_stays_with_the_target_that_took_it_over(
    client: httpx2.AsyncClient, providers: list[Provider]
) -> None:
    providers[0].script(DOWN)
    assert await asked(client, user="ada") == "b"
    assert await asked(client, user="bob") == "a"
    assert await asked(client, user="ada") == "b"
    assert await asked(client, user="bob") == "a"


async def test_a_hint_on_the_handshake_of_a_websocket_holds_for_its_runs(client: httpx2.AsyncClient) -> None:
    url = str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/v1/chat/ws"
    async with websocket(url, additional_headers={"Penstock-Route": "b"}) as socket:
        for ref in ("1", "2"):
            await socket.ask(type="start", ref=ref, request={"model": "fast", "prompt": "hi"})
            note = (await socket.until("note"))[-1]
            assert (note["body"]["target"], note["body"]["why"]) == ("b", "hint b")
            await socket.until("finished")


@pytest.mark.parametrize("client", ["order"], indirect=True)
async def test_a_conversation_that_nobody_answered_stays_with_nobody(
    client: httpx2.AsyncClient, providers: list[Provider]
) -> None:
    asking = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": "hi"}], "user": "ada"}
    for provider in providers:
        provider.script(DOWN)
    whys = [(await client.post("/v1/chat/completions", json=asking)).headers.get("penstock-why") for _ in range(3)]
    assert whys[1:] == ["order", "answered this conversation before (order)"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_hint_in_the_body_is_for_us_and_goes_no_further(
    client: httpx2.AsyncClient, providers: list[Provider], path: str
) -> None:
    body = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    told = await client.post(path, json={**body, "metadata": {"route": "b"}})
    assert told.headers["penstock-target"] == "b"
    assert "metadata" not in (await providers[1].next_request()).json


async def test_what_is_no_hint_in_the_metadata_goes_on_to_the_provider(
    client: httpx2.AsyncClient, providers: list[Provider]
) -> None:
    assert await asked(client, metadata={"route": "checkout"}) == "a"
    assert (await providers[0].next_request()).json["metadata"] == {"route": "checkout"}


def test_a_promise_that_a_fallback_is_known_not_to_keep_stops_the_start() -> None:
    model = ModelConfig(targets=("http://127.0.0.1:1/v1#a", "demo"), features=Features(images=True))
    with pytest.raises(ValueError, match=r"models\.m: 'demo' has no images, and features says that this model has"):
        assembly.build(Config(models={"m": model}))


def test_a_rule_about_what_its_target_is_known_not_to_do_stops_the_start() -> None:
    rule = RuleConfig(when=When(images=True), use=("demo",))
    for targets in (("http://127.0.0.1:1/v1#a", "demo"), ("demo",)):
        model = ModelConfig(targets=targets, strategy="auto", rule=(rule,))
        with pytest.raises(ValueError, match=r"models\.m\.rule\[0\]: 'demo' has no images, which this rule is about"):
            assembly.build(Config(models={"m": model}))
