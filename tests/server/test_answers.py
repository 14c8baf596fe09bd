"""Answers that can be asked for again: as they stand, as a stream from any frame on, cancelled, deleted, gone on from."""

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx2
import msgspec
import pytest

from penstock.config.model import Config
from penstock.config.units import Bytes
from penstock.core.errors import TABLE, fault
from penstock.core.events import Cancelled, Closed, Delta, Failed, Finished, Opened
from tests.server.answers import ANSWERS, PATH, QUESTION, answered, begun, events, joined, said, text_of
from tests.server.keyed import ALICE, BOB, bearer, keyed
from tests.server.reading import PROMPT, event_stream
from tests.serving import Served, Telling, configured, serving
from tests.waiting import until


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(ANSWERS) as server:
        yield server


def everything(telling: Telling) -> None:
    """Reasoning, text, two calls at once, and a merged-looking flood of small pieces."""
    telling.begin()
    telling.speak("Let me ", "see")
    telling.say(Closed(0), Opened(1, "reasoning"), Delta(1, "hm, "), Delta(1, "well"), Closed(1))
    telling.say(Opened(2, "tool_call", name="a", call_id="c1"), Opened(3, "tool_call", name="b", call_id="c2"))
    telling.say(Delta(2, '{"x":'), Delta(3, "{}"), Delta(2, "1}"), Closed(3), Closed(2))
    telling.say(Opened(4, "text"), *(Delta(4, f"{n} ") for n in range(100)), Closed(4), Finished())


# -- as they stand -----------------------------------------------------------------------------------------------------------


async def test_an_answer_in_the_background_is_there_at_once_and_grows(
    served: Served, client: httpx2.AsyncClient
) -> None:
    response, telling = await begun(served, client)
    assert (response["status"], response["output"], response["background"]) == ("queued", [], True)
    telling.speak("Hel", "lo")
    handle = served.only
    await until("it was said", lambda: handle.log.last == 4)
    grown = (await client.get(f"{PATH}/{response['id']}")).json()
    assert (grown["status"], text_of(grown)) == ("in_progress", "Hello")
    telling.finish()
    await telling.closed.wait()
    done = (await client.get(f"{PATH}/{response['id']}")).json()
    assert (done["id"], done["status"], text_of(done)) == (response["id"], "completed", "Hello")


async def test_what_was_answered_over_http_can_be_had_again(served: Served, client: httpx2.AsyncClient) -> None:
    first = await answered(served, client)
    assert (await client.get(f"{PATH}/{first['id']}")).json() == first


async def test_one_that_failed_says_so_where_it_stands(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client)
    telling.speak("Hel")
    telling.fail("provider_overloaded")
    await telling.closed.wait()
    failed = (await client.get(f"{PATH}/{response['id']}")).json()
    assert (failed["status"], text_of(failed)) == ("failed", "Hel")
    assert failed["error"]["message"] == fault("provider_overloaded").message


async def test_who_leaves_a_background_stream_does_not_end_it(served: Served, client: httpx2.AsyncClient) -> None:
    body = {**QUESTION, "background": True, "stream": True}
    async with event_stream(client, "POST", PATH, json=body) as stream:
        telling = await served.telling()
        telling.speak("Hel")
        seen = [await stream.value() for _ in range(6)]  # up to the delta
    handle = await served.attended(0)
    telling.speak("lo")
    telling.finish()
    await telling.closed.wait()
    answer, last = seen[0]["response"]["id"], seen[-1]["sequence_number"]
    rest = await client.get(f"{PATH}/{answer}", params={"stream": "true", "starting_after": last})
    assert [n for n, _ in events(rest.content)] == list(range(last + 1, last + 1 + len(events(rest.content))))
    assert events(rest.content)[0][1]["delta"] == "lo"
    by_cursor = await client.get(f"{PATH}/{answer}?stream=true", headers={"last-event-id": handle.cursor(3)})
    assert events(by_cursor.content)[-1] == events(rest.content)[-1]


async def test_who_leaves_a_stream_in_the_foreground_ends_it(served: Served, client: httpx2.AsyncClient) -> None:
    async with event_stream(client, "POST", PATH, json={**QUESTION, "stream": True}) as stream:
        telling = await served.telling()
        telling.speak("Hel")
        await stream.next()
    await telling.closed.wait()
    assert served.only.pump.terminal == Cancelled("disconnect")


# -- from any frame on -------------------------------------------------------------------------------------------------------


