"""Answers that can be asked for again: as they stand, as a stream from any frame on, cancelled, deleted."""

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx2
import msgspec
import pytest

from penstock.config.units import Bytes
from penstock.core.errors import TABLE, fault
from penstock.core.events import Cancelled, Closed, Delta, Finished, Opened
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
