"""The chats of `/v1/chat/ui`: what runs in one is read again from its first chunk, and stopped, by whoever it belongs to."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from penstock.config.units import Seconds
from penstock.core.events import Cancelled, Closed, Finished, Opened, Started, ToolReturned
from penstock.testing.readings import READERS
from penstock.testing.wire import SseParser
from tests.server.keyed import ALICE, BOB, bearer, keyed, with_keys
from tests.server.reading import EventStream, event_stream
from tests.serving import Served, configured, serving
from tests.waiting import until

UI = "/v1/chat/ui"


OPEN: dict[str, dict[str, Any]] = {UI: {"header_hold": Seconds(0)}}
"""Answers begin before anything was said."""


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(configured(routes=OPEN, heartbeat=Seconds(3600))) as server:
        yield server


def asked(chat: str = "chat-1", *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What `DefaultChatTransport` sends."""
    said = messages or ({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "speak"}]},)
    return {"id": chat, "messages": said, "trigger": "submit-message", "model": "scripted", **more}


@asynccontextmanager
async def asking(client: httpx2.AsyncClient, chat: str = "chat-1", **options: Any) -> AsyncGenerator[EventStream]:
    async with event_stream(client, "POST", UI, json=asked(chat), **options) as stream:
        yield stream


async def chunks(stream: EventStream, last: str) -> list[Any]:
    """Chunks up to and with the first of a type."""
    found = [await stream.value()]
    while found[-1]["type"] != last:
        found.append(await stream.value())
    return found


