"""openai-python 2.x and 3.x against `/v1/chat/completions`: what is in the stream beside its chunks does not disturb them."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import Seconds
from tests.clients.eventsource_parser import EventStreamParser
from tests.clients.openai_sdk import BOTH_VERSIONS, Version, content, read_with_openai
from tests.clients.raw_client import raw_client
from tests.fakes.cutting_proxy import CuttingProxy
from tests.fakes.provider import USUAL, Provider
from tests.fakes.script import Cut, Event, Gate, Reply, Step, chunk, closing, opening, text, tool_call, usage_of
from tests.live.llama import slots_idle
from tests.serving import Served, configured, serving
from tests.waiting import until

pytestmark = pytest.mark.parametrize("version", BOTH_VERSIONS)

PING_ON_THE_WIRE = len(b"7\r\n: ping\n\r\n")
HEARTBEATS = 3


def upstream(base_url: str, *, heartbeat: float = 3600) -> Config:
    config = Config(models={"fake": ModelConfig(targets=(f"{base_url}#fake",))})
    return configured(config, heartbeat=Seconds(heartbeat))


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    async with serving(upstream(provider.base_url)) as server:
        yield server


async def read(version: Version, served: Served, *flags: str) -> list[dict[str, Any]]:
    return await read_with_openai(version, f"{served.url}/v1", "--model", "fake", *flags)


async def test_it_reads_ids_a_retry_and_three_heartbeats_without_a_word_of_complaint(
    provider: Provider, version: Version
) -> None:
    """The upstream falls silent in mid-answer; only heartbeats can pass until it is let go on."""
    gate = Gate()
    provider.script(opening(), text("one"), gate, text(" two"), closing())
    async with (
        serving(upstream(provider.base_url, heartbeat=0.1), real_time=True) as served,
        CuttingProxy(served.port).listening() as proxy,
        raw_client(served.url) as raw,
    ):
        reading = asyncio.ensure_future(read_with_openai(version, f"{proxy.url}/v1", "--model", "fake"))
        await gate.reached.wait()
        await raw.request("GET", f"/v1/streams/{served.only.id}/events?dialect=openai-chat")
        await raw.head()
        said = await raw.body_until(b": ping\n")
        (link,) = proxy.links
        spoken = link.passed
        await until(
            f"{HEARTBEATS} heartbeats have passed to the SDK",
            lambda: link.passed >= spoken + HEARTBEATS * PING_ON_THE_WIRE,
        )
        assert (link.passed - spoken) % PING_ON_THE_WIRE == 0
        gate.open()
        said += await raw.rest()
        lines = await reading
    assert content(lines) == "one two"
    assert lines[-1] == {"end": "complete"}
    assert [line for line in lines if "usage" in line] == []
    parser = EventStreamParser()
    events = parser.feed(said)
    assert parser.retry == 1000
    assert parser.comments[:HEARTBEATS] == ["ping"] * HEARTBEATS
    assert len({event.id for event in events}) == len(events)


async def test_it_reads_tool_calls_piece_by_piece(served: Served, provider: Provider, version: Version) -> None:
    pieces = [
        tool_call(0, "", call_id="call_1", name="weather"),
        tool_call(0, '{"city":'),
        tool_call(0, '"Ulm"}'),
        tool_call(1, "", call_id="call_2", name="weather"),
        tool_call(1, '{"city":"Köln"}'),
    ]
    provider.script(opening(), pieces, closing(finish="tool_calls"))
    lines = await read(version, served, "--tools")
    calls: dict[int, dict[str, Any]] = {}
    for line in lines[:-1]:
        for call in line["choices"][0]["delta"].get("tool_calls") or []:
            whole = calls.setdefault(call["index"], {"arguments": ""})
            whole |= {"id": call["id"], "name": call["function"]["name"]} if "id" in call else {}
            whole["arguments"] += call["function"]["arguments"]
    assert calls == {
        0: {"id": "call_1", "name": "weather", "arguments": '{"city":"Ulm"}'},
        1: {"id": "call_2", "name": "weather", "arguments": '{"city":"Köln"}'},
    }
    assert lines[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert provider.requests[0].json["tools"][0]["function"]["name"] == "weather"


async def test_it_reads_two_choices(served: Served, provider: Provider, version: Version) -> None:
    said: list[Step] = [text("He", choice=0), text("Sal", choice=1), text("llo", choice=0), text("ut", choice=1)]
    done: list[Step] = [Event(chunk(finish="stop", choice=0)), Event(chunk(finish="length", choice=1))]
    provider.script(opening(), said, done, closing()[1:])
    lines = await read(version, served, "--count", "2")
    assert [content(lines, choice=choice) for choice in (0, 1)] == ["Hello", "Salut"]
    reasons = [(choice["index"], choice["finish_reason"]) for line in lines[:-1] for choice in line["choices"]]
    assert [reason for reason in reasons if reason[1]] == [(0, "stop"), (1, "length")]
    assert provider.requests[0].json["n"] == 2


async def test_usage_comes_on_request(served: Served, version: Version) -> None:
    lines = await read(version, served, "--usage")
    assert lines[-2]["choices"] == []
    assert {name: lines[-2]["usage"][name] for name in usage_of(3, 4)} == usage_of(3, 4)
    assert content(lines) == "".join(USUAL)


@pytest.mark.parametrize("death", [Cut(), Event({"error": {"message": "out of memory", "code": 500}})])
async def test_an_upstream_that_dies_in_mid_answer_is_an_error_and_no_end(
    served: Served, provider: Provider, version: Version, death: Cut | Event
) -> None:
    provider.script(opening(), text("half an ans"), death, *([] if not isinstance(death, Event) else closing()))
    lines = await read(version, served)
    assert content(lines) == "half an ans"
    assert lines[-1]["error"] == "APIError"
    assert lines[-1]["code"] == ("provider_error" if isinstance(death, Event) else "provider_truncated")


async def test_it_reads_a_whole_answer(served: Served, version: Version) -> None:
    answer, end = await read(version, served, "--no-stream")
    assert end == {"end": "complete"}
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "".join(USUAL)
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["total_tokens"]) == ("stop", 7)


async def test_a_rate_limit_before_the_first_token_is_its_own_error_with_the_time_to_wait(
    served: Served, provider: Provider, version: Version
) -> None:
    provider.script(Reply(status=429, body={"error": {"message": "slow down"}}, headers={"Retry-After": "7"}))
    (line,) = await read(version, served)
    assert (line["error"], line["status"], line["code"]) == ("RateLimitError", 429, "provider_rate_limited")
    assert line["retry_after"] == "7"


async def test_a_model_nobody_knows_is_its_own_error(served: Served, version: Version) -> None:
    (line,) = await read_with_openai(version, f"{served.url}/v1", "--model", "fak")
    assert (line["error"], line["status"], line["code"]) == ("NotFoundError", 404, "unknown_model")
    assert "did you mean 'fake'?" in line["message"]


@pytest.mark.needs("llama")
async def test_it_reads_a_real_model(llama_server: str, version: Version) -> None:
    async with serving(upstream(llama_server)) as served:
        lines = await read(version, served, "--usage")
        (run,) = served.runs.by_id.values()
        assert content(lines) == "".join(part.text for part in run.log.snapshot().parts)
    assert lines[-1] == {"end": "complete"}
    assert lines[-2]["usage"]["completion_tokens"] > 0
    await slots_idle(llama_server)
