"""langchain, llama-index and the litellm SDK as clients: streams, tools, schemas, honest failures, and leaving in the middle."""

from collections.abc import AsyncGenerator

import pytest

from tests.fakes.model import steps
from tests.fakes.provider import Provider
from tests.fakes.script import Cut, Gate, Reply, closing, opening, text, tool_call
from tests.frameworks.asking import Framework, Speaks, asking, told
from tests.live.llama import slots_idle
from tests.serving import Served, serving, upstream
from tests.waiting import until

CLIENTS: tuple[tuple[Framework, Speaks], ...] = (
    ("langchain", "openai"),
    ("langchain", "anthropic"),
    ("llamaindex", "openai"),
    ("litellm", "openai"),
    ("litellm", "anthropic"),
)
pytestmark = pytest.mark.parametrize(
    ("framework", "speaks"),
    [pytest.param(*each, id="-".join(each), marks=pytest.mark.needs(each[0])) for each in CLIENTS],
)


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    provider.unscripted = steps
    async with serving(upstream(provider.base_url)) as server:
        yield server


async def test_it_hears_each_word_when_it_is_said(
    served: Served, provider: Provider, framework: Framework, speaks: Speaks
) -> None:
    gate = Gate()
    provider.script(opening(), text("one"), gate, text(" two"), closing())
    async with asking(framework, served.url, "speak", speaks=speaks) as question:
        assert await question.text() == "one"
        gate.open()
        assert await question.text() == " two"
        (end,) = [line async for line in question.lines]
    assert (end["end"], end["calls"]) == ("complete", [])


async def test_it_reads_a_whole_answer(served: Served, framework: Framework, speaks: Speaks) -> None:
    said, end = await told(framework, served.url, "Hello there", how="whole", speaks=speaks)
    assert (said, end["usage"]) == ("You said: Hello there", 4)


async def test_a_streamed_answer_comes_with_its_reason_and_usage(
    served: Served, framework: Framework, speaks: Speaks
) -> None:
    said, end = await told(framework, served.url, "Hello there", speaks=speaks)
    assert (said, end["usage"]) == ("You said: Hello there", 4)


async def test_it_puts_parallel_tool_calls_together(
    served: Served, provider: Provider, framework: Framework, speaks: Speaks
) -> None:
    pieces = [
        tool_call(0, "", call_id="call_1", name="weather"),
        tool_call(0, '{"city":'),
        tool_call(0, '"Ulm"}'),
        tool_call(1, "", call_id="call_2", name="weather"),
        tool_call(1, '{"city":"Köln"}'),
    ]
    provider.script(opening(), pieces, closing(finish="tool_calls"))
    said, end = await told(framework, served.url, "The weather in both?", how="tools", speaks=speaks)
    assert (said, end["calls"]) == ("", [["weather", {"city": "Ulm"}], ["weather", {"city": "Köln"}]])
    assert provider.requests[-1].json["tools"][0]["function"]["name"] == "weather"


async def test_it_gets_the_object_it_described(served: Served, framework: Framework, speaks: Speaks) -> None:
    _, end = await told(framework, served.url, "The city 'Ulm' has 128928 people", how="schema", speaks=speaks)
    assert end["value"] == {"name": "Ulm", "people": 128928}


async def test_an_upstream_that_dies_in_mid_answer_is_an_error_and_no_end(
    served: Served, provider: Provider, framework: Framework, speaks: Speaks
) -> None:
    provider.script(opening(), text("half an ans"), Cut())
    said, end = await told(framework, served.url, "speak", speaks=speaks)
    assert said == "half an ans"
    assert end["error"] in {"APIError", "APIStatusError", "MidStreamFallbackError"}


async def test_a_rate_limit_is_its_own_error(
    served: Served, provider: Provider, framework: Framework, speaks: Speaks
) -> None:
    provider.script(Reply(status=429, body={"error": {"message": "slow down"}}, headers={"Retry-After": "7"}))
    said, end = await told(framework, served.url, "speak", speaks=speaks)
    assert (said, end["error"].removeprefix("OpenAI").removeprefix("Anthropic")) == ("", "RateLimitError")
    assert "slow down" in end["message"]


@pytest.mark.needs("llama")
async def test_it_reads_a_real_model(llama_server: str, framework: Framework, speaks: Speaks) -> None:
    async with serving(upstream(llama_server)) as served:
        said, end = await told(framework, served.url, "hello world", speaks=speaks)
        assert said == "".join(part.text for part in served.only.log.snapshot().parts)
    assert (end["end"], end["usage"] > 0) == ("complete", True)
    await slots_idle(llama_server)


async def test_a_program_that_ends_in_mid_answer_stops_the_provider(
    served: Served, provider: Provider, framework: Framework, speaks: Speaks
) -> None:
    gate = Gate()
    provider.script(opening(), text("one"), gate, closing())
    async with asking(framework, served.url, "speak", speaks=speaks) as question:
        assert await question.text() == "one"
    await provider.connections[0].peer_gone.wait()
    await until("the run has ended", lambda: served.only.id in served.seen.ended)