async def test_after_every_number_comes_the_tail_of_the_whole(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client)
    everything(telling)
    await telling.closed.wait()
    path = f"{PATH}/{response['id']}"
    whole = events((await client.get(f"{path}?stream=true")).content)
    assert [n for n, _ in whole] == list(range(len(whole)))
    assert whole[-1][1]["type"] == "response.completed"
    for last in range(len(whole) - 1):
        tail = await client.get(path, params={"stream": "true", "starting_after": last})
        assert events(tail.content) == whole[last + 1 :]
    at_end = await client.get(path, params={"stream": "true", "starting_after": len(whole) - 1})
    assert (at_end.status_code, at_end.content) == (204, b"")
    for beyond in (len(whole), 10**12):
        refused = await client.get(path, params={"stream": "true", "starting_after": beyond})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cursor_ahead")


async def test_a_reader_that_was_behind_comes_back_exactly_too() -> None:
    small = msgspec.structs.replace(configured().bounds, merge_above=Bytes(0))
    async with serving(configured(ANSWERS, routes={PATH: {"bounds": small}})) as served, served.client() as client:
        response, telling = await begun(served, client)
        everything(telling)
        await telling.closed.wait()
        path = f"{PATH}/{response['id']}"
        merged = events((await client.get(f"{path}?stream=true")).content)
        numbers = [n for n, _ in merged]
        assert numbers != list(range(len(numbers)))
        for index, last in enumerate(numbers[:-1]):
            tail = await client.get(path, params={"stream": "true", "starting_after": last})
            assert joined(events(tail.content)) == joined(merged[index + 1 :])


async def test_a_live_answer_goes_on_behind_the_last_number(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client)
    telling.speak("one")
    handle = served.only
    await until("it was said", lambda: handle.log.last == 3)
    path = f"{PATH}/{response['id']}"
    async with event_stream(client, "GET", path, params={"stream": "true"}) as stream:
        telling.speak("two")
        first = [await stream.value() for _ in range(7)]
    assert first[-1]["delta"] == "two"
    last = first[-1]["sequence_number"]
    async with event_stream(client, "GET", path, params={"stream": "true", "starting_after": last}) as stream:
        telling.speak("three")
        following = await stream.value()
        assert (following["sequence_number"], following["delta"]) == (last + 1, "three")
        telling.finish()
        assert json.loads((await stream.rest())[-1].data)["type"] == "response.completed"


async def test_what_was_trimmed_away_is_gone() -> None:
    bounds = configured().bounds
    small = msgspec.structs.replace(bounds, high=Bytes(1000), low=Bytes(500), max_run_bytes=Bytes(2000))
    async with serving(configured(ANSWERS, routes={PATH: {"bounds": small}})) as served, served.client() as client:
        response, telling = await begun(served, client, stream=False)
        path = f"{PATH}/{response['id']}"
        async with event_stream(client, "GET", path, params={"stream": "true"}) as stream:
            telling.flood("x" * 100, 200)
            telling.finish()
            await stream.rest()
        refused = await client.get(path, params={"stream": "true", "starting_after": 0})
        assert (refused.status_code, refused.json()["error"]["code"]) == (410, "cursor_gone")
        stands = await client.get(path)
        assert (stands.status_code, stands.json()["error"]["message"]) == (500, TABLE["answer_too_large"].meaning)


@pytest.mark.parametrize("number", ["-1", "1.5", "x", "9" * 40, "٣"])
async def test_a_number_that_is_none_is_refused_by_name(
    served: Served, client: httpx2.AsyncClient, number: str
) -> None:
    response, _ = await begun(served, client)
    refused = await client.get(f"{PATH}/{response['id']}", params={"stream": "true", "starting_after": number})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "starting_after"


# -- cancelled and deleted ---------------------------------------------------------------------------------------------------


async def test_cancelling_stops_the_source_and_twice_is_once(served: Served, client: httpx2.AsyncClient) -> None:
    response, telling = await begun(served, client)
    telling.speak("Hel")
    answers = [await client.post(f"{PATH}/{response['id']}/cancel") for _ in range(2)]
    await telling.closed.wait()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["status"] for answer in answers] == ["cancelled", "cancelled"]
    assert served.only.pump.terminal == Cancelled("client")


async def test_cancelling_one_that_has_ended_changes_nothing(served: Served, client: httpx2.AsyncClient) -> None:
    done = await answered(served, client)
    assert (await client.post(f"{PATH}/{done['id']}/cancel")).json() == done


