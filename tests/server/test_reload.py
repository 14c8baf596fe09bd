"""A configuration that takes another one's place: what the earlier one holds open lives as long as its last run."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.assembly import reload
from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig, RetryConfig, TargetConfig
from penstock.config.units import Seconds
from tests.fakes.provider import Provider
from tests.fakes.script import Gate, Hang, Reply, closing, opening, text
from tests.live.answering import Told, answering
from tests.serving import Served, configured, serving
from tests.waiting import until

DOWN = Reply(status=500, body={"error": {"message": "out of order", "type": "server_error"}})
ASKED = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def config(provider: Provider, alias: str) -> Config:
    return Config(models={alias: ModelConfig(targets=(f"{provider.base_url}#fake",))})


@pytest.fixture
async def served(provider: Provider) -> AsyncIterator[Served]:
    async with serving(config(provider, "fake")) as server:
        yield server


async def test_a_live_run_keeps_its_providers_connection_and_the_last_one_closes_it(
    served: Served, provider: Provider
) -> None:
    gate = Gate()
    provider.script(opening(), text("half"), gate, text(" and half"), closing())
    async with answering(served.url, "sse", ASKED) as answer:
        assert await answer.first() == "half"
        reload(served.app, config(provider, "later"))
        async with served.client() as client:
            gone = await client.post("/v1/chat/completions", json=ASKED)
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_model")
            assert not provider.connections[0].peer_gone.is_set()
        gate.open()
        assert await answer.rest() == Told("half and half", "finished")
    # Kept for the next request, were there one to come.
    await provider.connections[0].peer_gone.wait()


async def test_a_server_that_ends_between_two_configurations_leaves_nothing_open(
    served: Served, provider: Provider
) -> None:
    provider.script(opening(), text("half"), Hang())
    async with answering(served.url, "sse", ASKED) as answer:
        assert await answer.first() == "half"
        reload(served.app, config(provider, "later"))
        closing_now = asyncio.ensure_future(served.app.close())
        assert await answer.rest() == Told("half", "interrupted")
        await closing_now
    await provider.connections[0].peer_gone.wait()


async def test_heartbeats_come_as_the_new_configuration_says(provider: Provider) -> None:
    slow = configured(config(provider, "fake"), heartbeat=Seconds(3600))
    async with serving(slow, real_time=True) as served:
        gate = Gate()
        provider.script(opening(), text("half"), gate, closing())
        async with answering(served.url, "ndjson", ASKED) as answer:
            assert await answer.first() == "half"
            reload(served.app, configured(config(provider, "fake"), heartbeat=Seconds(0.05)))
            beats = asyncio.ensure_future(answer.rest())
            await until("a heartbeat has come", lambda: b"\n\n" in getattr(answer, "body", b""))
            gate.open()
            assert await beats == Told("half", "finished")


async def test_how_targets_do_and_who_answered_whom_outlives_a_configuration() -> None:
    async with Provider().listening() as a, Provider().listening() as b:
        names = (f"{a.base_url}#a", f"{b.base_url}#b")
        model = ModelConfig(targets=names, sticky=True, retry=RetryConfig(attempts=1))
        config = Config(models={"fake": model})
        async with serving(configured(config)) as served, served.client() as client:

            async def answered_by(**more: str) -> str:
                told = await client.post("/v1/chat/completions", json={**ASKED, "stream": False, **more})
                return told.headers["penstock-target"]

            a.script(DOWN)
            assert await answered_by(user="ada") == "b"
            reload(served.app, config)
            assert [await answered_by(user="ada"), await answered_by(user="bob")] == ["b", "a"]
            for _ in range(5):
                a.script(DOWN)
                assert await answered_by(user="eve") == "b"
                reload(served.app, Config(models={"fake": ModelConfig(targets=names, retry=RetryConfig(attempts=1))}))
            asked = len(a.requests)
            assert await answered_by(user="bob") == "b", "a rests still"
            assert len(a.requests) == asked


async def test_the_line_before_a_target_outlives_a_configuration_and_may_become_shorter(provider: Provider) -> None:
    def limited(places: int) -> Config:
        target = f"{provider.base_url}#fake"
        models = {"fake": ModelConfig(targets=(target,))}
        return configured(Config(models=models, targets={target: TargetConfig(concurrent=places, queue=0)}))

    async with serving(limited(2)) as served, served.client() as client:
        gate = Gate()
        provider.script(opening(), text("half"), gate, closing())
        async with answering(served.url, "sse", ASKED) as answer:
            assert await answer.first() == "half"
            reload(served.app, limited(1))
            refused = await client.post("/v1/chat/completions", json=ASKED)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "target_busy")
            gate.open()
            assert await answer.rest() == Told("half", "finished")
        assert (await client.post("/v1/chat/completions", json=ASKED)).status_code == 200


async def test_providers_are_warm_again_after_a_reload(provider: Provider) -> None:
    warm = Config(providers={"a": ProviderConfig(base_url=provider.base_url, warm=True)})
    async with serving(configured(warm)) as served:
        await until("it is warm", lambda: len(provider.connections) == 1)
        reload(served.app, configured(warm))
        await until("it is warm again", lambda: len(provider.connections) == 2)
