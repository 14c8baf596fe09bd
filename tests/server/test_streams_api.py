"""Operations on runs that exist: created detached, looked at, cancelled, purged, given input, polled, and several on one SSE."""

import asyncio
import json

import httpx2
import pytest

from tests.fakes.cutting_proxy import CuttingProxy, Plan
from tests.loopback import http_client
from tests.server.reading import PROMPT, added_up, detached, event_stream, lines, received_sse, said
from tests.server.test_websocket import echo
from tests.serving import Served, serving
from tests.waiting import until


async def test_a_run_is_created_with_nobody_reading_it_and_finishes(served: Served, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/streams", json=PROMPT, headers={"accept": "application/json"})
    body = answer.json()
    run = body["id"]
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/streams/{run}"
    assert answer.headers["penstock-stream-id"] == run
    assert body == {
        "id": run,
        "cursor": f"{run}:a1:0",
        "model": "scripted",
        "state": "idle",
        "events_url": f"/v1/streams/{run}/events",
        "cancel_url": f"/v1/streams/{run}",
        "url": f"/v1/streams/{run}",
    }
    telling = await served.telling()
    telling.speak("nobody", " listens")
    telling.finish()
    await telling.closed.wait()
    async with event_stream(client, "GET", body["events_url"]) as stream:
        await stream.rest()
        assert added_up("native", received_sse(stream.raw)).text() == "nobody listens"


async def test_the_snapshot_tells_state_and_everything_said_so_far(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.speak("half")
    await until("it was said", lambda: served.only.log.last == 3)
    shown = (await client.get(f"/v1/streams/{run}")).json()
    assert (shown["state"], shown["cursor"], shown["entries"], shown["end"]) == ("speaking", f"{run}:a1:3", 3, None)
    assert [part["text"] for part in shown["snapshot"]["parts"]] == ["half"]
    telling.finish()
    await telling.closed.wait()
    shown = (await client.get(f"/v1/streams/{run}")).json()
    assert (shown["state"], shown["end"]) == ("ended", {"type": "finished", "reason": "stop"})


async def test_the_list_holds_my_runs(served: Served, client: httpx2.AsyncClient) -> None:
    runs = {await detached(client) for _ in range(3)}
    listed = (await client.get("/v1/streams")).json()["streams"]
    assert {each["id"] for each in listed} == runs
    assert all(each["model"] == "scripted" for each in listed)


async def test_a_second_delete_changes_nothing(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.begin()
    first = await client.delete(f"/v1/streams/{run}")
    await telling.closed.wait()
    second = await client.delete(f"/v1/streams/{run}")
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json()["end"] == {"type": "cancelled", "by": "client"}


async def test_a_run_is_purged_once_it_has_ended(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    early = await client.delete(f"/v1/streams/{run}?purge=1")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not_ended")
    (await served.telling()).finish()
    await until("it has ended", lambda: run in served.seen.ended)
    assert (await client.delete(f"/v1/streams/{run}?purge=1")).json() == {"id": run, "state": "purged"}
    assert (await client.get(f"/v1/streams/{run}")).status_code == 404


async def test_input_reaches_the_source_and_stands_in_the_stream() -> None:
    async with serving(sources={"echo": echo}) as served, served.client() as http:
        async with event_stream(http, "POST", "/v1/streams", json={**PROMPT, "model": "echo"}) as stream:
            run = served.only.id
            await stream.next()
            await stream.next()
            for body in ("left", ["r", 1], {"a": None}, None, 0):
                answer = await http.post(f"/v1/streams/{run}/input", content=json.dumps(body))
                assert answer.status_code == 202
                assert await stream.value() == {"type": "note", "topic": "input", "body": body}
                assert (await stream.value())["text"] == json.dumps(body)
            for wrong, code in ((b"{", "invalid_json"), (b"", "invalid_json"), (b"[" * 65 + b"]" * 65, "invalid_json")):
                answer = await http.post(f"/v1/streams/{run}/input", content=wrong)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
            await http.post(f"/v1/streams/{run}/input", json="stop")
            assert [json.loads(event.data)["type"] for event in await stream.rest()] == ["note", "closed", "finished"]
        late = await http.post(f"/v1/streams/{run}/input", json="more")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "input_not_accepted")


# -- long-poll -----------------------------------------------------------------------------------------------------------


async def test_a_poll_answers_as_soon_as_something_is_said(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    path = f"/v1/streams/{run}/events?wait=60"
    asking = asyncio.ensure_future(client.get(path))
    await served.attended(1)
    telling = await served.telling()
    telling.begin()
    answer = await asking
    assert answer.headers["content-length"] == str(len(answer.content))
    assert (answer.headers["penstock-stream-id"], answer.headers["penstock-model"]) == (run, "scripted")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    first = received_sse(answer.content)
    asking = asyncio.ensure_future(client.get(path, headers={"last-event-id": first[-1].cursor}))
    telling.speak("a")
    telling.finish()
    received = first + received_sse((await asking).content)
    while (answer := await client.get(path, headers={"last-event-id": received[-1].cursor})).status_code == 200:
        received += received_sse(answer.content)
    assert answer.status_code == 204
    assert added_up("native", received).text() == "a"
    assert [message.cursor for message in received] == [f"{run}:a1:{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("accept", "body"), [("text/event-stream", b": ping\n"), ("application/x-ndjson", b"\n"), ("text/plain", b"")]
)
async def test_a_poll_in_a_long_silence_ends_empty_and_loses_nothing(
    served: Served, client: httpx2.AsyncClient, accept: str, body: bytes
) -> None:
    run = await detached(client)
    answer = await client.get(f"/v1/streams/{run}/events?wait=0&after={run}:a1:0", headers={"accept": accept})
    assert (answer.status_code, answer.content) == (200, body)


async def test_the_ticker_ends_a_poll_that_waited_long_enough(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    asking = asyncio.ensure_future(client.get(f"/v1/streams/{run}/events?wait=30&after={run}:a1:0"))
    await served.attended(1)
    served.tick(31)
    assert (await asking).content == b": ping\n"


async def test_a_poll_of_a_flood_is_bounded(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.flood("x" * 100, 100_000)
    await until("the source is held back", lambda: served.only.log.waiting_for_room)
    answer = await client.get(f"/v1/streams/{run}/events?wait=5")
    assert 60_000 < len(answer.content) < 1_000_000


async def test_a_failed_text_is_cut_in_a_poll_too(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.speak("half")
    telling.fail()
    await until("it has ended", lambda: run in served.seen.ended)
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get(f"/v1/streams/{run}/events?wait=5", headers={"accept": "text/plain"})


@pytest.mark.parametrize("wait", ["", "soon", "-1", "1.5", "99999", "١"])
async def test_a_wait_that_is_no_number_of_seconds_is_refused(
    served: Served, client: httpx2.AsyncClient, wait: str
) -> None:
    run = await detached(client)
    answer = await client.get(f"/v1/streams/{run}/events", params={"wait": wait})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "wait")


# -- several runs on one SSE -----------------------------------------------------------------------------------------------


async def test_several_runs_share_one_event_stream_and_each_id_holds_all_positions(
    served: Served, client: httpx2.AsyncClient
) -> None:
    a, b = await detached(client), await detached(client)
    async with event_stream(client, "GET", f"/v1/streams/events?streams={a},{b}") as stream:
        assert await stream.piece() == f"id: {a}:a1:0,{b}:a1:0\n\n".encode()
        (await served.telling(0)).begin()
        assert [(await stream.value())["stream"] for _ in range(2)] == [a, a]
        (await served.telling(1)).begin()
        events = [await stream.next() for _ in range(2)]
        assert [event.id for event in events] == [f"{a}:a1:2,{b}:a1:1", f"{a}:a1:2,{b}:a1:2"]
        served.source.tellings[0].finish()
        served.source.tellings[1].finish()
        rest = [json.loads(event.data) for event in await stream.rest()]
        assert sorted((event["stream"], event["type"]) for event in rest) == sorted(
            (run, kind) for run in (a, b) for kind in ("closed", "finished")
        )
    end = stream.parser.last_event_id
    assert (await client.get("/v1/streams/events", headers={"last-event-id": end})).status_code == 204
    assert (await client.get(f"/v1/streams/events?streams={end}")).status_code == 204


async def test_a_shared_stream_resumes_through_cuts_at_any_byte(served: Served, client: httpx2.AsyncClient) -> None:
    runs = [await said(served, client, *(f"{letter}{n} " for n in range(5))) for letter in "ab"]
    path = f"/v1/streams/events?streams={','.join(runs)}"
    whole = (await client.get(path)).content
    got = []
    last = ""
    cuts = [Plan(cut_after=n) for n in range(300, 300 + len(whole), 97)]
    async with CuttingProxy(served.port, plans=cuts).listening() as proxy:
        while True:
            headers = {"last-event-id": last} if last else {}
            raw = b""
            async with http_client(proxy.url) as http:
                try:
                    async with http.stream("GET", path, headers=headers) as response:
                        if response.status_code == 204:
                            break
                        async for piece in response.aiter_raw():
                            raw += piece
                except httpx2.TransportError:
                    pass
            got += (fresh := received_sse(raw))
            last = fresh[-1].cursor if fresh else last
    for letter, run in zip("ab", runs, strict=True):
        mine = [m for m in got if isinstance(m.value, dict) and m.value["stream"] == run]
        assert added_up("native", mine).text() == "".join(f"{letter}{n} " for n in range(5))
        assert len(mine) == served.run(run).log.last
    assert len(proxy.links) > 2


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ("", 400),
        (",".join(f"st_{n}" for n in range(17)), 400),
        ("st_unknown", 404),
        ("not:a:cursor", 400),
        ("x" * 8_000, 404),
        ("{run},{run}", 400),
        ("{run},st_unknown", 404),
        ("{run}:a1:999", 409),
    ],
)
async def test_a_shared_stream_of_what_is_not_there_is_refused(
    served: Served, client: httpx2.AsyncClient, streams: str, code: int
) -> None:
    run = await detached(client)
    answer = await client.get("/v1/streams/events", params={"streams": streams.format(run=run)})
    assert answer.status_code == code
    assert served.only.log.readers == []


async def test_leaving_a_shared_stream_leaves_every_run(served: Served, client: httpx2.AsyncClient) -> None:
    a, b = await detached(client), await detached(client)
    async with event_stream(client, "GET", f"/v1/streams/events?streams={a},{b}") as stream:
        await stream.piece()
        for run in (a, b):
            await served.attended(1, run)
    for run in (a, b):
        await served.attended(0, run)


async def test_a_snapshot_is_read_while_the_stream_goes_on(served: Served, client: httpx2.AsyncClient) -> None:
    async with lines(client, "POST", "/v1/streams", json=PROMPT) as stream:
        telling = await served.telling()
        telling.speak("a")
        for _ in range(3):
            await stream.next()
        assert (await client.get(f"/v1/streams/{served.only.id}")).json()["readers"] == 1