async def test_a_deleted_answer_is_gone_and_its_conversation_too(served: Served, client: httpx2.AsyncClient) -> None:
    done = await answered(served, client)
    told = await client.delete(f"{PATH}/{done['id']}")
    assert (told.status_code, told.json()) == (200, {"id": done["id"], "object": "response", "deleted": True})
    assert served.runs.by_id == {}
    assert served.runs.conversations.size == 0
    for again in (client.get(f"{PATH}/{done['id']}"), client.delete(f"{PATH}/{done['id']}")):
        assert (await again).status_code == 404


async def test_deleting_one_that_runs_cancels_it_and_tells_who_reads_it(
    served: Served, client: httpx2.AsyncClient
) -> None:
    response, telling = await begun(served, client)
    telling.speak("Hel")
    path = f"{PATH}/{response['id']}"
    async with event_stream(client, "GET", path, params={"stream": "true"}) as stream:
        await stream.next()
        assert (await client.delete(path)).json()["deleted"] is True
        last = json.loads((await stream.rest())[-1].data)
    assert last["response"]["status"] == "cancelled"
    assert telling.closed.is_set()
    assert served.runs.by_id == {}


# -- whose they are ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
async def test_anothers_answer_cannot_be_told_from_one_that_never_was(method: str, path: str) -> None:
    async with keyed() as (served, client):
        asking = asyncio.ensure_future(client.post(PATH, json=QUESTION, headers=bearer(ALICE)))
        telling = await served.telling()
        telling.speak("x")
        telling.finish()
        theirs = (await asking).json()["id"]
        headers = {**bearer(BOB), "x-request-id": "the-same"}
        found = [
            await client.request(method, f"{PATH}/{answer}{path}", headers=headers)
            for answer in (theirs, "resp_" + "a" * 26, "resp_x", "chatcmpl-1", theirs.replace("resp_", "st_"))
        ]
        assert {(answer.status_code, answer.content) for answer in found} == {(404, found[0].content)}
        assert {tuple(sorted(answer.headers.items())) for answer in found} == {tuple(sorted(found[0].headers.items()))}
        assert found[0].json()["error"]["code"] == "stream_not_found"
        previous = await client.post(PATH, json={**QUESTION, "previous_response_id": theirs}, headers=bearer(BOB))
        assert previous.status_code == 400
        assert previous.json()["error"]["code"] == "previous_response_not_found"


async def test_a_get_that_is_no_upgrade_is_told_what_the_path_is(client: httpx2.AsyncClient) -> None:
    refused = await client.get(PATH)
    assert (refused.status_code, refused.headers["upgrade"]) == (426, "websocket")
    assert refused.json()["error"]["code"] == "upgrade_required"
    assert (await client.put(PATH)).headers["allow"] == "POST, GET"


async def test_a_run_of_another_protocol_is_an_answer_too(served: Served, client: httpx2.AsyncClient) -> None:
    """One run, any dialect."""
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json={**PROMPT, "stream": False}))
    telling = await served.telling()
    telling.speak("Hello")
    telling.finish()
    assert (await asking).status_code == 200
    answer = "resp_" + served.only.id.removeprefix("st_")
    assert text_of((await client.get(f"{PATH}/{answer}")).json()) == "Hello"


# -- gone on from ------------------------------------------------------------------------------------------------------------


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


# -- what is held ------------------------------------------------------------------------------------------------------------


async def test_a_question_refused_for_its_time_limits_is_not_kept(served: Served, client: httpx2.AsyncClient) -> None:
    response = await client.post(PATH, json={**QUESTION, "input": "x" * 9_000}, headers={"Penstock-Timeout": "gap=no"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Penstock-Timeout")
    assert served.runs.conversations.size == 0


async def test_what_an_answer_repeats_of_its_question_counts_as_long_as_it_is_held(
    served: Served, client: httpx2.AsyncClient
) -> None:
    response = await answered(served, client, store=False, instructions="x" * 90_000)
    assert response["instructions"] == "x" * 90_000
    handle = served.only
    served.runs.look(served.runs.now())
    assert served.runs.kept >= 90_000
    served.runs.forget(handle)
    assert served.runs.kept == 0


async def test_of_a_question_that_is_very_long_the_answer_repeats_what_is_short(
    served: Served, client: httpx2.AsyncClient
) -> None:
    """It does so three times, to every reader."""
    tools = [{"type": "function", "name": f"t{n}", "parameters": {}, "strict": True} for n in range(10_000)]
    response = await answered(served, client, tools=tools, instructions="Be brief.", temperature=0.5)
    assert (response["tools"], response["instructions"], response["temperature"]) == ([], "Be brief.", 0.5)
    assert len(said(served, 0)) == 2