async def test_a_page_that_comes_back_is_told_the_same_message_from_its_first_chunk(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with asking(client) as stream:
        telling = await served.telling()
        telling.speak("One ")
        before = await chunks(stream, "text-delta")
        assert stream.response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    await served.attended(0)
    async with event_stream(client, "GET", f"{UI}/chat-1/stream") as again:
        assert again.response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert await chunks(again, "text-delta") == before
        telling.speak("two.")
        telling.finish()
        rest = await again.rest()
    assert [json.loads(event.data)["type"] for event in rest[:-1]] == [
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert rest[-1].data == "[DONE]"
    whole = SseParser().feed(again.raw)
    assert READERS["ai-sdk"](whole).text() == "One two."
    assert len(served.source.tellings) == 1


async def test_204_where_nothing_ran_where_it_has_ended_and_after_a_failure(
    served: Served, client: httpx2.AsyncClient
) -> None:
    assert (await client.get(f"{UI}/chat-1/stream")).status_code == 204
    for number in range(2):
        async with asking(client) as stream:
            telling = await served.telling(number)
            telling.speak("x")
            if number:
                telling.fail()
            else:
                telling.finish()
            last = json.loads((await stream.rest())[-2].data)
        assert last["type"] == ("error" if number else "finish")
        answer = await client.get(f"{UI}/chat-1/stream")
        assert (answer.status_code, answer.content) == (204, b"")
    assert len(served.runs.chats) == 0


async def test_a_page_that_leaves_does_not_stop_the_run_and_delete_does(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with asking(client) as stream:
        telling = await served.telling()
        telling.speak("x")
        await chunks(stream, "text-delta")
    handle = await served.attended(0)
    assert not telling.closed.is_set()
    answer = await client.delete(f"{UI}/chat-1/stream")
    assert (answer.status_code, answer.content) == (204, b"")
    await telling.closed.wait()
    assert handle.pump.terminal == Cancelled("client")
    assert (await client.delete(f"{UI}/chat-1/stream")).status_code == 204


async def test_a_reader_of_a_run_that_is_stopped_is_told_of_it(served: Served, client: httpx2.AsyncClient) -> None:
    async with asking(client) as stream:
        telling = await served.telling()
        telling.speak("x")
        await chunks(stream, "text-delta")
        await client.delete(f"{UI}/chat-1/stream")
        rest = [event.data for event in await stream.rest()]
    assert [json.loads(data)["type"] for data in rest[:-1]] == ["text-end", "abort"]
    assert rest[-1] == "[DONE]"


async def test_a_later_run_is_what_the_chat_is_at_and_the_earlier_goes_on(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with asking(client) as first, asking(client) as second:
        for number, stream in enumerate((first, second)):
            (await served.telling(number)).speak(f"answer {number}")
            await chunks(stream, "text-delta")
        async with event_stream(client, "GET", f"{UI}/chat-1/stream") as again:
            assert (await chunks(again, "text-delta"))[-1]["delta"] == "answer 1"
        assert served.source.tellings[0].closed.is_set() is False
        (await served.telling(1)).finish()
        await second.rest()
        # The earlier one is not found by its chat any more, only by its own id.
        assert (await client.get(f"{UI}/chat-1/stream")).status_code == 204
        (await served.telling(0)).finish()
        await first.rest()
    assert [handle.pump.terminal for handle in served.runs.by_id.values()] == [Finished("stop"), Finished("stop")]


async def test_a_chat_is_found_by_any_name_and_a_cursor_goes_on_from_there(
    served: Served, client: httpx2.AsyncClient
) -> None:
    async with asking(client, "a/b c?ü") as stream:
        telling = await served.telling()
        telling.speak("One ", "two")
        cursor = (await stream.next()).id
        await chunks(stream, "text-delta")
    path = f"{UI}/a%2Fb%20c%3F%C3%BC/stream"
    async with event_stream(client, "GET", path, headers={"last-event-id": cursor}) as again:
        assert (await again.value())["type"] == "start-step"
    other = cursor.replace(cursor[3:8], "22222")
    refused = await client.get(path, headers={"last-event-id": other})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_cursor")
    assert (await client.get(f"{path}?model=x")).status_code == 400
    assert (await client.post(path)).status_code == 405


async def test_an_answer_that_adds_to_a_message_of_the_page_goes_by_its_id_and_tells_all_of_it_to_who_lost_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    call = {"type": "tool-weather", "toolCallId": "call_1", "state": "output-available", "input": {}, "output": 17}
    said = {"type": "text", "text": "Let me see.", "state": "done"}
    question = asked()["messages"][0]
    messages = question, {"id": "theirs", "role": "assistant", "parts": [{"type": "step-start"}, said, call]}
    async with event_stream(client, "POST", UI, json=asked("chat-1", *messages)) as stream:
        telling = await served.telling()
        telling.speak("17 °C.")
        own = await chunks(stream, "text-delta")
    assert [chunk["type"] for chunk in own] == ["start", "start-step", "text-start", "text-delta"]
    assert own[0]["messageId"] == "theirs"
    assert [message["role"] for message in telling.request.messages] == ["user", "assistant", "tool"]
    async with event_stream(client, "GET", f"{UI}/chat-1/stream") as again:
        await chunks(again, "text-delta")
        telling.finish()
        await again.rest()
    reading = READERS["ai-sdk"](SseParser().feed(again.raw))
    assert reading.text() == "Let me see.\n\n17 °C."
    assert [chunk["output"] for chunk in reading.others if chunk["type"] == "tool-output-available"] == [17]


async def test_a_tool_of_the_server_ends_a_step(served: Served, client: httpx2.AsyncClient) -> None:
    async with asking(client) as stream:
        telling = await served.telling()
        telling.say(Started(telling.run.id, "scripted", 1), Opened(0, "tool_call", name="look", call_id="c1"))
        telling.say(Closed(0), ToolReturned("c1", {"found": 1}), Opened(1, "text"), Closed(1), Finished())
        kinds = [json.loads(event.data)["type"] for event in (await stream.rest())[:-1]]
    tool = ["tool-input-start", "tool-input-available", "tool-output-available"]
    assert kinds[2:] == [*tool, "finish-step", "start-step", "text-start", "text-end", "finish-step", "finish"]


async def test_the_chat_of_another_key_is_one_where_nothing_runs() -> None:
    config = with_keys(configured(routes=OPEN))
    async with keyed(config) as (served, client), asking(client, headers=bearer(ALICE)) as stream:
        telling = await served.telling()
        telling.speak("for Alice")
        await chunks(stream, "text-delta")
        path = f"{UI}/chat-1/stream"
        for method in ("GET", "DELETE"):
            theirs, none = [
                await client.request(method, name, headers={**bearer(BOB), "x-request-id": "same"})
                for name in (path, f"{UI}/never/stream")
            ]
            assert theirs.status_code == none.status_code == 204
            assert sorted(theirs.headers.items()) == sorted(none.headers.items())
        assert (await client.get(path)).status_code == 401
        assert not telling.closed.is_set()
        async with event_stream(client, "GET", path, headers=bearer(ALICE)) as again:
            assert (await chunks(again, "text-delta"))[-1]["delta"] == "for Alice"
        telling.finish()
        await stream.rest()


async def test_the_same_request_with_the_same_key_is_the_same_run(served: Served, client: httpx2.AsyncClient) -> None:
    bodies: list[list[str]] = []
    for _ in range(2):
        async with asking(client, headers={"idempotency-key": "once"}) as stream:
            telling = await served.telling()
            if not bodies:
                telling.speak("x")
                telling.finish()
            bodies.append([event.data for event in await stream.rest()])
    assert bodies[0] == bodies[1]
    assert len(served.source.tellings) == 1


async def test_a_refusal_has_its_status_and_names_the_field(served: Served, client: httpx2.AsyncClient) -> None:
    bad = {"id": "m1", "role": "user", "parts": [{"type": "hologram"}]}
    answer = await client.post(UI, json=asked("chat-1", bad))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].parts[0].type"
    assert served.source.tellings == []


async def test_a_chat_with_a_name_that_is_too_long_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.post(UI, json=asked("x" * 256))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "id")


@pytest.mark.parametrize("chats", [3])
async def test_runs_that_end_leave_no_chat_behind(served: Served, client: httpx2.AsyncClient, chats: int) -> None:
    for number in range(chats):
        async with asking(client, f"chat-{number}"):
            pass
    await until("all have begun", lambda: len(served.runs.chats) == chats)
    await until("nobody reads", lambda: not any(handle.log.readers for handle in served.runs.by_id.values()))
    served.tick(61)
    await until("all have ended", lambda: len(served.runs.chats) == 0)
    assert set(served.seen.ended.values()) == {Cancelled("grace")}
