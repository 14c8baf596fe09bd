"""What an answer cost, over real sockets: at whose price, where it is told, and what is still learnt after the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig, PriceConfig, PricesConfig, TargetConfig
from penstock.core.events import Cancelled, Delta, Usage
from tests.fakes.provider import Provider
from tests.fakes.replaying import Replay, replaying
from tests.serving import configured, serving
from tests.sources.recordings import RECORDINGS, parsed, parser_of
from tests.telemetry.pages import scraped
from tests.waiting import until

MODEL = "openai/gpt-4.1-mini"
OWN = f'["{MODEL}"]\ninput = 10.0\noutput = 20.0\n'
PLAIN_PROVIDERS = ["openai", "anthropic_text", "ollama_text", "responses_text"]
"""A recording of each protocol."""


@pytest.mark.parametrize(
    ("file", "of_the_target", "cost"),
    [
        pytest.param(False, None, 3 * 0.4 + 4 * 1.6, id="shipped"),
        pytest.param(True, None, 3 * 10 + 4 * 20, id="file"),
        pytest.param(True, PriceConfig(input=100.0, output=200.0), 3 * 100 + 4 * 200, id="target"),
    ],
)
async def test_the_price_nearest_to_the_target_counts_and_its_cost_is_told_wherever_the_account_is(
    tmp_path: Path, file: bool, of_the_target: PriceConfig | None, cost: float
) -> None:
    (tmp_path / "prices.toml").write_text(OWN)
    async with Provider().listening() as provider:
        config = Config(
            providers={"openai": ProviderConfig(base_url=provider.base_url)},
            models={"mini": ModelConfig(targets=(MODEL,))},
            targets={MODEL: TargetConfig(price=of_the_target)},
            prices=PricesConfig(file=tmp_path / "prices.toml" if file else None),
        )
        async with serving(configured(config)) as served, served.client() as client:
            asked = {"model": "mini", "prompt": "hi"}
            told = await client.post("/v1/streams", json=asked, headers={"accept": "application/x-ndjson"})
            usage = json.loads(told.text.splitlines()[-1])["usage"]
            state = (await client.get(f"/v1/streams/{served.only.id}")).json()
            page = await scraped(client)
    assert (usage["input"], usage["output"], usage["grade"]) == (3, 4, "reported")
    assert usage["cost"] == pytest.approx(cost / 1_000_000)
    assert usage == state["usage"] == state["end"]["usage"] == state["snapshot"]["usage"]
    assert page.sum("penstock_cost_total") == usage["cost"]


@pytest.mark.parametrize("leave", ["cancel", "disconnect"])
@pytest.mark.parametrize("name", PLAIN_PROVIDERS)
async def test_whoever_ends_an_answer_early_a_provider_that_is_drained_tells_what_it_cost(
    name: str, leave: Literal["cancel", "disconnect"]
) -> None:
    (recording,) = [path for path in RECORDINGS if path.stem == name]
    whole = [event for event in parsed(parser_of(recording), recording.read_bytes()) if isinstance(event, Usage)]
    async with (
        replaying(recording) as (replay, provider),
        serving(sources={name: provider.source(name)}) as served,
        served.client() as client,
    ):
        provider.drain = 60.0
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        request = client.build_request("POST", "/v1/chat/completions", json=body)
        asking = asyncio.ensure_future(client.send(request, stream=True))
        _speak(replay, recording)
        response = await asking
        if leave == "cancel":
            await client.delete(f"/v1/streams/{served.only.id}")
        await response.aclose()
        await until("the run has ended", lambda: bool(served.seen.ended))
        end, log = served.only.pump.terminal, served.only.log.last
        replay.whole()
        await until("the source has closed", lambda: not served.only.pump.closing)
    assert isinstance(end, Cancelled)
    assert end.by == ("client" if leave == "cancel" else "disconnect")
    assert served.only.pump.usage == msgspec.structs.replace(whole[-1], grade="drained")
    assert (served.only.pump.terminal, served.only.log.last) == (end, log)


def _speak(replay: Replay, recording: Path) -> None:
    """Let the provider go on to its first word, and no further."""
    parser = parser_of(recording)
    while not any(isinstance(event, Delta) and event.text for event in parser.feed(replay.release())):
        assert replay.left
