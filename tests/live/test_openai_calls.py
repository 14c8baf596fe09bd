"""openai-python's calls that are no answers: the models there are, embeddings, and counted tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import openai
import pytest

from tests.fakes.provider import Provider
from tests.fakes.script import Reply
from tests.server.test_calls import VECTORS, config
from tests.server.test_models import CONFIG, NAMES
from tests.serving import Served, serving


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    async with serving(config(provider)) as server:
        yield server


def asking(served: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0)


async def test_it_lists_and_retrieves_models() -> None:
    async with serving(CONFIG) as served, asking(served) as sdk:
        assert [model.id async for model in sdk.models.list()] == NAMES
        assert (await sdk.models.retrieve("team/best")).owned_by == "acme"
        with pytest.raises(openai.NotFoundError, match="no model is called 'fest'; did you mean 'fast'"):
            await sdk.models.retrieve("fest")


async def test_it_gets_embeddings(served: Served, provider: Provider) -> None:
    provider.script(Reply(body=VECTORS))
    async with asking(served) as sdk:
        made = await sdk.embeddings.create(model="embedder", input="Hello", encoding_format="float")
    assert made.data[0].embedding == [0.1, 0.2]


async def test_it_is_told_when_a_count_is_an_estimate(served: Served) -> None:
    async with asking(served) as sdk:
        counted = await sdk.responses.input_tokens.with_raw_response.count(
            model="demo", instructions="x" * 40, input="y" * 40
        )
    assert (counted.parse().input_tokens, counted.parse().object) == (20, "response.input_tokens")
    assert counted.headers["penstock-estimated"] == "true"
