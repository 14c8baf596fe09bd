"""anthropic-python beside messages: models, their pages, and counts of tokens, unmodified."""

from __future__ import annotations

import anthropic
import pytest

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from tests.fakes.provider import Provider
from tests.fakes.script import Reply
from tests.serving import MODEL, serving


def config(provider: Provider) -> Config:
    claudes = ProviderConfig(base_url=provider.base_url, kind="anthropic")
    models = {name: ModelConfig(targets=(f"claudes/{name}",)) for name in ("opus", "haiku")}
    return Config(providers={"claudes": claudes}, models=models)


async def test_models_are_listed_page_by_page_and_retrieved(provider: Provider) -> None:
    async with (
        serving(config(provider)) as served,
        anthropic.AsyncAnthropic(base_url=served.url, api_key="any", max_retries=0) as sdk,
    ):
        assert [model.id async for model in sdk.models.list(limit=1)] == [MODEL, "opus", "haiku"]
        model = await sdk.models.retrieve("opus")
        assert (model.type, model.display_name) == ("model", "opus")
        with pytest.raises(anthropic.NotFoundError, match="no model is called 'nobody'") as missing:
            await sdk.models.retrieve("nobody")
        assert missing.value.request_id is not None


async def test_tokens_are_counted_or_estimated(provider: Provider) -> None:
    async with (
        serving(config(provider)) as served,
        anthropic.AsyncAnthropic(base_url=f"{served.url}/", api_key="any", max_retries=0) as sdk,
    ):
        provider.script(Reply(body={"input_tokens": 11}))
        asked = [{"role": "user", "content": "Hello, world"}]
        assert (await sdk.messages.count_tokens(model="opus", messages=asked)).input_tokens == 11  # type: ignore[arg-type]
        raw = await sdk.messages.with_raw_response.count_tokens(model=MODEL, messages=asked)  # type: ignore[arg-type]
        assert raw.headers["penstock-estimated"] == "true"
        assert (await raw.parse()).input_tokens == 7
        with pytest.raises(anthropic.BadRequestError):
            await sdk.messages.count_tokens(model=MODEL, messages=[])
