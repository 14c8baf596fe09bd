"""What a cursor gets: every row of the table, on every transport and in every dialect."""

import asyncio
import json
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.config.bounds import Bounds
from penstock.config.units import Bytes
from penstock.core.events import Closed, Finished, Usage
from penstock.core.request import Principal
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, TEXT, added_up, detached, event_stream, received_sse, said, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

HTTP = ["sse", "ndjson", "text"]
FOREIGN = ["openai-chat", "token-done", "plain", "anthropic"]
TRIMMING = {"/v1/chat/stream": {"bounds": Bounds(max_run_bytes=Bytes(64 * 1024))}}

MALFORMED = {
    "words": "what?",
    "no offset": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1",
    "a negative offset": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:-1",
    "leading zeros": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:007",
    "other digits": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:١",
    "a frame of nothing": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:0.1",
    "capitals": "ST_AAAAAAAAAAAAAAAAAAAAAAAAAA:a1:1",
    "8 KB": "x" * 8_000,
    "8 KB of digits": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:" + "9" * 8_000,
    "a line break": "st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:1\n",
    "control characters": "st_\x00\x01\x1b:a1:1",
    "no bytes": "bytes=",
    "bytes of words": "bytes=ten",
    "8 KB of bytes": "bytes=" + "9" * 8_000,
}


async def ask(client: httpx2.AsyncClient, run: str, transport: str, cursor: str, **query: str) -> httpx2.Response:
    return await client.get(
        f"/v1/streams/{run}/events", params={"after": cursor, **query}, headers={"accept": TEXT[transport]}
    )


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    error = body["error"]
    code = body.get("error_code", "").lower() or error.get("code") or error["details"]["error_code"]
    return answer.status_code, code


