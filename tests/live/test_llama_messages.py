"""A real llama.cpp server asked at its own `/v1/messages`: an Anthropic upstream that nobody here wrote."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from penstock.core.events import Closed, Delta, Finished, Json, Opened, Started, Usage
from penstock.core.request import ChatRequest
from penstock.sources.anthropic_http import AnthropicProvider
from penstock.sources.provider import HttpSource
from penstock.testing.sources import check_source
from tests.live.llama import MODEL, slots_idle
from tests.serving import Served, serving
from tests.sources.asking import ask, heard, question, text

pytestmark = pytest.mark.needs("llama")


@pytest.fixture
async def source(llama_server: str) -> AsyncGenerator[HttpSource]:
    source = AnthropicProvider(llama_server).source(MODEL)
    yield source
    await source.close()
    await slots_idle(llama_server)


@pytest.fixture
async def served(llama_server: str) -> AsyncGenerator[Served]:
    config = Config(
        providers={"messages": ProviderConfig(base_url=llama_server, kind="anthropic")},
        models={MODEL: ModelConfig(targets=(f"messages/{MODEL}",))},
    )
    async with serving(config) as server:
        yield server
    await slots_idle(llama_server)


async def test_an_answer_streams_to_its_end(source: HttpSource) -> None:
    # The likeliest tokens: by chance the first is a piece of a character, and llama.cpp then sends no `message_start`.
    events, broken = await heard(ask(source, question("hello world", max_tokens=40, temperature=0)))
    assert broken is None
    (said,) = [event for event in events if isinstance(event, Opened)]
    assert (isinstance(events[0], Started), said.kind, len(text(events)) > 10) == (True, "text", True)
    assert len([event for event in events if isinstance(event, Delta)]) > 5
    usage = events[-2]
    assert isinstance(usage, Usage)
    assert (usage.output, usage.grade, usage.input > 0) == (40, "reported", True)
    assert (events[-3], events[-1]) == (Closed(said.part), Finished("length"))


async def test_the_law_of_sources_holds(source: HttpSource, llama_server: str) -> None:
    request = question("hello world", max_tokens=24)
    await check_source(source, request, at_rest=lambda: slots_idle(llama_server))


async def test_a_conversation_of_every_kind_of_message_is_taken(source: HttpSource) -> None:
    call: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    request = ChatRequest(
        model="any",
        messages=(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "7"},
            {"role": "user", "content": [{"type": "text", "text": "and"}]},
        ),
        params={"max_tokens": 8, "stop": ["\u0000\u0001"], "temperature": 0.5, "top_k": 5},
    )
    events, broken = await heard(ask(source, request))
    assert (broken, isinstance(events[-1], Finished)) == (None, True)


async def test_a_conversation_that_is_too_long_is_refused_as_such(source: HttpSource) -> None:
    _, broken = await heard(ask(source, question("and " * 4000)))
    assert broken is not None
    assert broken.fault.code == "context_too_long"


async def test_an_openai_client_reads_an_anthropic_upstream(served: Served) -> None:
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello world"}],
        "max_tokens": 40,
        "temperature": 0,
        "stream": False,
    }
    async with served.client() as client:
        first, second = await asyncio.gather(
            client.post("/v1/chat/completions", json=asked),
            client.post("/v1/chat/completions", json={**asked, "seed": 7}),
        )
    answer = first.json()
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 40)
    assert len(choice["message"]["content"]) > 10
    assert (second.status_code, second.json()["error"]["code"], second.json()["error"]["param"]) == (
        400, "not_carried", "seed",
    )  # fmt: skip
