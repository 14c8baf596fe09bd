"""llama.cpp's own `/v1/responses` as an upstream: asked by clients of other protocols and of its own, cancelled, refused."""

from collections.abc import AsyncGenerator, Mapping

import pytest
from openai import AsyncOpenAI

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from penstock.sources.responses_http import ResponsesProvider
from penstock.testing.sources import check_source
from tests.live.answering import WAYS, Told, Way, answering
from tests.live.llama import ENDLESS, processing, slots_idle
from tests.serving import Served, serving
from tests.sources.asking import question

pytestmark = pytest.mark.needs("llama")

ASKED: Mapping[str, object] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello world"}],
    "max_tokens": 40,
}


@pytest.fixture
async def served(llama_server: str) -> AsyncGenerator[Served]:
    providers = {"llama": ProviderConfig(kind="openai-responses", base_url=llama_server)}
    async with serving(Config(providers=providers, models={"tiny": ModelConfig(targets=("llama/tiny",))})) as server:
        yield server
    await slots_idle(llama_server)


async def test_the_source_keeps_the_law_of_sources(llama_server: str) -> None:
    provider = ResponsesProvider(llama_server)
    try:
        asked = question(max_tokens=12)
        events, broken = await check_source(provider.source("tiny"), asked, at_rest=lambda: slots_idle(llama_server))
    finally:
        await provider.close()
    assert broken is None
    assert [type(event).__name__ for event in events][:2] == ["Started", "Opened"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_streams_to_its_end(served: Served, way: Way) -> None:
    async with answering(served.url, way, ASKED) as answer:
        told = await answer.rest()
        state = await answer.snapshot()
    (part,) = state["snapshot"]["parts"]
    assert told == Told(part["text"], "finished")
    assert told.text != ""
    assert 0 < state["snapshot"]["usage"]["output"] <= 40


async def test_a_cancel_stops_the_model(served: Served, llama_server: str) -> None:
    async with answering(served.url, "sse", {**ASKED, **ENDLESS}) as answer:
        await answer.first()
        assert await processing(llama_server) == 1
        await answer.cancel()
        await slots_idle(llama_server)
    assert served.cancelled == (answer.stream, "client", "counted")


async def test_a_whole_conversation_with_tools_and_thoughts_is_understood(served: Served) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    asked = {
        **ASKED,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "How is Oslo?"}]},
            {"role": "assistant", "reasoning_content": "Look it up.", "content": "One moment.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            {"role": "assistant", "content": [{"type": "text", "text": "It rains."}]},
            {"role": "user", "content": "And tomorrow?"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        "temperature": 0.5,
    }
    async with answering(served.url, "ndjson", asked) as answer:
        assert (await answer.rest()).end == "finished"


async def test_a_client_of_responses_reads_an_upstream_of_responses(served: Served) -> None:
    client = AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    async with client, client.responses.stream(model="tiny", input="hello world", max_output_tokens=40) as stream:
        said = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        whole = await stream.get_final_response()
    assert said != ""
    assert whole.output_text == said
    assert whole.status == "completed"
    assert whole.usage is not None
    assert 0 < whole.usage.output_tokens <= 40


async def test_a_prompt_that_does_not_fit_is_refused_with_its_own_status(served: Served) -> None:
    body = {**ASKED, "messages": [{"role": "user", "content": "hello world " * 1000}]}
    async with served.client() as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_too_long")


async def test_what_its_protocol_has_no_words_for_is_refused_by_its_name(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/chat/completions", json={**ASKED, "seed": 7})
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("not_carried", "seed")
