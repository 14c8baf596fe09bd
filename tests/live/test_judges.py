"""The clients people have, reading answers that break off: where nobody stands by each sees every failure, and the words before it;
where another target goes on, one answer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

import anthropic
import openai
import pytest
from openai.types.chat.chat_completion_chunk import Choice

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import Seconds
from penstock.testing.script import Cut, Gate
from penstock.testing.upstream import Provider
from tests.clients.program import program
from tests.faults.test_targets import ASKED, BEGUN, BROKE_OFF, HI, SAID, WHOLE, two
from tests.live.node_clients import node_client
from tests.loopback import http_client
from tests.serving import Served, configured, serving

KEY: Any = {"api_key": "any", "max_retries": 0}
T = TypeVar("T")
CUT = 18
"""What curl leaves with where a body ends too soon."""


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    alone = ModelConfig(targets=(f"{provider.base_url}#a",))
    async with serving(configured(Config(models={"alone": alone}), heartbeat=Seconds(3600))) as server:
        yield server


@pytest.mark.parametrize("fault", BROKE_OFF)
async def test_the_sdks_of_openai_and_anthropic_see_every_failure(
    served: Served, provider: Provider, fault: str
) -> None:
    script, code = BROKE_OFF[fault]
    steps = [step for step in script if not isinstance(step, Gate)]
    async with http_client() as http:
        provider.script(steps)
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", http_client=http, **KEY) as sdk:
            chunks = await sdk.chat.completions.create(model="alone", messages=[HI], stream=True)
            said: list[Choice] = []
            with pytest.raises(openai.APIError) as failed:
                await heard(said, (chunk.choices[0] async for chunk in chunks))
        assert ("".join(choice.delta.content or "" for choice in said), failed.value.code) == (SAID, code)
        assert [choice.finish_reason for choice in said if choice.finish_reason] == []
    async with http_client() as http:
        provider.script(steps)
        async with (
            anthropic.AsyncAnthropic(base_url=served.url, http_client=http, **KEY) as claude,
            claude.messages.stream(model="alone", max_tokens=99, messages=[HI]) as stream,
        ):
            words: list[str] = []
            with pytest.raises(anthropic.APIStatusError):
                await heard(words, stream.text_stream)
            assert ("".join(words), stream.current_message_snapshot.stop_reason) == (SAID, None)


async def heard(into: list[T], stream: AsyncIterator[T]) -> None:
    """Everything up to the failure."""
    async for each in stream:
        into.append(each)


@pytest.mark.needs("curl")
@pytest.mark.needs("node")
@pytest.mark.parametrize("fault", BROKE_OFF)
async def test_curl_and_an_eventsource_see_every_failure(served: Served, provider: Provider, fault: str) -> None:
    script, code = BROKE_OFF[fault]
    provider.script([step for step in script if not isinstance(step, Gate)])
    asked = {"model": "alone", "messages": [HI]}
    async with served.client() as http:
        begun = await http.post("/v1/streams", json=asked, headers={"Accept": "application/json"})
        url = served.url + begun.json()["events_url"]
        async with (
            program("curl", "-q", "--noproxy", "*", "-sN", "-H", "Accept: text/plain", url, quiet=True) as curl,
            node_client("eventsource", url) as listener,
        ):
            lines = await listener.until_end()
            assert (await curl.ended(), curl.text) == (CUT, SAID)
    events = [json.loads(line["data"]) for line in lines if line.get("data")]
    assert "".join(event.get("text", "") for event in events) == SAID
    assert (events[-1]["type"], events[-1]["error"]["code"]) == ("failed", code)


async def test_the_sdks_of_openai_and_anthropic_read_through_a_joint() -> None:
    async with two() as to:
        to.a.script(BEGUN, Cut())
        async with (
            http_client() as http,
            openai.AsyncOpenAI(base_url=f"{to.served.url}/v1", http_client=http, **KEY) as sdk,
        ):
            chunks = await sdk.chat.completions.create(model="fast", messages=[HI], stream=True)
            said = [choice async for told in chunks for choice in told.choices]
        assert "".join(choice.delta.content or "" for choice in said) == WHOLE
        assert [choice.finish_reason for choice in said if choice.finish_reason] == ["stop"]
        to.a.script(BEGUN, Cut())
        async with (
            http_client() as http,
            anthropic.AsyncAnthropic(base_url=to.served.url, http_client=http, **KEY) as claude,
            claude.messages.stream(model="fast", max_tokens=99, messages=[HI]) as stream,
        ):
            message = await stream.get_final_message()
        assert [(block.type, getattr(block, "text", "")) for block in message.content] == [("text", WHOLE)]
        assert message.stop_reason == "end_turn"


@pytest.mark.needs("curl")
@pytest.mark.needs("node")
async def test_curl_and_an_eventsource_read_through_the_same_joint() -> None:
    async with two() as to, to.served.client() as http:
        gate = Gate()
        to.a.script(BEGUN, gate, Cut())
        begun = await http.post("/v1/streams", json=ASKED, headers={"Accept": "application/json"})
        url = to.served.url + begun.json()["events_url"]
        async with (
            program("curl", "-q", "--noproxy", "*", "-sN", "-H", "Accept: text/plain", url) as curl,
            node_client("eventsource", url) as listener,
        ):
            await curl.shows(SAID)
            gate.open()
            lines = await listener.until_end()
            assert await curl.ended() == 0
        assert curl.text == WHOLE
        heard = [json.loads(line["data"]) for line in lines if line.get("data")]
        assert "".join(event["text"] for event in heard if event["type"] == "delta") == WHOLE
        assert [event["topic"] for event in heard if event["type"] == "note"] == ["target", "continuation"]
        assert heard[-1]["type"] == "finished"
