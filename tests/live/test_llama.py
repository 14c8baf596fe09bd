"""A real llama.cpp server as the upstream of `openai_http`: streamed, cancelled and left over every transport, on real sockets."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import OnDisconnect
from tests.clients.raw_client import raw_client
from tests.live.answering import ROUTES, WAYS, Told, Way, answering
from tests.live.llama import ENDLESS, SLOTS, processing, slots_idle
from tests.server.reading import TEXT, added_up, received_sse, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

pytestmark = pytest.mark.needs("llama")

ASKED: Mapping[str, object] = {"model": "tiny", "messages": [{"role": "user", "content": "hello world"}]}
SHORT: Mapping[str, object] = {**ASKED, "max_tokens": 40, "ignore_eos": True, "seed": 7}


def upstream(base_url: str) -> Config:
    """One model, at this address; on every route a disconnect cancels."""
    config = Config(models={"tiny": ModelConfig(targets=(f"{base_url}#tiny",))})
    leaving = {path: {"on_disconnect": OnDisconnect("cancel")} for path in set(ROUTES.values())}
    return configured(config, routes=leaving)


@pytest.fixture
async def served(llama_server: str) -> AsyncGenerator[Served]:
    async with serving(upstream(llama_server)) as server:
        yield server
    await slots_idle(llama_server)


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_streams_to_its_end(served: Served, way: Way) -> None:
    async with answering(served.url, way, SHORT) as answer:
        told = await answer.rest()
        state = await answer.snapshot()
    (part,) = state["snapshot"]["parts"]
    assert told == Told(part["text"], "finished")
    assert len(told.text) > 10
    assert state["end"] == {"type": "finished", "reason": "length", "usage": state["snapshot"]["usage"]}
    assert state["snapshot"]["usage"]["output"] == 40
    assert state["entries"] > 20


async def test_one_answer_reads_the_same_over_every_transport_and_in_every_dialect(served: Served) -> None:
    async with served.client() as client:
        begun = await client.post("/v1/streams", json={**SHORT, "max_tokens": 200}, headers={"accept": TEXT["ndjson"]})
        run = begun.headers["penstock-stream-id"]
        path = f"/v1/streams/{run}/events"

        async def by_socket() -> str:
            async with websocket(served.ws_url) as socket:
                assert (await socket.ask(type="attach", ref="1", stream=run))["type"] == "ok"
                messages = await socket.until("finished")
            return "".join(message["text"] for message in messages if message["type"] == "delta")

        async def by_events(dialect: str) -> str:
            body = (await client.get(path, params={"dialect": dialect})).content
            return added_up(dialect, received_sse(body)).text()

        async def by_text() -> str:
            return (await client.get(path, headers={"accept": TEXT["text"]})).text

        texts = await asyncio.gather(
            by_socket(),
            by_text(),
            *(by_events(dialect) for dialect in ("native", "openai-chat", "token-done", "plain")),
        )
    lines = [json.loads(line) for line in begun.text.splitlines() if line]
    whole = "".join(line["text"] for line in lines if line["type"] == "delta")
    assert len(whole) > 50
    assert set(texts) == {whole}


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancel_stops_the_model(served: Served, llama_server: str, way: Way) -> None:
    async with answering(served.url, way, {**ASKED, **ENDLESS}) as answer:
        await answer.first()
        assert await processing(llama_server) == 1
        await answer.cancel()
        await slots_idle(llama_server)
        told = await answer.rest()
    assert told.end == ("cut" if way == "text" else "cancelled")
    assert served.cancelled == (answer.stream, "client", "counted")


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_leaves_stops_the_model(served: Served, llama_server: str, way: Way) -> None:
    async with answering(served.url, way, {**ASKED, **ENDLESS}) as answer:
        await answer.first()
        assert await processing(llama_server) == 1
    await slots_idle(llama_server)
    await until("the run has ended", lambda: answer.stream in served.seen.ended)
    assert served.cancelled == (answer.stream, "disconnect", "counted")


async def test_with_grace_the_model_speaks_on_for_a_client_that_comes_back(llama_server: str) -> None:
    config = Config(models={"tiny": ModelConfig(targets=(f"{llama_server}#tiny",))})
    async with serving(config) as served, served.client() as client:
        async with answering(served.url, "sse", {**ASKED, **ENDLESS}) as answer:
            begun = await answer.first()
        await served.attended(0)
        assert await processing(llama_server) == 1
        headers = {"accept": TEXT["text"]}
        async with client.stream("GET", f"/v1/streams/{answer.stream}/events", headers=headers) as response:
            again = ""
            async for piece in response.aiter_text():
                again += piece
                if len(again) > len(begun):
                    break
        assert again[: len(begun)] == begun
        await client.delete(f"/v1/streams/{answer.stream}")
        await slots_idle(llama_server)
    assert served.cancelled == (answer.stream, "client", "counted")


async def test_a_whole_answer_without_a_stream(served: Served, llama_server: str) -> None:
    async with served.client() as client:
        answer = (await client.post("/v1/chat/completions", json={**SHORT, "stream": False})).json()
    (choice,) = answer["choices"]
    assert (answer["object"], choice["finish_reason"], choice["message"]["role"]) == (
        "chat.completion",
        "length",
        "assistant",
    )
    assert len(choice["message"]["content"]) > 10
    assert answer["usage"]["completion_tokens"] == 40
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 40


async def test_a_client_that_stops_waiting_for_a_whole_answer_stops_the_model(
    served: Served, llama_server: str
) -> None:
    async def speaking() -> bool:
        return await processing(llama_server) == 1

    async with served.client() as client:
        body = {**ASKED, **ENDLESS, "stream": False}
        waiting = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
        await until("the model speaks", speaking)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await slots_idle(llama_server)
    await until("the run has ended", lambda: bool(served.seen.ended))
    assert served.cancelled == (served.only.id, "disconnect", "counted")


async def test_answers_come_one_right_after_the_other(served: Served) -> None:
    """llama.cpp promises to keep a connection and closes it after each streamed answer, often just as it is used again."""
    async with served.client() as client:
        for _ in range(8):
            answer = await client.post("/v1/chat/completions", json={**SHORT, "max_tokens": 2, "stream": False})
            assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 2)


async def test_two_streams_go_down_one_connection_of_a_client(served: Served) -> None:
    async with raw_client(served.url) as raw:
        for _ in range(2):
            await raw.request("POST", "/v1/chat/completions", body={**SHORT, "stream": True})
            assert (await raw.head()).status == 200
            assert (await raw.rest())[-14:] == b"data: [DONE]\n\n"
            assert raw.ended == "complete"


async def test_more_answers_than_the_model_has_slots_all_come_to_their_end(served: Served) -> None:
    async def ask(way: Way) -> Told:
        async with answering(served.url, way, SHORT) as answer:
            return await answer.rest()

    told = await asyncio.gather(*(ask(way) for way in WAYS * 2))
    assert len(told) > SLOTS
    assert {each.end for each in told} == {"finished"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_does_not_fit_is_refused_with_its_own_status(served: Served, stream: bool) -> None:
    body = {**ASKED, "messages": [{"role": "user", "content": "hello world " * 1000}], "stream": stream}
    async with served.client() as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "context_too_long")
    assert "context" in error["message"]


async def test_a_prompt_that_does_not_fit_is_a_typed_error_over_a_websocket(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        request = {**ASKED, "messages": [{"role": "user", "content": "hello world " * 1000}]}
        await socket.send(type="start", ref="1", request=request)
        (*_, failed) = await socket.until("failed")
    assert failed["error"]["code"] == "context_too_long"
