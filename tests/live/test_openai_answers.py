"""openai-python against `/v1/responses` beyond one request: its WebSocket mode, answers in the background, and those that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from penstock.core.events import Cancelled, Closed, Delta, Opened
from tests.fakes.cutting_proxy import CuttingProxy
from tests.loopback import http_client
from tests.server.answers import ANSWERS, said
from tests.server.keyed import ALICE, with_keys
from tests.serving import Served, serving
from tests.waiting import until

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


@asynccontextmanager
async def using(url: str) -> AsyncGenerator[AsyncOpenAI]:
    http = http_client()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(ANSWERS) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncGenerator[AsyncOpenAI]:
    async with using(served.url) as sdk:
        yield sdk


async def ended(connection: Any) -> Response:
    """The response in the event that ends an answer."""
    while True:
        event = await connection.recv()
        if event.type in ("response.completed", "response.failed", "response.incomplete"):
            response: Response = event.response
            return response
        assert event.type != "error", event


async def tells(served: Served, text: str, number: int | None = None) -> None:
    telling = await served.telling(len(served.source.tellings) if number is None else number)
    telling.speak(text)
    telling.finish()


async def test_its_websocket_goes_on_from_answer_to_answer_with_tools(served: Served, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="scripted", input="Weather in Bern?", tools=[WEATHER], store=False)
        telling = await served.telling(0)
        telling.begin()
        telling.say(Opened(1, "tool_call", name="weather", call_id="c1"))
        telling.say(Delta(1, '{"city":'), Delta(1, '"Bern"}'), Closed(1))
        telling.finish("tool_calls")
        first = await ended(connection)
        (call,) = [item for item in first.output if item.type == "function_call"]
        assert (call.name, call.arguments) == ("weather", '{"city":"Bern"}')
        await connection.response.create(
            model="scripted",
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}],
            previous_response_id=first.id,
            tools=[WEATHER],
            store=False,
        )
        await tells(served, "It rains.", 1)
        second = await ended(connection)
        assert (second.status, second.output_text) == ("completed", "It rains.")
        assert second.previous_response_id == first.id
        roles = [message["role"] for message in said(served, 1)]
        assert roles == ["user", "assistant", "tool"]


async def test_two_answers_share_its_connection(served: Served, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        for lane in ("left", "right"):
            await connection.response.create(model="scripted", input=lane, stream_id=lane)
        tellings = [await served.telling(number) for number in range(2)]
        for telling in reversed(tellings):
            telling.speak(f"to the {said(served, tellings.index(telling))[0]['content']}")
            telling.finish()
        texts: dict[str, str] = {}
        while len(texts) < 2:
            event = await connection.recv()
            if event.type == "response.completed":
                assert event.stream_id is not None
                texts[event.stream_id] = event.response.output_text
        assert texts == {"left": "to the left", "right": "to the right"}


async def test_an_error_is_an_event_and_the_connection_goes_on(served: Served, client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="scripted", input="x", previous_response_id="resp_unknown")
        error = await connection.recv()
        assert error.type == "error"
        assert (error.status, error.error.code) == (400, "previous_response_not_found")
        assert error.error.param == "previous_response_id"
        await connection.response.steer(input="x", previous_response_id="resp_unknown")
        failed = await connection.recv()
        assert failed.type == "response.steer.failed"
        assert failed.error.code == "response_not_found"
        await connection.response.create(model="scripted", input="x")
        await tells(served, "still here", 0)
        assert (await ended(connection)).output_text == "still here"


async def test_it_connects_again_after_a_cut_and_goes_on_from_what_was_stored(served: Served) -> None:
    attempts: list[int] = []

    def again(event: Any) -> None:
        attempts.append(event.close_code)

    async with CuttingProxy(served.port).listening() as proxy, using(proxy.url) as client:
        manager = client.responses.connect(on_reconnecting=again, initial_delay=0.01)
        async with manager as connection:
            await connection.response.create(model="scripted", input="Count.")
            await tells(served, "One", 0)
            first = await ended(connection)
            await connection.response.create(model="scripted", input="lost")
            lost = await served.telling(1)
            lost.speak("los")
            reading = aiter(connection)
            while (await anext(reading)).type != "response.output_text.delta":
                pass
            following = asyncio.ensure_future(anext(reading))
            await proxy.links[0].cut()
            await lost.closed.wait()
            assert served.seen.ended[lost.run.id] == Cancelled("disconnect")
            await until("it has connected again", lambda: len(proxy.links) == 2)
            await connection.response.create(model="scripted", input="On.", previous_response_id=first.id)
            await tells(served, "Two", 2)
            assert (await following).type == "response.created"
            assert (await ended(connection)).output_text == "Two"
        assert attempts == [1006]
        assert [m["content"] for m in said(served, 2)] == ["Count.", "One", "On."]


async def test_a_key_that_is_wrong_is_refused_before_it_is_connected() -> None:
    async with serving(with_keys(ANSWERS)) as served, using(served.url) as stranger:
        with pytest.raises(Exception, match="401"):
            async with stranger.responses.connect():
                pass
        known = stranger.with_options(api_key=ALICE)
        async with known.responses.connect() as connection:
            await connection.response.create(model="scripted", input="x")
            await tells(served, "hello", 0)
            assert (await ended(connection)).output_text == "hello"


async def test_an_answer_in_the_background_is_fetched_until_it_is_there(served: Served, client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="scripted", input="x", background=True)
    assert begun.status == "queued"
    telling = await served.telling(0)
    telling.speak("Hel")
    handle = served.only
    await until("it was said", lambda: handle.log.last == 3)
    grown = await client.responses.retrieve(begun.id)
    assert (grown.status, grown.output_text) == ("in_progress", "Hel")
    telling.speak("lo")
    telling.finish()
    await telling.closed.wait()
    assert (await client.responses.retrieve(begun.id)).output_text == "Hello"


async def test_a_stream_in_the_background_that_was_cut_is_resumed_by_number(
    served: Served, client: AsyncOpenAI
) -> None:
    stream = await client.responses.create(model="scripted", input="x", background=True, stream=True)
    telling = await served.telling(0)
    telling.speak("one ")
    answer, last, text = "", 0, ""
    async for event in stream:
        last = event.sequence_number
        if event.type == "response.created":
            answer = event.response.id
        elif event.type == "response.output_text.delta":
            text += event.delta
            break
    await stream.close()
    await served.attended(0)
    telling.speak("two ")
    resumed = await client.responses.retrieve(
        answer, stream=True, starting_after=last, include=["reasoning.encrypted_content"]
    )
    telling.speak("three")
    telling.finish()
    numbers = []
    async for event in resumed:
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.completed":
            assert event.response.output_text == text
    assert text == "one two three"
    assert numbers == list(range(last + 1, last + 1 + len(numbers)))
    nothing = await client.responses.retrieve(answer, stream=True, starting_after=numbers[-1])
    assert [event async for event in nothing] == []


async def test_what_runs_is_cancelled_and_what_is_kept_is_deleted(served: Served, client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="scripted", input="x", background=True)
    telling = await served.telling(0)
    for _ in range(2):
        assert (await client.responses.cancel(begun.id)).status == "cancelled"
    await telling.closed.wait()
    await client.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(begun.id)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="scripted", input="x", previous_response_id=begun.id)
    assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_what_was_asked_is_listed_on_as_many_pages_as_it_takes(served: Served, client: AsyncOpenAI) -> None:
    asked: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    begun = await client.responses.create(model="scripted", input=asked, background=True)
    listed = [item async for item in client.responses.input_items.list(begun.id, limit=2, order="asc")]
    texts = [item.content[0] for item in listed if item.type == "message"]
    assert [part.text for part in texts if part.type == "input_text"] == ["0", "1", "2", "3", "4"]
