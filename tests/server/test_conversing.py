"""Answers that are gone on from: what of them the next question holds, what is listed of it, and when it is let go."""

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx2
import msgspec
import pytest

from penstock.config.model import Config
from penstock.config.units import Bytes
from penstock.core.errors import fault
from penstock.core.events import Closed, Delta, Failed, Finished, Opened
from tests.server.answers import ANSWERS, PATH, QUESTION, answered, begun, said, text_of
from tests.server.reading import event_stream
from tests.serving import Served, configured, serving
from tests.waiting import until


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(ANSWERS) as server:
        yield server


async def test_a_question_goes_on_from_an_answer_without_its_instructions(
    served: Served, client: httpx2.AsyncClient
) -> None:
    first = await answered(served, client, "One", input="Count.", instructions="Be brief.")
    second = await answered(
        served, client, "Two", input="On.", instructions="Be loud.", previous_response_id=first["id"]
    )
    await answered(served, client, "Three", input="And?", previous_response_id=second["id"])
    assert said(served, 1) == [
        {"role": "system", "content": "Be loud."},
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "On."},
    ]
    assert [message["content"] for message in said(served, 2)] == ["Count.", "One", "On.", "Two", "And?"]


async def test_two_may_go_on_from_the_same_answer(served: Served, client: httpx2.AsyncClient) -> None:
    first = await answered(served, client, "One", input="Count.")
    for index, question in enumerate(("left", "right"), 1):
        await answered(served, client, "x", input=question, previous_response_id=first["id"])
        assert [m["content"] for m in said(served, index)] == ["Count.", "One", question]


async def test_the_result_of_a_call_goes_on_from_the_answer_that_made_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post(PATH, json=QUESTION))
    telling = await served.telling()
    telling.begin()
    telling.say(Opened(1, "tool_call", name="weather", call_id="c1"), Delta(1, '{"city":"Bern"}'), Closed(1))
    telling.finish("tool_calls")
    first = (await asking).json()
    output = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
    await answered(served, client, "Rain.", input=[output], previous_response_id=first["id"])
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    assert said(served, 1)[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]


async def test_it_goes_on_from_what_a_cancelled_answer_said(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client, input="Count.")
    telling.speak("One, t")
    handle = served.only
    await until("it was said", lambda: handle.log.last == 3)
    await client.post(f"{PATH}/{response['id']}/cancel")
    await answered(served, client, input="On.", previous_response_id=response["id"])
    assert [m["content"] for m in said(served, 1)] == ["Count.", "One, t", "On."]


async def refusal(client: httpx2.AsyncClient, previous: str) -> tuple[int, str, str]:
    answer = await client.post(PATH, json={**QUESTION, "previous_response_id": previous})
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


async def test_an_answer_that_is_not_there_or_not_kept_or_not_over_cannot_be_gone_on_from(
    served: Served, client: httpx2.AsyncClient
) -> None:
    forgetful = await answered(served, client, store=False)
    never = "resp_" + "a" * 26
    for previous in (never, "resp_x", "nonsense", forgetful["id"]):
        expected = f"Previous response with id '{previous}' not found."
        assert await refusal(client, previous) == (400, "previous_response_id", expected)
    running, telling = await begun(served, client)
    status, param, message = await refusal(client, running["id"])
    assert (status, param) == (409, "previous_response_id")
    assert "still being answered" in message
    telling.finish()
    await telling.closed.wait()
    assert len(served.runs.by_id) == 2


async def test_what_was_asked_is_listed_page_by_page(served: Served, client: httpx2.AsyncClient) -> None:
    first = await answered(served, client, input="Count.")
    asked = [{"role": "user", "content": str(number)} for number in range(5)]
    done = await answered(served, client, input=asked, instructions="Be brief.", previous_response_id=first["id"])
    path = f"{PATH}/{done['id']}/input_items"
    seen: list[str] = []
    after: dict[str, str] = {}
    for more in (True, True, False):
        page = (await client.get(path, params={"limit": "2", **after})).json()
        assert (page["object"], page["has_more"]) == ("list", more)
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        seen += [item["content"][0]["text"] for item in page["data"]]
        after = {"after": page["last_id"]}
    assert seen == ["4", "3", "2", "1", "0"]
    whole = (await client.get(path, params={"order": "asc"})).json()
    assert [item["content"][0]["text"] for item in whole["data"]] == seen[::-1]
    assert (await client.get(path, params=after)).json()["data"] == []
    for wrong in ({"order": "up"}, {"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "nobody"}):
        refused = await client.get(path, params=wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, next(iter(wrong)))
    forgetful = await answered(served, client, store=False)
    assert (await client.get(f"{PATH}/{forgetful['id']}/input_items")).status_code == 404


async def test_a_conversation_ends_with_the_run_it_goes_on_from(served: Served, client: httpx2.AsyncClient) -> None:
    first = await answered(served, client, "One", input="Count.")
    second = await answered(served, client, "Two", input="On.", previous_response_id=first["id"])
    served.runs.forget(served.run("st_" + first["id"].removeprefix("resp_")))
    assert (await refusal(client, first["id"]))[0] == 400
    await answered(served, client, input="And?", previous_response_id=second["id"])
    assert [m["content"] for m in said(served, 2)] == ["Count.", "One", "On.", "Two", "And?"]
    served.tick(3600)
    served.tick(3600)
    assert (served.runs.by_id, served.runs.conversations.size, served.runs.kept) == ({}, 0, 0)


async def test_a_conversation_grows_to_what_one_request_may_say() -> None:
    async with serving(configured(max_body=Bytes(20_000))) as served, served.client() as client:
        answer = await answered(served, client, "One", input="x" * 9_000)
        answer = await answered(served, client, "Two", input="y" * 9_000, previous_response_id=answer["id"])
        refused = await client.post(PATH, json={**QUESTION, "input": "z" * 9_000, "previous_response_id": answer["id"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")
        held = [each.turn.size for each in served.runs.by_id.values() if each.turn]
        assert served.runs.conversations.size == sum(held)


async def test_conversations_fill_a_server_no_further_than_its_cap() -> None:
    async with serving(configured(max_bytes=Bytes(100_000))) as small, small.client() as client:
        for _ in range(30):
            await answered(small, client, input="x" * 9_000)
            small.tick(0.5)
        assert small.runs.conversations.size <= 110_000
        assert len(small.runs.by_id) < 30


async def test_an_answer_whose_beginning_was_dropped_cannot_be_gone_on_from() -> None:
    config: Config = configured()
    small = msgspec.structs.replace(config.bounds, high=Bytes(1000), low=Bytes(500), max_run_bytes=Bytes(2000))
    async with serving(configured(ANSWERS, routes={PATH: {"bounds": small}})) as served, served.client() as client:
        async with event_stream(client, "POST", PATH, json={**QUESTION, "stream": True}) as stream:
            telling = await served.telling()
            telling.flood("x" * 100, 200)
            telling.finish()
            answer = json.loads((await stream.rest())[0].data)["response"]["id"]
        assert served.only.pump.terminal == Finished()
        status, param, message = await refusal(client, answer)
        assert (status, param) == (400, "previous_response_id")
        assert "no longer held" in message


async def test_the_server_goes_and_a_background_answer_says_so(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client)
    telling.speak("Hel")
    handle = served.only
    await until("it was said", lambda: handle.log.last == 3)
    await served.runs.drain(0)
    stands = (await client.get(f"{PATH}/{response['id']}")).json()
    assert (stands["status"], text_of(stands)) == ("failed", "Hel")
    assert served.only.pump.terminal == Failed(fault("interrupted"))
