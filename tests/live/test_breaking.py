"""What breaks in mid-answer, from provider to client over real sockets: a provider that dies, a client that vanishes, a cancel."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import OnDisconnect
from penstock.testing.readings import READERS
from penstock.testing.wire import parse_sse
from tests.clients.eventsource_parser import parse_event_stream
from tests.fakes.provider import Provider
from tests.fakes.script import Body, Cut, End, Event, Gate, Hang, Head, Reply, Reset, Step, closing, opening, text
from tests.live.answering import ROUTES, WAYS, Told, Way, answering, told_of
from tests.serving import Served, configured, serving
from tests.waiting import until

SAID = "half an ans"
ASKED: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DEATHS: dict[str, tuple[Step, ...]] = {
    "cut": (Cut(),),
    "reset": (Reset(),),
    "clean-end-without-a-reason": (End(),),
    "done-without-a-reason": (Event("[DONE]"), End()),
    "half-an-event": (Body(b'data: {"choices": [{"ind'), Cut()),
    "no-json": (Body(b"data: <html>\n\n"), *closing()),
    "an-error-object": (Event({"error": {"message": "out of memory", "code": 500}}), *closing()),
}
CODES = {"no-json": "provider_garbled", "an-error-object": "provider_error"}
TRUNCATED = "provider_truncated"


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    """One model at the scripted provider; on every route a disconnect cancels."""
    config = Config(models={"fake": ModelConfig(targets=(f"{provider.base_url}#fake",))})
    leaving = {path: {"on_disconnect": OnDisconnect("cancel")} for path in set(ROUTES.values())}
    async with serving(configured(config, routes=leaving)) as server:
        yield server


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_dies_in_mid_answer_is_never_shown_as_a_good_end(
    served: Served, provider: Provider, way: Way, death: str
) -> None:
    gate = Gate()
    provider.script(opening(), text(SAID), gate, DEATHS[death])
    async with answering(served.url, way, ASKED) as answer:
        assert await answer.first() == SAID
        gate.open()
        told = await answer.rest()
    assert told == Told(SAID, "cut" if way == "text" else CODES.get(death, TRUNCATED))


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/chat/completions", "/v1/chat/stream", "/api/chat"])
async def test_no_event_stream_says_done_of_a_broken_answer(served: Served, provider: Provider, path: str) -> None:
    provider.script(opening(), text(SAID), Cut())
    async with served.client() as client:
        body = (await client.post(path, json=ASKED)).text
    last = parse_event_stream(body.encode())[-1].data
    assert ("[DONE]" in body, 'finish_reason":"' in body) == (False, False)
    assert TRUNCATED in last.lower()
    dialect = {"/v1/streams": "native", "/api/chat": "token-done"}.get(path, "openai-chat")
    reading = READERS[dialect](parse_sse([body.encode()]))
    assert reading.text() == SAID
    if dialect == "token-done":
        assert (reading.ending["done"], reading.ending["error_code"]) == (True, TRUNCATED.upper())
    else:
        assert told_of(reading).end == TRUNCATED


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/stream", "/api/chat", "/v1/chat/chunked"])
async def test_an_answer_that_was_not_to_be_streamed_and_broke_off_is_an_error_with_its_status(
    served: Served, provider: Provider, path: str
) -> None:
    provider.script(opening(), text(SAID), Cut())
    async with served.client() as client:
        answer = await client.post(path, json={**ASKED, "stream": False})
    if path == "/v1/chat/stream":
        assert answer.status_code == 200  # this route always streams
    else:
        assert (answer.status_code, SAID in answer.text) == (502, False)
    assert TRUNCATED in answer.text.lower()


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Reply(status=500, body=b"<html>"), 502, "provider_error"),
        (Reply(status=503, body={"error": {"message": "busy"}}), 503, "provider_overloaded"),
        (Reply(status=200, body=b"<html>", headers={"Content-Type": "text/html"}), 502, "provider_garbled"),
        (Cut(), 502, "provider_unreachable"),
    ],
    ids=["500", "503", "html", "hangs-up"],
)
async def test_a_provider_that_fails_before_the_first_token_is_a_status(
    served: Served, provider: Provider, refusal: Step, status: int, code: str
) -> None:
    async with served.client() as client:
        for path in ("/v1/chat/completions", "/api/chat"):
            provider.script(refusal)
            answer = await client.post(path, json=ASKED)
            assert (answer.status_code, code in answer.text.lower()) == (status, True)


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_vanishes_in_mid_answer_lets_the_provider_go_at_once(
    served: Served, provider: Provider, way: Way
) -> None:
    provider.script(opening(), text(SAID), Hang())
    async with served.client() as client:
        async with answering(served.url, way, ASKED) as answer:
            assert await answer.first() == SAID
            answer.vanish()
        await provider.connections[0].peer_gone.wait()
        await until("the run has ended", lambda: bool(served.seen.ended))
        assert served.cancelled == (served.only.id, "disconnect", "counted")
        # Nobody else is any the worse for it.
        provider.script(opening(), text("whole"), closing())
        whole = await client.post("/v1/chat/completions", json={**ASKED, "stream": False})
        assert whole.json()["choices"][0]["message"]["content"] == "whole"


@pytest.mark.parametrize("spoken", [True, False], ids=["in-mid-answer", "before-the-first-token"])
async def test_a_cancel_over_a_websocket_closes_the_providers_connection_at_once(
    served: Served, provider: Provider, spoken: bool
) -> None:
    provider.script(opening() if spoken else Head(), [text(SAID)] if spoken else [], Hang())
    async with answering(served.url, "ws", ASKED) as answer:
        request = await provider.next_request()
        if spoken:
            await answer.first()
        await answer.cancel()
        await request.connection.peer_gone.wait()
        assert await answer.rest() == Told(SAID if spoken else "", "cancelled")


@pytest.mark.parametrize("spoken", [True, False], ids=["in-mid-answer", "before-the-first-token"])
async def test_a_delete_closes_the_providers_connection_at_once(
    served: Served, provider: Provider, spoken: bool
) -> None:
    provider.script(opening() if spoken else Head(), [text(SAID)] if spoken else [], gate := Gate(), Hang())
    async with served.client() as client:
        reading = asyncio.ensure_future(client.post("/v1/chat/completions", json=ASKED))
        await gate.reached.wait()
        if spoken:
            await until("the words have come", lambda: served.only.log.opened)
        assert (await client.delete(f"/v1/streams/{served.only.id}")).status_code == 200
        await provider.connections[0].peer_gone.wait()
        answer = await reading
    assert answer.status_code == (200 if spoken else 409)
    assert ("cancelled" in answer.text, "[DONE]" in answer.text) == (True, False)
    assert served.cancelled == (served.only.id, "client", "counted")
