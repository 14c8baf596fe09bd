"""OpenAI's WebSocket mode: answers lane by lane, going on from one another, errors that the socket survives, and how it closes."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.config.units import Bytes
from penstock.core.errors import TABLE
from penstock.core.events import Cancelled, Closed, Delta, Event, Finished, Opened, Started
from penstock.core.request import ChatRequest, Run
from penstock.flow.policy import OnDisconnect
from penstock.testing.readings import READERS
from penstock.testing.wire import Received
from tests.server.answers import ANSWERS, PATH, answered, events, said, text_of
from tests.server.keyed import ALICE, BOB, bearer, subprotocol, with_keys
from tests.server.reading import Messages, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

KiB = 1024


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(ANSWERS) as server:
        yield server


@pytest.fixture
async def socket(served: Served) -> AsyncGenerator[Messages]:
    async with connected(served) as messages:
        yield messages


@asynccontextmanager
async def connected(served: Served, **options: Any) -> AsyncGenerator[Messages]:
    async with websocket(f"ws://127.0.0.1:{served.port}{PATH}", **options) as messages:
        yield messages


async def create(socket: Messages, text: str = "Say something.", **more: Any) -> None:
    await socket.send(type="response.create", model="scripted", input=text, **more)


ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


async def answer(served: Served, socket: Messages, says: str, **more: Any) -> dict[str, Any]:
    """One whole answer over the socket, which says this text."""
    number = len(served.source.tellings)
    await create(socket, **more)
    telling = await served.telling(number)
    telling.speak(says)
    telling.finish()
    messages = await socket.until(*ENDS)
    response: dict[str, Any] = messages[-1]["response"]
    return response


async def test_an_answer_comes_event_by_event_as_on_sse(served: Served, socket: Messages) -> None:
    await create(socket)
    telling = await served.telling()
    telling.speak("Hel")
    first = [await socket.next() for _ in range(5)]
    assert [message["type"] for message in first] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    telling.speak("lo")
    telling.finish()
    messages = first + await socket.until("response.completed")
    read = READERS["openai-responses"]([Received(value=m, event=m["type"]) for m in messages])
    assert read.text() == "Hello"
    async with served.client() as client:
        path = f"{PATH}/{messages[0]['response']['id']}"
        over_http = await client.get(f"{path}?stream=true")
    assert [value for _, value in events(over_http.content)] == messages


async def test_a_frame_has_nothing_of_ours(served: Served, socket: Messages) -> None:
    await create(socket, stream_id="left")
    telling = await served.telling()
    telling.speak("x")
    await socket.next()
    for _ in range(3):
        await socket.next()
    delta = await socket.next()
    assert sorted(delta) == [
        *("content_index", "delta", "item_id", "logprobs", "output_index", "sequence_number", "stream_id", "type")
    ]
    assert delta["stream_id"] == "left"


async def test_lanes_stand_side_by_side_and_each_event_names_its_own(served: Served, socket: Messages) -> None:
    names = ["a", 'b "quoted" ü', None]
    for number, name in enumerate(names):
        await create(socket, str(number), **({} if name is None else {"stream_id": name}))
    tellings = [await served.telling(number) for number in range(3)]
    asked = {telling.request.prompt: telling for telling in tellings}
    for number in (2, 0, 1):
        asked[str(number)].speak(f"I am {number}")
        asked[str(number)].finish()
    told: dict[Any, list[Any]] = {}
    while sum(lane[-1]["type"] in ENDS for lane in told.values()) < 3:
        message = await socket.next()
        told.setdefault(message.pop("stream_id", None), []).append(message)
    assert set(told) == set(names)
    for number, name in enumerate(names):
        assert text_of(told[name][-1]["response"]) == f"I am {number}"
        assert [m["sequence_number"] for m in told[name]] == list(range(len(told[name])))


async def test_requests_of_one_lane_are_answered_in_their_order(served: Served, socket: Messages) -> None:
    for text in ("one", "two", "three"):
        await create(socket, text, stream_id="s")
    for number, text in enumerate(("one", "two", "three")):
        telling = await served.telling(number)
        assert said(served, number) == [{"role": "user", "content": text}]
        assert len(served.source.tellings) == number + 1
        telling.speak(text.upper())
        telling.finish()
        messages = await socket.until("response.completed")
        assert {message["stream_id"] for message in messages} == {"s"}
        assert text_of(messages[-1]["response"]) == text.upper()


async def test_one_that_cannot_begin_lets_the_next_of_its_lane(served: Served, socket: Messages) -> None:
    await create(socket, "first")
    await socket.send(type="response.create", model="nobody", input="second")
    await create(socket, "third")
    telling = await served.telling(0)
    telling.finish()
    messages = await socket.until("error")
    assert (messages[-2]["type"], messages[-1]["error"]["code"]) == ("response.completed", "unknown_model")
    (await served.telling(1)).finish()
    assert (await socket.until("response.completed"))[0]["type"] == "response.created"
    assert said(served, 1) == [{"role": "user", "content": "third"}]


async def test_no_more_than_so_many_wait_for_a_lane(served: Served, socket: Messages) -> None:
    for _ in range(18):
        await create(socket, stream_id="s")
    refused = (await socket.until("error"))[-1]
    assert (refused["status"], refused["stream_id"], refused["error"]["param"]) == (429, "s", "stream_id")
    assert refused["error"]["headers"]["retry-after"] == "1"
    assert len(served.source.tellings) == 1


async def test_a_question_goes_on_from_an_answer_of_any_transport(served: Served, socket: Messages) -> None:
    async with served.client() as client:
        first = await answered(served, client, "One", input="Count.")
        second = await answer(served, socket, "Two", text="On.", previous_response_id=first["id"])
        await answered(served, client, "Three", input="And?", previous_response_id=second["id"])
    assert [m["content"] for m in said(served, 2)] == ["Count.", "One", "On.", "Two", "And?"]


async def test_what_is_not_stored_is_held_by_its_connection_alone(served: Served) -> None:
    conversations = served.runs.conversations
    async with connected(served) as socket:
        await answer(served, socket, "One", text="x" * 9_000, store=False)
        assert conversations.size > 9_000
        await answer(served, socket, "Two", text="y" * 500)
    await until("the connection has let go", lambda: conversations.size < 9_000)
    assert conversations.size > 500
    for handle in list(served.runs.by_id.values()):
        served.runs.forget(handle)
    assert conversations.size == 0


async def test_what_is_not_stored_goes_on_within_its_connection_alone(served: Served, socket: Messages) -> None:
    first = await answer(served, socket, "One", text="Count.", store=False)
    second = await answer(served, socket, "Two", text="On.", store=False, previous_response_id=first["id"])
    served.tick(3600)
    served.tick(3600)
    assert served.runs.by_id == {}  # it is the connection that keeps it
    await answer(served, socket, "Three", text="And?", store=False, previous_response_id=second["id"])
    assert [m["content"] for m in said(served, 2)] == ["Count.", "One", "On.", "Two", "And?"]
    async with connected(served) as other:
        await create(other, previous_response_id=second["id"])
        refused = await other.next()
        assert (refused["type"], refused["status"]) == ("error", 400)
        assert refused["error"]["code"] == "previous_response_not_found"
        assert refused["error"]["param"] == "previous_response_id"


async def test_a_connection_keeps_few_answers_and_none_when_it_is_over(served: Served) -> None:
    async with connected(served) as socket:
        first = await answer(served, socket, "x" * 1000, store=False)
        last = first
        for _ in range(16):
            last = await answer(served, socket, "x" * 1000, store=False)
        served.tick(3600)
        served.tick(3600)
        assert served.runs.by_id == {}
        assert 16_000 < served.runs.conversations.size < 32_000
        await create(socket, previous_response_id=first["id"])
        assert (await socket.next())["error"]["code"] == "previous_response_not_found"
        await answer(served, socket, "x", store=False, previous_response_id=last["id"])
    served.tick(3600)
    served.tick(3600)
    await until("the socket has let go", lambda: served.runs.conversations.size == 0)


@pytest.mark.parametrize("named", ["response_id", "stream_id", None])
async def test_an_answer_is_cancelled_by_its_id_or_its_lane(
    served: Served, socket: Messages, named: str | None
) -> None:
    await create(socket, **({"stream_id": "s"} if named == "stream_id" else {}))
    telling = await served.telling()
    telling.speak("Hel")
    created = await socket.next()
    which = {"response_id": created["response"]["id"], "stream_id": "s"}
    await socket.send(type="response.cancel", **({named: which[named]} if named else {}))
    last = (await socket.until(*ENDS))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")
    await telling.closed.wait()
    assert served.only.pump.terminal == Cancelled("client")
    await socket.send(type="response.cancel", **({named: which[named]} if named else {}))
    assert (await socket.next())["status"] == 404


def text_of_message(messages: Any) -> str:
    (message,) = messages
    return str(message["content"])


class Steered:
    """A source that says what it is told in mid-answer."""

    async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield Started(run.id, "m", 0)
        yield Opened(0, "text")
        async for message in run.inbox:
            assert isinstance(message, dict)
            yield Delta(0, text_of_message(message["messages"]))
            break
        yield Closed(0)
        yield Finished()


async def test_an_answer_is_steered_where_its_source_listens(socket: Messages, served: Served) -> None:
    async with serving(ANSWERS, sources={"steered": Steered()}) as listening, connected(listening) as ours:
        await ours.send(type="response.create", model="steered", input="go", stream_id="s")
        answer_id = (await ours.next())["response"]["id"]
        await until("it listens", lambda: listening.only.inbox._opened)
        await ours.send(type="response.steer", previous_response_id=answer_id, input="left")
        messages = await ours.until("response.completed")
        accepted = [m for m in messages if m["type"] == "response.steer.accepted"]
        assert accepted == [
            {
                "type": "response.steer.accepted",
                "sequence_number": 0,
                "steer": {"id": "steer_1", "previous_response_id": answer_id},
                "stream_id": "s",
            }
        ]
        assert text_of(messages[-1]["response"]) == "left"
        failed = await ours.ask(type="response.steer", previous_response_id=answer_id, input="right")
        assert (failed["type"], failed["error"]["code"]) == ("response.steer.failed", "response_already_completed")
    await create(socket)
    telling = await served.telling()
    telling.begin()
    deaf = (await socket.next())["response"]["id"]
    for previous, given, code in [
        (deaf, "x", "steering_not_supported"),
        (deaf, [{"role": "system", "content": "x"}], "invalid_input"),
        (deaf, 7, "invalid_input"),
        ("resp_" + "a" * 26, "x", "response_not_found"),
        ("nonsense", "x", "response_not_found"),
    ]:
        await socket.send(type="response.steer", previous_response_id=previous, input=given)
        failed = (await socket.until("response.steer.failed"))[-1]
        assert (failed["error"]["code"], failed["steer"]["input"]) == (code, given)


GARBAGE: list[tuple[str | bytes, str, str | None]] = [
    ("", "invalid_json", None),
    ("hello", "invalid_json", None),
    (b"\xff\xfe", "invalid_json", None),
    ("[1]", "invalid_request", None),
    ("[" * 100_000, "invalid_json", None),
    ("{}", "unknown_command", "type"),
    ('{"type":"start","ref":"1"}', "unknown_command", "type"),
    ('{"type":7}', "invalid_request", "type"),
    ('{"type":"response.create","stream_id":7}', "invalid_request", "stream_id"),
    ('{"type":"response.create","stream_id":""}', "invalid_request", "stream_id"),
    (json.dumps({"type": "response.create", "stream_id": "s" * 129}), "invalid_request", "stream_id"),
    ('{"type":"response.create"}', "invalid_request", "input"),
    ('{"type":"response.create","input":7}', "invalid_request", "input"),
    ('{"type":"response.create","input":"x","background":true}', "invalid_request", "background"),
    ('{"type":"response.create","input":"x","model":"nobody"}', "unknown_model", "model"),
    ('{"type":"response.create","input":"x","previous_response_id":"y"}', "previous_response_not_found", None),
    ('{"type":"response.cancel"}', "stream_not_found", "stream_id"),
    ('{"type":"response.cancel","response_id":"x"}', "stream_not_found", "response_id"),
    ('{"type":"response.cancel","colour":"red"}', "invalid_request", "colour"),
]


@pytest.mark.parametrize(("message", "code", "param"), GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_gets_a_typed_error_and_the_socket_lives(
    served: Served, socket: Messages, message: str | bytes, code: str, param: str | None
) -> None:
    await socket.connection.send(message)
    told = await socket.next()
    assert (told["type"], told["error"]["code"]) == ("error", code)
    assert told["error"]["param"] == (param or told["error"]["param"])
    assert 400 <= told["status"] < 500
    assert len(told["error"]["message"]) > 15
    assert served.runs.by_id == {}
    assert served.runs.conversations.size == 0
    assert text_of(await answer(served, socket, "alive")) == "alive"


async def test_an_upstream_that_dies_is_told_on_its_lane_and_the_socket_lives(served: Served, socket: Messages) -> None:
    await create(socket)
    telling = await served.telling()
    telling.speak("Hel")
    telling.fail("provider_truncated")
    last = (await socket.until(*ENDS))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["message"] == TABLE["provider_truncated"].meaning
    assert text_of(await answer(served, socket, "again")) == "again"


async def test_who_closes_ends_what_was_told_there(served: Served) -> None:
    async with connected(served) as socket:
        for name in "ab":
            await create(socket, stream_id=name)
        tellings = [await served.telling(number) for number in range(2)]
        for telling in tellings:
            telling.speak("x")
        await socket.next()
    for telling in tellings:
        await telling.closed.wait()
    await until("both have ended", lambda: len(served.seen.ended) == 2)
    assert set(served.seen.ended.values()) == {Cancelled("disconnect")}


async def test_a_line_that_is_cut_ends_it_too_and_a_lasting_route_goes_on() -> None:
    lasting = configured(ANSWERS, routes={PATH: {"on_disconnect": OnDisconnect("finish")}})
    for config, ends in ((ANSWERS, True), (lasting, False)):
        async with serving(config) as served:
            async with connected(served) as socket:
                await create(socket)
                telling = await served.telling()
                telling.speak("x")
                answer_id = (await socket.next())["response"]["id"]
                socket.connection.transport.abort()
            handle = await served.attended(0)
            if ends:
                await telling.closed.wait()
            else:
                telling.finish()
                await until("it has ended", lambda: bool(served.seen.ended))
                async with served.client() as client:
                    assert text_of((await client.get(f"{PATH}/{answer_id}")).json()) == "x"
            assert handle.pump.terminal == (Cancelled("disconnect") if ends else Finished())


async def test_a_ready_event_waits_behind_one_turn_of_a_flooding_neighbour(served: Served) -> None:
    async with connected(served, receive_buffer=4 * KiB) as socket:
        await create(socket, stream_id="loud")
        await create(socket, stream_id="quiet")
        flooding, telling = await served.telling(0), await served.telling(1)
        telling.begin()
        for _ in range(4):
            assert (await socket.next())["stream_id"] == "quiet"
        flooding.flood("x" * 100, 20_000)
        loud = served.run(flooding.run.id).log
        await until("the flood is held back", lambda: loud.waiting_for_room)
        telling.speak("here")
        await until("the word is in its log", lambda: served.run(telling.run.id).log.last == 3)
        size, message = 0, await socket.next()
        while message["stream_id"] == "loud":
            size += len(json.dumps(message))
            message = await socket.next()
        assert message["delta"] == "here"
        assert size < 1024 * KiB
        assert flooding.yielded < 20_000


async def test_the_server_goes_when_the_last_answer_was_told(served: Served, socket: Messages) -> None:
    await create(socket, stream_id="s")
    await create(socket, "waits", stream_id="s")
    telling = await served.telling()
    telling.speak("Hel")
    await socket.next()
    served.runs.admission.close()
    await create(socket, stream_id="late")
    late = (await socket.until("error"))[-1]
    assert (late["status"], late["error"]["code"], late["stream_id"]) == (503, "interrupted", "late")
    telling.finish()
    messages = await socket.until("response.completed")
    assert text_of(messages[-1]["response"]) == "Hel"
    waited, farewell = await socket.next(), await socket.next()
    assert (waited["error"]["code"], waited["stream_id"]) == ("interrupted", "s")
    assert (farewell["error"]["code"], farewell.get("stream_id"), farewell["status"]) == ("interrupted", None, 503)
    with pytest.raises(ConnectionClosed) as closed:
        await socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_what_runs_when_the_time_is_over_fails_in_its_own_words(served: Served, socket: Messages) -> None:
    await create(socket)
    telling = await served.telling()
    telling.speak("Hel")
    await socket.next()
    await served.runs.drain(0)
    last = (await socket.until("response.failed"))[-1]
    assert last["response"]["error"]["message"] == TABLE["interrupted"].meaning
    assert (await socket.next())["status"] == 503
    with pytest.raises(ConnectionClosed):
        await socket.next()


async def test_a_message_that_is_too_large_closes_the_socket() -> None:
    async with serving(configured(ANSWERS, max_body=Bytes(10_000))) as served, connected(served) as socket:
        await socket.connection.send("x" * 10_001)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_key_comes_with_the_handshake() -> None:
    async with serving(with_keys(ANSWERS)) as served:
        for options in ({"additional_headers": bearer(ALICE)}, {"subprotocols": ["penstock.v1", subprotocol(ALICE)]}):
            async with connected(served, **options) as socket:
                assert text_of(await answer(served, socket, "x")) == "x"
        for headers in ({}, bearer("wrong")):
            with pytest.raises(InvalidStatus) as refused:
                async with connected(served, additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 401
            assert json.loads(refused.value.response.body or b"")["error"]["code"] == "unauthenticated"


async def test_another_keys_answers_cannot_be_gone_on_from() -> None:
    async with serving(with_keys(ANSWERS)) as served:
        async with connected(served, additional_headers=bearer(ALICE)) as hers:
            first = await answer(served, hers, "for Alice alone")
        async with connected(served, additional_headers=bearer(BOB)) as his:
            for previous in (first["id"], "resp_" + "a" * 26):
                await create(his, previous_response_id=previous)
                told = await his.next()
                assert told["error"]["message"] == f"Previous response with id '{previous}' not found."


async def test_a_reload_that_drops_the_route_is_told_and_the_answer_goes_on(served: Served, socket: Messages) -> None:
    await create(socket, stream_id="s")
    telling = await served.telling()
    telling.begin()
    await socket.next()
    service = served.app.service
    service.routes = tuple(route for route in service.routes if route.path != PATH)
    await create(socket, stream_id="late")
    assert (await socket.until("error"))[-1]["error"]["code"] == "route_not_found"
    telling.finish()
    assert (await socket.until("response.completed"))[-1]["stream_id"] == "s"


async def test_answers_come_the_same_under_another_server() -> None:
    """Without what our own host adds to ASGI."""
    async with serving(ANSWERS, stock=lambda app: app) as served, connected(served) as socket:
        first = await answer(served, socket, "One", text="Count.", store=False)
        await answer(served, socket, "Two", text="On.", previous_response_id=first["id"])
        assert [m["content"] for m in said(served, 1)] == ["Count.", "One", "On."]