@pytest.mark.parametrize("transport", HTTP)
@pytest.mark.parametrize("cursor", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_cursor_is_400(
    served: Served, client: httpx2.AsyncClient, transport: str, cursor: str
) -> None:
    run = await said(served, client, "a")
    answer = await ask(client, run, transport, cursor)
    assert code_of(answer) == (400, "bad_cursor")
    assert len(answer.content) < 500


@pytest.mark.parametrize("cursor", [MALFORMED["8 KB"], "st_\tx:a1:1", "é" * 40])
async def test_a_malformed_header_is_400(served: Served, client: httpx2.AsyncClient, cursor: str) -> None:
    run = await said(served, client, "a")
    async with raw_client(served.url) as raw:
        await raw.request("GET", f"/v1/streams/{run}/events", headers={"Last-Event-ID": cursor})
        assert (await raw.head()).status == 400
        assert json.loads(await raw.rest())["error"]["code"] == "bad_cursor"


async def test_a_malformed_cursor_on_a_websocket_is_a_typed_error(served: Served, client: httpx2.AsyncClient) -> None:
    run = await said(served, client, "a")
    async with websocket(served.ws_url) as socket:
        for cursor in MALFORMED.values():
            answer = await socket.ask(type="attach", stream=run, after=cursor)
            assert (answer["type"], answer["code"]) == ("error", "bad_cursor")
        answer = await socket.ask(type="attach", stream=run, after=7)
        assert (answer["code"], answer["param"]) == ("invalid_request", "after")


async def test_an_unknown_run_and_anothers_run_are_told_apart_by_nobody(
    served: Served, client: httpx2.AsyncClient
) -> None:
    theirs = await said(served, client, "secret")
    served.run(theirs).principal = Principal("somebody else")
    unknown = "st_" + "a" * 26
    answers = []
    for run in (theirs, unknown):
        for method, path in [
            *(("GET", f"/v1/streams/{run}{rest}") for rest in ("", "/events", f"/events?after={run}:a1:1")),
            ("GET", f"/v1/streams/events?streams={run}"),
            ("GET", f"/v1/chat/stream?prompt=x&after={run}:a1:1"),
            ("DELETE", f"/v1/streams/{run}"),
            ("DELETE", f"/v1/streams/{run}?purge=1"),
            ("POST", f"/v1/streams/{run}/input"),
        ]:
            answer = await client.request(method, path, headers={"x-request-id": "same"})
            answers.append((answer.status_code, answer.headers.raw, answer.content))
    async with websocket(served.ws_url) as socket:
        told = [await socket.ask(type=kind, stream=run) for run in (theirs, unknown) for kind in ("attach", "cancel")]
    assert answers[: len(answers) // 2] == answers[len(answers) // 2 :]
    assert {status for status, _, _ in answers} == {404}
    assert told[:2] == told[2:]
    assert (await client.get("/v1/streams")).json() == {"streams": []}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("transport", HTTP)
async def test_a_cursor_beyond_the_end_is_409(
    served: Served, client: httpx2.AsyncClient, transport: str, live: bool
) -> None:
    if live:
        run = await detached(client)
        (await served.telling()).speak("a")
        await until("it was said", lambda: served.only.log.last == 3)
    else:
        run = await said(served, client, "a")
    beyond = served.only.cursor(served.only.log.last + 1)
    assert code_of(await ask(client, run, transport, beyond)) == (409, "cursor_ahead")
    if transport == "text":
        assert code_of(await ask(client, run, transport, "bytes=2")) == (409, "cursor_ahead")
    async with websocket(served.ws_url) as socket:
        assert (await socket.ask(type="attach", stream=run, after=beyond))["code"] == "cursor_ahead"


async def test_bytes_without_a_stream_or_a_key_start_nothing(served: Served, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/chat/chunked?after=bytes=5", json=PROMPT)
    assert code_of(answer) == (400, "bad_cursor")
    assert served.runs.by_id == {}
    asking = asyncio.ensure_future(client.post("/v1/chat/chunked?key=k", json=PROMPT))
    telling = await served.telling()
    telling.speak("Hello, world")
    telling.finish()
    assert (await asking).text == "Hello, world"
    assert (await client.post("/v1/chat/chunked?key=k&after=bytes=7", json=PROMPT)).text == "world"


async def test_a_cursor_of_another_stream_is_400(served: Served, client: httpx2.AsyncClient) -> None:
    one, other = await said(served, client, "a"), await said(served, client, "b")
    for transport in HTTP:
        assert code_of(await ask(client, one, transport, f"{other}:a1:1")) == (400, "bad_cursor")
    async with websocket(served.ws_url) as socket:
        answer = await socket.ask(type="attach", stream=one, after=f"{other}:a1:1")
        assert answer["code"] == "bad_cursor"


@pytest.mark.parametrize("transport", HTTP)
async def test_the_end_of_an_ended_run_is_204(served: Served, client: httpx2.AsyncClient, transport: str) -> None:
    run = await said(served, client, "a")
    answer = await ask(client, run, transport, served.only.cursor(served.only.log.last))
    assert (answer.status_code, answer.content, answer.headers["penstock-stream-id"]) == (204, b"", run)
    for dialect in FOREIGN if transport != "text" else ["plain"]:
        answer = await ask(client, run, transport, served.only.cursor(served.only.log.last), dialect=dialect)
        assert answer.status_code == 204


async def test_no_bytes_are_all_there_is_of_an_ended_run_that_said_nothing(
    served: Served, client: httpx2.AsyncClient
) -> None:
    """A client whose text was cut before the first word comes back with none, and must not be cut for ever."""
    run = await detached(client)
    (await served.telling()).fail()
    await until("it has ended", lambda: run in served.seen.ended)
    assert (await ask(client, run, "text", "bytes=0")).status_code == 204


async def test_the_end_of_a_live_run_waits_for_more(served: Served, client: httpx2.AsyncClient) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.speak("a")
    await until("it was said", lambda: served.only.log.last == 3)
    async with event_stream(client, "GET", f"/v1/streams/{run}/events?after={run}:a1:3") as stream:
        telling.speak("b")
        assert (await stream.value())["text"] == "b"


async def trimmed(served: Served, client: httpx2.AsyncClient, *, ended: bool) -> str:
    """The id of a run whose beginning is no longer held, after 200 deltas of 1,000 characters."""
    async with event_stream(client, "GET", "/v1/chat/stream?prompt=x") as stream:
        telling = await served.telling()
        telling.begin()
        await stream.next()
        for number in range(200):
            telling.speak(f"{number:04}" * 250)
            await stream.next()
        assert served.only.log.first > 50
        if ended:
            telling.finish()
            await stream.rest()
            await until("it has ended", lambda: served.only.id in served.seen.ended)
    return served.only.id


def gap_and_text(messages: list[Any]) -> tuple[Any, str]:
    """What was lost, and the text of the parts re-opened after that together with what followed."""
    (gap,) = [message for message in messages if message["type"] == "gap"]
    return gap, "".join(message["text"] for message in messages if message["type"] == "delta")


async def test_what_was_trimmed_is_told_as_a_gap_and_the_snapshot() -> None:
    async with serving(configured(routes=TRIMMING)) as served, served.client() as client:
        run = await trimmed(served, client, ended=True)
        first = served.only.log.first
        # The snapshot keeps the last half of the cap of what was dropped; the rest is elided.
        whole = "".join(f"{n:04}" * 250 for n in range(200))
        for cursor, start in ((f"{run}:a1:3", 4), (f"{run}:a1:0", 1), ("", 1)):
            sse = received_sse((await ask(client, run, "sse", cursor)).content)
            ndjson = [json.loads(line) for line in (await ask(client, run, "ndjson", cursor)).text.splitlines()]
            async with websocket(served.ws_url) as socket:
                await socket.ask(type="attach", stream=run, after=cursor)
                told = await socket.until("finished")
            heard: list[list[Any]] = [[m.value for m in sse], ndjson, told]
            for messages in heard:
                gap, text = gap_and_text(messages)
                assert (gap["type"], gap["from"], gap["to"], gap["reason"]) == ("gap", start, first - 1, "trimmed")
                assert whole.endswith(text)
                assert len(text) > 1000 * (201 - first)
                assert messages[-1]["type"] == "finished"
        for transport, dialect in [
            ("text", "plain"),
            *(("sse", d) for d in FOREIGN),
            *(("ndjson", d) for d in FOREIGN),
        ]:
            answer = await ask(client, run, transport, f"{run}:a1:3", dialect=dialect)
            assert code_of(answer) == (410, "cursor_gone")
        async with websocket(served.ws_url) as socket:
            for dialect in FOREIGN:
                answer = await socket.ask(type="attach", stream=run, after=f"{run}:a1:3", dialect=dialect)
                assert answer["code"] == "cursor_gone"


async def test_what_is_still_held_of_a_trimmed_run_resumes_exactly() -> None:
    async with serving(configured(routes=TRIMMING)) as served, served.client() as client:
        run = await trimmed(served, client, ended=True)
        first = served.only.log.first
        answer = await ask(client, run, "ndjson", f"{run}:a1:{first - 1}")
        told = [json.loads(line) for line in answer.text.splitlines()]
        assert "".join(line.get("text", "") for line in told) == "".join(f"{n:04}" * 250 for n in range(first - 3, 200))
        assert {line["type"] for line in told} == {"delta", "closed", "finished"}


@pytest.mark.parametrize("ended", [True, False])
async def test_another_epoch_is_told_as_a_gap_and_the_snapshot(
    served: Served, client: httpx2.AsyncClient, ended: bool
) -> None:
    run = await detached(client)
    telling = await served.telling()
    telling.speak("Hel", "lo")
    if ended:
        telling.finish()
        await until("it has ended", lambda: run in served.seen.ended)
    else:
        await until("it was said", lambda: served.only.log.last == 4)
    to = 5 if ended else 4
    for cursor, start in ((f"{run}:b2:2", 3), (f"{run}:b2:999", 5)):
        asking = asyncio.ensure_future(ask(client, run, "sse", cursor))
        if not ended:
            await served.attended(1)
            telling.finish()
            ended = True
        messages: list[Any] = [m.value for m in received_sse((await asking).content)]
        gap, text = gap_and_text(messages)
        assert gap == {"type": "gap", "from": start, "to": to, "reason": "epoch"}
        assert text == "Hello"
        assert messages[-1]["type"] == "finished"
        to = 5
    for dialect in FOREIGN:
        assert code_of(await ask(client, run, "sse", f"{run}:b2:2", dialect=dialect)) == (410, "cursor_gone")
    assert code_of(await ask(client, run, "text", f"{run}:b2:2")) == (410, "cursor_gone")


async def test_only_the_last_of_the_retold_frames_is_a_place_to_resume_from(
    served: Served, client: httpx2.AsyncClient
) -> None:
    run = await said(served, client, "Hel", "lo")
    messages = received_sse((await ask(client, run, "sse", f"{run}:b2:2")).content)
    retold = [message.cursor for message in messages if not message.cursor.endswith(":6")]
    assert set(retold[:-1]) == {""}
    assert retold[-1] == f"{run}:a1:5"
    rest = await ask(client, run, "sse", retold[-1])
    assert [m.cursor for m in received_sse(rest.content)] == [f"{run}:a1:6"]


async def test_a_cursor_between_the_frames_of_one_entry_resumes_between_them(
    served: Served, client: httpx2.AsyncClient
) -> None:
    """With usage asked for, the end is two frames in openai-chat: the finish reason, and the usage."""
    body = {**PROMPT, "stream_options": {"include_usage": True}}
    asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
    telling = await served.telling()
    telling.speak("a")
    telling.say(Closed(0), Usage(1, 2, "reported"), Finished())
    events = received_sse((await asking).content)
    middle = next(message.cursor for message in events if "." in message.cursor)
    position = [message.cursor for message in events].index(middle)
    answer = await client.post("/v1/chat/completions", json=body, headers={"last-event-id": middle})
    assert received_sse(answer.content) == [
        msgspec.structs.replace(message, retry=1000 if message is events[position + 1] else None)
        for message in events[position + 1 :]
    ]
    complete = added_up("openai-chat", [*events[: position + 1], *received_sse(answer.content)])
    assert complete.others[-1]["completion_tokens"] == 2
