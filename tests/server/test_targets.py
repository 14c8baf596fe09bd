"""Several targets behind one model, over real sockets: which one answers, what readers notice, and what is said when none can."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from penstock.assembly import reload
from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig, RetryConfig, TargetConfig
from penstock.config.units import Seconds
from penstock.core.cassette import record
from penstock.core.cursor import Entry
from penstock.core.events import Cancelled, Usage
from penstock.server import streams_api
from tests.fakes.provider import Provider
from tests.fakes.script import Cut, End, Event, Gate, Hang, Head, Reply, Reset, Step, answer, chunk, text, usage_of
from tests.serving import Served, configured, serving
from tests.waiting import until

ASKED = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DOWN = Reply(status=500, body={"error": {"message": "out of order", "type": "server_error"}})
AT_ONCE = RetryConfig(attempts=1)


@pytest.fixture
async def providers() -> AsyncGenerator[list[Provider]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Provider().listening()) for _ in range(2)]


@pytest.fixture
async def served(providers: list[Provider]) -> AsyncGenerator[Served]:
    names = tuple(f"{provider.base_url}#{name}" for provider, name in zip(providers, "ab", strict=True))
    config = Config(models={"fast": ModelConfig(targets=names, retry=AT_ONCE)})
    async with serving(configured(config, heartbeat=Seconds(3600))) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncGenerator[httpx2.AsyncClient]:
    async with served.client() as client:
        yield client


async def test_one_dead_target_is_noticed_by_nobody_who_does_not_look(
    providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    providers[0].refuse()
    providers[1].script(answer("from ", "b"))
    whole = await client.post("/v1/chat/completions", json={**ASKED, "stream": False})
    assert (whole.status_code, whole.json()["choices"][0]["message"]["content"]) == (200, "from b")
    assert (whole.headers["penstock-model"], whole.headers["penstock-target"]) == ("fast", "b")
    assert whole.headers["penstock-why"] == "a failed"
    told = await client.post("/v1/streams", json=ASKED)
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    notes = [event for event in events if event["type"] == "note"]
    assert [note["topic"] for note in notes] == ["target", "fallback"]
    assert notes[1]["body"]["after"] == "provider_unreachable"
    assert sum(event["type"] == "started" for event in events) == 1
    assert "".join(event.get("text", "") for event in events) == "Hello, world!"


async def test_the_target_that_answers_is_named_in_the_head_of_a_stream(
    providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    providers[0].script(DOWN)
    told = await client.post("/v1/chat/completions", json=ASKED)
    assert told.headers["penstock-target"] == "b"
    assert told.text.count("data: [DONE]") == 1


async def test_all_refusing_is_a_503_that_names_what_was_tried(
    providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    for provider in providers:
        provider.script(DOWN, DOWN)
        provider.script(DOWN)
    refused = await client.post("/v1/chat/completions", json=ASKED)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    said = refused.json()["error"]
    assert said["code"] == "providers_exhausted"
    assert said["message"] == "no target of 'fast' could answer (a: provider_error; b: provider_error)"
    native = await client.post("/v1/streams", json=ASKED)
    (failed,) = [line for line in native.text.splitlines() if '"failed"' in line]
    assert '"code":"providers_exhausted"' in failed


async def test_all_refusing_is_a_503_too_while_one_of_them_is_left_alone(
    providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    providers[0].refuse()
    reasons = [(await client.post("/v1/chat/completions", json=ASKED)).headers["penstock-why"] for _ in range(6)]
    assert reasons == ["a failed"] * 5 + ["order, without a"]
    providers[1].script(DOWN)
    refused = await client.post("/v1/chat/completions", json=ASKED)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "providers_exhausted")
    said = refused.json()["error"]["message"]
    assert said == "no target of 'fast' could answer (b: provider_error; a: rests)"


async def test_what_a_client_is_told_of_a_failure_names_the_target_and_not_its_address(
    providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    for provider in providers:
        provider.script(Head(), Event(chunk({"content": "Half"})), Reset())
    broken = await client.post("/v1/chat/completions", json=ASKED)
    assert "127.0.0.1" not in broken.text
    assert "Half" in broken.text
    assert "provider_truncated" in broken.text


async def test_a_target_that_says_nothing_in_time_gives_way_to_the_next(
    served: Served, providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    gate = Gate()
    providers[0].script(gate, Head(), Hang())
    asking = client.build_request("POST", "/v1/streams", json=ASKED)
    told = await client.send(asking, stream=True)
    await gate.reached.wait()
    served.tick(301)
    assert "Hello" in (await told.aread()).decode()
    await providers[0].connections[0].peer_gone.wait()


@pytest.mark.parametrize("how", [Cut(), Reset()], ids=["cut", "reset"])
async def test_a_target_that_dies_in_mid_sentence_is_followed_by_another_and_readers_read_on(
    providers: list[Provider], client: httpx2.AsyncClient, how: Step
) -> None:
    gate = Gate()
    providers[0].script(Head(), text("The quick "), gate, how)
    providers[1].script(answer("quick brown", " fox."))
    async with client.stream("POST", "/v1/streams", json=ASKED) as told:
        lines = told.aiter_lines()
        while '"delta"' not in (await anext(lines)):
            pass
        gate.open()
        events = [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]
    assert "".join(event.get("text", "") for event in events) == "brown fox."
    (note,) = [event for event in events if event["type"] == "note"]
    assert (note["topic"], note["body"]["from"], note["body"]["to"]) == ("continuation", "a", "b")
    assert events[-1]["type"] == "finished"
    asked = await providers[1].next_request()
    assert [message["role"] for message in asked.json["messages"]] == ["user", "assistant", "user"]


async def test_a_target_that_falls_silent_in_mid_sentence_is_followed_by_another(
    served: Served, providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    gate = Gate()
    providers[0].script(Head(), text("The quick "), gate, Hang())
    providers[1].script(answer("brown", " fox."))
    async with client.stream("POST", "/v1/chat/completions", json=ASKED) as told:
        await gate.reached.wait()
        gate.open()
        lines = told.aiter_lines()
        while "quick" not in (await anext(lines)):
            pass
        served.tick(121)
        rest = [line async for line in lines]
    said = [json.loads(line[6:]) for line in rest if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in said) == "brown fox."
    assert "data: [DONE]" in rest
    await providers[0].connections[0].peer_gone.wait()


async def test_a_cancel_reaches_the_target_that_speaks(
    served: Served, providers: list[Provider], client: httpx2.AsyncClient
) -> None:
    providers[0].script(DOWN)
    gate = Gate()
    providers[1].script(Head(), text("a"), gate, Hang())
    told = await client.send(client.build_request("POST", "/v1/streams", json=ASKED), stream=True)
    await gate.reached.wait()
    await client.delete(f"/v1/streams/{told.headers['penstock-stream-id']}")
    await providers[1].connections[0].peer_gone.wait()
    await told.aread()
    assert served.seen.ended == {served.only.id: Cancelled("client", Usage(0, 1, "counted"))}


async def test_a_cassette_is_a_target_like_any_other(tmp_path: Path) -> None:
    said: list[dict[str, object]] = [
        {"type": "started", "run": "st_x", "model": "m", "created": 0},
        {"type": "opened", "part": 0, "kind": "text"},
        {"type": "delta", "part": 0, "text": "on tape"},
        {"type": "closed", "part": 0},
        {"type": "finished", "reason": "stop"},
    ]
    file = tmp_path / "run.jsonl"
    lines: list[object] = [{"cassette": 1, "model": "m", "created": 0}, *({"at": 0, "event": event} for event in said)]
    file.write_text("\n".join(map(json.dumps, lines)))
    config = Config(models={"taped": ModelConfig(targets=(f"cassette:{file}#0",))})
    async with serving(configured(config)) as served, served.client() as client:
        whole = await client.post("/v1/chat/completions", json={**ASKED, "model": "taped", "stream": False})
        assert whole.json()["choices"][0]["message"]["content"] == "on tape"
        saved = await client.get(f"/v1/streams/{whole.headers['penstock-stream-id']}/cassette")
        assert saved.headers["content-disposition"].startswith("attachment; filename=")
        events = [json.loads(line)["event"]["type"] for line in saved.text.splitlines()[1:]]
        assert events == [event["type"] for event in said]


@pytest.mark.parametrize(("most", "aside"), [(streams_api.LONG, False), (3, True)])
async def test_a_long_run_is_recorded_beside_the_loop(
    served: Served, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, most: int, aside: bool
) -> None:
    """Those of others would wait for it."""
    threads: list[bool] = []

    def remembering(entries: list[Entry], *, model: str, created: int) -> Iterator[bytes]:
        threads.append(threading.current_thread() is not threading.main_thread())
        return record(entries, model=model, created=created)

    monkeypatch.setattr(streams_api, "record", remembering)
    monkeypatch.setattr(streams_api, "LONG", most)
    told = await client.post("/v1/streams", json=ASKED)
    saved = await client.get(f"/v1/streams/{told.headers['penstock-stream-id']}/cassette")
    assert (saved.status_code, threads) == (200, [aside])


async def test_a_model_that_has_enough_runs_refuses_at_once_in_the_words_of_the_dialect(
    providers: list[Provider],
) -> None:
    gate = Gate()
    providers[0].script(Head(), text("a"), gate, Hang())
    config = Config(models={"fast": ModelConfig(targets=(f"{providers[0].base_url}#a",), concurrent=1)})
    async with serving(configured(config)) as served, served.client() as client:
        live = await client.send(client.build_request("POST", "/v1/streams", json=ASKED), stream=True)
        await gate.reached.wait()
        refused = await client.post("/v1/chat/completions", json=ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["message"] == "1 runs of 'fast' are live, as many as may be; try again shortly"
        await client.delete(f"/v1/streams/{live.headers['penstock-stream-id']}")
        await live.aread()
        assert (await client.post("/v1/chat/completions", json={**ASKED, "stream": False})).status_code == 200


async def test_a_run_of_a_model_with_a_known_price_says_what_it_cost(providers: list[Provider]) -> None:
    known = {"openai": ProviderConfig(base_url=providers[0].base_url)}
    config = Config(providers=known, models={"mini": ModelConfig(targets=("openai/gpt-4.1-mini",))})
    async with serving(configured(config)) as served, served.client() as client:
        told = await client.post("/v1/streams", json={**ASKED, "model": "mini"})
        usage, end = [json.loads(line[6:]) for line in told.text.splitlines() if '"usage"' in line]
    assert end == {"type": "finished", "reason": "stop", "usage": usage}
    assert (usage["input"], usage["output"], usage["grade"]) == (3, 4, "reported")
    assert usage["cost"] == pytest.approx((3 * 0.4 + 4 * 1.6) / 1_000_000)


async def test_a_provider_that_is_to_be_warm_is_connected_to_before_anybody_asks(providers: list[Provider]) -> None:
    known = {
        name: ProviderConfig(base_url=each.base_url, warm=True) for name, each in zip("ab", providers, strict=True)
    }
    providers[0].refuse()
    config = Config(providers=known, models={"one": ModelConfig(targets=("b/x",))})
    async with serving(configured(config)) as served, served.client() as client:
        await until("the other one is warm", lambda: len(providers[1].connections) == 1)
        await until("it is told that one could not be reached", lambda: served.seen.cold == ["a"])
        assert served.seen.troubles == []
        await client.post("/v1/chat/completions", json={**ASKED, "model": "one", "stream": False})
    assert len(providers[1].connections) == 1


async def test_a_target_that_is_to_be_warm_is_asked_for_a_token_before_anybody_asks(providers: list[Provider]) -> None:
    names = tuple(f"{provider.base_url}#{name}" for provider, name in zip(providers, "ab", strict=True))
    providers[0].script(DOWN)
    warm = {name: TargetConfig(warm=True) for name in names}
    config = Config(models={"fast": ModelConfig(targets=names), "same": ModelConfig(targets=names[1:])}, targets=warm)
    async with serving(configured(config)) as served, served.client() as client:
        asked = [await provider.next_request() for provider in providers]
        assert [request.json["max_tokens"] for request in asked] == [1, 1]
        await until("both have answered", lambda: len(served.seen.ended) == 2)
        assert sorted(type(end).__name__ for end in served.seen.ended.values()) == ["Failed", "Finished"]
        assert (await client.get("/v1/streams")).json() == {"streams": []}
        reload(served.app, configured(config))
        await providers[1].next_request()
        await until("they have answered again", lambda: len(served.seen.ended) == 4)
    assert [len(provider.requests) for provider in providers] == [2, 2]


@pytest.mark.parametrize("tells", [True, False])
async def test_a_provider_that_is_drained_is_listened_to_after_a_cancel_for_its_account_alone(
    providers: list[Provider], tells: bool
) -> None:
    told, rest = Gate(), Gate()
    ending = (
        [Event(chunk(finish="stop")), Event({"choices": [], "usage": usage_of(3, 9)}), End()] if tells else [Hang()]
    )
    providers[0].script(Head(), text("a"), told, rest, *ending)
    drained = ProviderConfig(base_url=providers[0].base_url, drain=Seconds(4 if tells else 0.01))
    config = Config(providers={"a": drained}, models={"one": ModelConfig(targets=("a/x",))})
    async with serving(configured(config)) as served, served.client() as client:
        live = await client.send(
            client.build_request("POST", "/v1/streams", json={**ASKED, "model": "one"}), stream=True
        )
        await told.reached.wait()
        told.open()
        await until("the first word is there", lambda: served.only.log.opened)
        run = live.headers["penstock-stream-id"]
        await client.delete(f"/v1/streams/{run}")
        events = (await live.aread()).decode()
        end = json.loads(events.rstrip().splitlines()[-2].removeprefix("data: "))
        assert (end["type"], end["usage"]["grade"]) == ("cancelled", "counted")
        rest.open()
        await until("the source has closed", lambda: not served.only.pump.closing)
        state = (await client.get(f"/v1/streams/{run}")).json()
        assert state["end"] == end
        usage = state["usage"]
    assert usage["grade"] == ("drained" if tells else "counted")
    assert not tells or (usage["input"], usage["output"]) == (3, 9)


async def test_a_question_that_is_asked_again_is_known_as_the_same_by_its_key(providers: list[Provider]) -> None:
    providers[0].script(DOWN)
    again = RetryConfig(attempts=2, base=Seconds(0), longest=Seconds(0))
    names = (f"{providers[0].base_url}#a",)
    config = Config(models={"fast": ModelConfig(targets=names, retry=again)})
    async with serving(configured(config)) as served, served.client() as client:
        answered = [await client.post("/v1/chat/completions", json={**ASKED, "stream": False}) for _ in range(2)]
    assert [each.status_code for each in answered] == [200, 200]
    first, second, other = [request.headers["idempotency-key"] for request in providers[0].requests]
    assert first == second != other
