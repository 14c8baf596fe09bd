"""Many runs on one WebSocket: commands, messages in fair turns, errors that the socket survives, and how it closes."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from penstock.auth.grant import Grant
from penstock.core.events import Cancelled, Chunk, Closed, Delta, Event, Finished, Opened, Started
from penstock.core.frame import View
from penstock.core.request import ChatRequest, Run
from penstock.dialects.native import NativeDialect, NativeRenderer
from penstock.testing.wire import parse_websocket
from tests.server.reading import CURSOR_KEYS, PROMPT, Messages, added_up, said, websocket
from tests.serving import Served, serving
from tests.waiting import until

KiB = 1024


@pytest.fixture
async def socket(served: Served) -> AsyncGenerator[Messages]:
    async with websocket(served.ws_url) as messages:
        yield messages


async def test_a_run_starts_and_is_told_message_by_message(served: Served, socket: Messages) -> None:
    answer = await socket.ask(type="start", ref="a", request=PROMPT)
    run = served.only.id
    assert answer == {"type": "started", "ref": "a", "stream": run, "id": f"{run}:a1:0"}
    telling = await served.telling()
    telling.begin()
    assert [(await socket.next())["type"] for _ in range(2)] == ["started", "opened"]
    telling.speak("Hel")
    assert await socket.next() == {"type": "delta", "part": 0, "text": "Hel", "id": f"{run}:a1:3", "stream": run}
    telling.finish()
    assert [message["type"] for message in await socket.until("finished")] == ["closed", "finished"]
    assert await socket.ask(type="ping", ref="still here") == {"type": "pong", "ref": "still here"}


async def test_many_runs_share_a_socket_and_outlive_each_other(served: Served, socket: Messages) -> None:
    runs = [await socket.start(str(number)) for number in range(5)]
    for number in reversed(range(5)):
        telling = await served.telling(number)
        telling.speak(f"I am {number}")
        telling.finish()
        messages = await socket.until("finished")
        assert {message["stream"] for message in messages} == {runs[number]}
        assert "".join(message.get("text", "") for message in messages) == f"I am {number}"


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["penstock.v1", "other"], "penstock.v1"), (["other"], None), ([], None)]
)
async def test_the_subprotocol_is_chosen_where_it_is_offered(
    served: Served, offered: list[str], chosen: str | None
) -> None:
    async with websocket(served.ws_url, subprotocols=[Subprotocol(name) for name in offered] or None) as messages:
        assert messages.connection.subprotocol == chosen
        assert (await messages.ask(type="ping"))["type"] == "pong"


async def test_a_ready_frame_waits_behind_one_turn_of_a_flooding_neighbour_at_most(served: Served) -> None:
    async with websocket(served.ws_url, receive_buffer=4 * KiB) as socket:
        loud, quiet = await socket.start("loud"), await socket.start("quiet")
        flooding, telling = await served.telling(0), await served.telling(1)
        telling.begin()
        assert [(await socket.next())["stream"] for _ in range(2)] == [quiet, quiet]
        flooding.flood("x" * 100, 50_000)
        log = served.run(loud).log
        await until("the flood is held back", lambda: log.waiting_for_room)
        telling.speak("here")
        await until("the word is in its log", lambda: served.run(quiet).log.last == 3)
        taken = log.readers[0].taken
        message = await socket.next()
        last = 0
        while message["stream"] == loud:
            last = int(message["id"].rpartition(":")[2])
            message = await socket.next()
        assert (message["stream"], message["text"]) == (quiet, "here")
        assert log.said_through(last) - taken <= 64 * KiB
        assert flooding.yielded < 50_000


async def test_a_binary_part_comes_as_binary_messages(served: Served, socket: Messages) -> None:
    picture = bytes(range(256)) * 300
    run = await socket.start()
    telling = await served.telling()
    telling.say(Started(run, "scripted", 0), Opened(0, "binary", media_type="image/png"))
    telling.say(Chunk(0, picture[:1000]), Chunk(0, picture[1000:]), Closed(0), Finished())
    messages = [await socket.next() for _ in range(6)]
    binary = [message for message in messages if isinstance(message, bytes)]
    headers = [json.loads(message[2 : 2 + int.from_bytes(message[:2], "big")]) for message in binary]
    assert headers == [{"stream": run, "id": f"{run}:a1:{n}", "part": 0} for n in (3, 4)]
    assert b"".join(m[2 + int.from_bytes(m[:2], "big") :] for m in binary) == picture


async def test_a_binary_part_is_base64_where_there_are_no_binary_messages(
    served: Served, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.ensure_future(client.post("/v1/streams", json=PROMPT, headers={"accept": "application/x-ndjson"}))
    telling = await served.telling()
    telling.say(
        Started(telling.run.id, "scripted", 0), Opened(0, "binary"), Chunk(0, b"\x00\xff"), Closed(0), Finished()
    )
    chunk = json.loads((await asking).text.splitlines()[2])
    assert base64.b64decode(chunk["data"]) == b"\x00\xff"


GARBAGE: list[tuple[str | bytes, str, str | None]] = [
    ("", "invalid_json", None),
    ("hello", "invalid_json", None),
    (b"\xff\xfe", "invalid_json", None),
    ("[1]", "invalid_request", None),
    ('"start"', "invalid_request", None),
    ("[" * 100_000, "invalid_json", None),
    ('{"type":"ping","x":' + "[" * 200 + "]" * 200 + "}", "invalid_json", None),
    ("{}", "unknown_command", "type"),
    ('{"type":"dance"}', "unknown_command", "type"),
    ('{"type":7}', "invalid_request", "type"),
    ('{"type":"ping","ref":7}', "invalid_request", "ref"),
    (json.dumps({"type": "ping", "ref": "r" * 129}), "invalid_request", "ref"),
    ('{"type":"ping","colour":"red"}', "invalid_request", "colour"),
    ('{"type":"start","request":{"prompt":"x"}}', "invalid_request", "ref"),
    ('{"type":"start","ref":"s"}', "invalid_request", "request"),
    ('{"type":"start","ref":"s","request":{}}', "invalid_request", "messages"),
    ('{"type":"start","ref":"s","request":{"prompt":"x"},"dialect":"klingon"}', "unknown_dialect", "dialect"),
    ('{"type":"start","ref":"s","request":{"prompt":"x","model":"nobody"}}', "unknown_model", "model"),
    ('{"type":"attach"}', "invalid_request", "stream"),
    ('{"type":"attach","stream":"st_unknown"}', "stream_not_found", None),
    (json.dumps({"type": "attach", "stream": "\x00" * 10_000}), "stream_not_found", None),
    ('{"type":"detach"}', "invalid_request", "stream"),
    ('{"type":"cancel","stream":"st_unknown"}', "stream_not_found", None),
    ('{"type":"input","stream":"st_unknown","body":1}', "stream_not_found", None),
]


@pytest.mark.parametrize(("message", "code", "param"), GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_gets_a_typed_error_and_the_socket_lives(
    served: Served, socket: Messages, message: str | bytes, code: str, param: str | None
) -> None:
    await socket.connection.send(message)
    answer = await socket.next()
    assert (answer["type"], answer["code"], answer.get("param")) == ("error", code, param)
    assert len(answer["message"]) > 15
    assert (await socket.ask(type="ping"))["type"] == "pong"
    assert served.runs.by_id == {}


async def test_an_error_echoes_the_ref_of_its_command(socket: Messages) -> None:
    answer = await socket.ask(type="cancel", ref="mine", stream="st_unknown")
    assert (answer["ref"], answer["code"]) == ("mine", "stream_not_found")


async def test_a_ref_begins_one_run_only(served: Served, socket: Messages) -> None:
    await socket.start("once")
    answer = await socket.ask(type="start", ref="once", request=PROMPT)
    assert (answer["type"], answer["ref"], answer["code"]) == ("error", "once", "duplicate_ref")
    assert len(served.runs.by_id) == 1


async def test_a_refused_start_leaves_its_ref_free(socket: Messages) -> None:
    answer = await socket.ask(type="start", ref="again", request={})
    assert answer["code"] == "invalid_request"
    await socket.start("again")


async def test_errors_on_one_run_leave_the_others_alone(served: Served, socket: Messages) -> None:
    run = await socket.start()
    telling = await served.telling()
    telling.begin()
    for _ in range(2):
        await socket.next()
    for message, _, _ in GARBAGE[:3]:
        await socket.connection.send(message)
        assert (await socket.next())["type"] == "error"
    telling.speak("unmoved")
    assert (await socket.next())["text"] == "unmoved"
    assert served.run(run).pump.terminal is None


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"\x81\x82\0\0\0\0\xff\xfe", 1007, id="text that is no UTF-8"),
        pytest.param(b"\x81\x02hi", 1002, id="a frame without its mask"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="an opcode that does not exist"),
        pytest.param(b"\x82\xff\0\0\0\0\x01\x10\0\0\0\0\0\0", 1009, id="a message of 17 MiB"),
    ],
)
async def test_a_violated_protocol_closes_the_socket_with_its_code(served: Served, frame: bytes, code: int) -> None:
    async with websocket(served.ws_url) as socket:
        await socket.start()
        await served.attended(1)
        socket.connection.transport.write(frame)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        await served.attended(0)


class BrokenDialect(NativeDialect):
    """A dialect with a fault of its own."""

    name = "broken"

    def renderer(self, view: View) -> NativeRenderer:
        renderer = NativeRenderer(view)
        renderer._heads = None  # type: ignore[assignment]
        return renderer


async def test_a_fault_while_writing_closes_the_socket_with_1011_and_is_logged() -> None:
    async with serving(errors_expected=True) as served, websocket(served.ws_url) as socket:
        dialects: Any = served.app.service.dialects
        dialects["broken"] = BrokenDialect()
        await socket.start(dialect="broken")
        telling = await served.telling()
        telling.speak("never told")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.until("delta")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "internal")
        assert [type(error) for _, error in served.seen.failures] == [AttributeError]
        await served.attended(0)


async def test_a_fault_in_a_command_closes_the_socket_with_1011_and_is_logged() -> None:
    async with serving(errors_expected=True) as served, websocket(served.ws_url) as socket:

        def model(name: str, grant: Grant) -> Any:
            raise ZeroDivisionError

        served.app.service.model = model
        await socket.send(type="start", ref="1", request=PROMPT)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        assert [type(error) for _, error in served.seen.failures] == [ZeroDivisionError]


async def echo(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    """Says what it is told, until it is told to stop."""
    run.inbox.open()
    yield Started(run.id, "echo", run.created)
    yield Opened(0, "text")
    async for word in run.inbox:
        if word == "stop":
            break
        yield Delta(0, json.dumps(word))
    yield Closed(0)
    yield Finished()


async def test_a_run_is_steered_in_the_middle() -> None:
    async with serving(sources={"echo": echo}) as served, websocket(served.ws_url) as socket:
        await socket.ask(type="start", ref="1", request={**PROMPT, "model": "echo"})
        run = served.only.id
        assert [(await socket.next())["type"] for _ in range(2)] == ["started", "opened"]
        for number, body in enumerate(["left", {"turn": [1, 2]}, None]):
            await socket.send(type="input", ref=f"i{number}", stream=run, body=body)
            seen = [await socket.next() for _ in range(3)]
            assert {"type": "ok", "ref": f"i{number}", "stream": run} in seen
            told = [message for message in seen if message["type"] != "ok"]
            assert [(m["type"], m.get("body"), m.get("text")) for m in told] == [
                ("note", body, None),
                ("delta", None, json.dumps(body)),
            ]
        await socket.send(type="input", stream=run, body="stop")
        assert (await socket.until("finished"))[-1]["reason"] == "stop"
        answer = await socket.ask(type="input", ref="late", stream=run, body="more")
        assert (answer["code"], answer["ref"]) == ("input_not_accepted", "late")


async def test_a_source_that_takes_no_input_says_so(served: Served, socket: Messages) -> None:
    run = await socket.start()
    await served.telling()
    assert (await socket.ask(type="input", stream=run, body=1))["code"] == "input_not_accepted"
    assert (await socket.ask(type="input", stream=run))["param"] == "body"


async def test_cancel_stops_the_source_and_is_the_last_word(served: Served, socket: Messages) -> None:
    run = await socket.start()
    telling = await served.telling()
    telling.speak("half")
    await socket.until("delta")
    await socket.send(type="cancel", ref="stop", stream=run)
    messages = await socket.until("cancelled")
    await telling.closed.wait()
    types = [message["type"] for message in messages]
    assert sorted(types) == ["cancelled", "closed", "ok"]
    assert messages[-1]["by"] == "client"
    assert (await socket.ask(type="cancel", stream=run))["type"] == "ok"
    assert served.seen.ended == {run: Cancelled("client")}


async def test_a_detached_run_says_no_more_here_and_goes_on(served: Served, socket: Messages) -> None:
    run = await socket.start()
    telling = await served.telling()
    telling.speak("a")
    last = (await socket.until("delta"))[-1]["id"]
    assert await socket.ask(type="detach", ref="d", stream=run) == {"type": "ok", "ref": "d", "stream": run}
    assert served.only.log.readers == []
    telling.speak("b", "c")
    assert (await socket.ask(type="ping"))["type"] == "pong"
    assert await socket.ask(type="attach", stream=run, after=last) == {"type": "ok", "stream": run}
    telling.finish()
    assert [m.get("text", m["type"]) for m in await socket.until("finished")] == ["b", "c", "closed", "finished"]


@pytest.mark.parametrize("dialect", ["native", "openai-chat", "token-done", "plain"])
async def test_a_run_is_read_here_in_any_dialect_and_resumed_anywhere_in_it(
    served: Served, client: httpx2.AsyncClient, dialect: str
) -> None:
    run = await said(served, client, "Hel", "lo\n", "wörld")
    key = CURSOR_KEYS[dialect]
    async with websocket(served.ws_url) as socket:
        await socket.ask(type="attach", stream=run, dialect=dialect)
        whole: list[Any] = []
        while not whole or not whole[-1].get(key, "").endswith(f":{served.only.log.last}"):
            whole.append(await socket.next())
    texts = [json.dumps(message) for message in whole]
    assert added_up(dialect, parse_websocket(texts, key, run)).text() == "Hello\nwörld"
    for number, message in enumerate(whole[:-1]):
        async with websocket(served.ws_url) as socket:
            await socket.ask(type="attach", stream=run, dialect=dialect, after=message[key])
            rest = [await socket.next() for _ in whole[number + 1 :]]
            assert rest == whole[number + 1 :]


async def test_a_stream_is_read_once_per_socket(served: Served, socket: Messages) -> None:
    run = await socket.start()
    answer = await socket.ask(type="attach", ref="twice", stream=run)
    assert (answer["code"], "detach" in answer["message"]) == ("invalid_request", True)
    assert len(served.only.log.readers) == 1


async def test_a_start_asked_again_with_its_key_is_the_same_run_and_one_reader(
    served: Served, socket: Messages
) -> None:
    run = await socket.start("1", key="k")
    assert await socket.start("2", key="k") == run
    assert len(served.only.log.readers) == 1
    telling = await served.telling()
    telling.finish()
    assert [m["type"] for m in await socket.until("finished")] == ["started", "opened", "closed", "finished"]
    async with websocket(served.ws_url) as other:
        assert await other.start("1", key="k") == run
        assert len(await other.until("finished")) == 4
        other_request = {**PROMPT, "temperature": 1}
        answer = await other.ask(type="start", ref="2", key="k", request=other_request)
        assert answer["code"] == "idempotency_mismatch"
    assert len(served.source.tellings) == 1


async def test_leaving_takes_every_reader_of_the_socket_along(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        runs = [await socket.start(str(number)) for number in range(3)]
        for run in runs:
            await served.attended(1, run)
        socket.connection.transport.abort()
        for run in runs:
            await served.attended(0, run)


async def test_leaving_in_the_middle_of_a_flood_is_quiet(served: Served) -> None:
    async with websocket(served.ws_url, receive_buffer=4 * KiB) as socket:
        await socket.start()
        telling = await served.telling()
        telling.flood("x" * 100, 50_000)
        await until("the flood is held back", lambda: served.only.log.waiting_for_room)
        socket.connection.transport.abort()
        await served.attended(0)


async def test_at_the_end_of_an_ended_run_there_is_nothing_but_the_news_of_it(
    served: Served, client: httpx2.AsyncClient, socket: Messages
) -> None:
    run = await said(served, client, "done")
    end = served.only.cursor(served.only.log.last)
    assert (await socket.ask(type="attach", stream=run, after=end))["type"] == "ok"
    assert await socket.next() == {"type": "detached", "stream": run, "reason": "ended", "id": end}


async def test_a_handshake_where_no_websocket_is_says_where_there_is_one(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(served.ws_url.replace("/ws", "/stream")):
            pass
    assert refused.value.response.status_code == 404
    body = json.loads(refused.value.response.body)
    assert (body["code"], "/v1/chat/ws" in body["detail"]) == ("route_not_found", True)


async def test_a_get_without_a_handshake_says_that_this_is_a_websocket(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/chat/ws")
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert "WebSocket" in answer.json()["detail"]


async def test_the_server_going_down_says_so_and_that_it_is_worth_coming_back(served: Served, socket: Messages) -> None:
    await socket.start()
    telling = await served.telling()
    telling.speak("half")
    served.runs.abandon()
    failed = (await socket.until("failed"))[-1]
    assert (failed["error"]["code"], failed["error"]["retryable"]) == ("interrupted", True)
