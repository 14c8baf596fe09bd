"""The light stand-ins do what the objects they stand for do, and uvicorn still has the places they take."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl

from penstock.server.lean import Flow, Messages, Queue, Signal
from tests.server.reading import websocket
from tests.serving import Served


class Silent:
    """A transport nobody looks at."""


async def quiet() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_signal_wakes_all_who_wait_and_stays_set() -> None:
    signal = Signal()
    waiting = [asyncio.ensure_future(signal.wait()) for _ in range(3)]
    await quiet()
    assert [task.done() for task in waiting] == [False] * 3
    signal.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await signal.wait() is True
    assert signal.is_set()


async def test_a_cleared_signal_is_waited_for_again() -> None:
    signal = Signal()
    signal.set()
    signal.clear()
    waiting = asyncio.ensure_future(signal.wait())
    await quiet()
    assert not waiting.done()
    signal.set()
    assert await waiting


async def test_a_signal_forgets_who_gave_up_waiting() -> None:
    signal = Signal()
    gone, stays = (asyncio.ensure_future(signal.wait()) for _ in range(2))
    await quiet()
    gone.cancel()
    await quiet()
    signal.set()
    assert await stays
    assert gone.cancelled()


async def test_two_signals_have_no_waiters_in_common() -> None:
    first, second = Signal(), Signal()
    waiting = asyncio.ensure_future(first.wait())
    await quiet()
    second.set()
    await quiet()
    assert not waiting.done()
    first.set()
    assert await waiting


async def test_flow_waits_while_writing_is_paused() -> None:
    flow = Flow(cast("asyncio.Transport", Silent()))
    await flow.drain()
    flow.pause_writing()
    draining = asyncio.ensure_future(flow.drain())
    await quiet()
    assert not draining.done()
    flow.resume_writing()
    await draining


def test_flow_has_all_that_uvicorns_has() -> None:
    transport = cast("asyncio.Transport", Silent())
    assert vars(Flow(transport)).keys() - vars(FlowControl(transport)).keys() == {"room"}
    assert vars(FlowControl(transport)).keys() - vars(Flow(transport)).keys() == set()


def test_whoever_asked_is_called_once_when_there_is_room_again() -> None:
    flow = Flow(cast("asyncio.Transport", Silent()))
    called: list[str] = []
    flow.pause_writing()
    flow.room = lambda: called.append("room")
    flow.resume_writing()
    flow.pause_writing()
    flow.resume_writing()
    assert called == ["room"]


async def test_messages_come_in_order_and_are_waited_for() -> None:
    messages = Messages[int]()
    assert messages.empty()
    first = asyncio.ensure_future(messages.get())
    await quiet()
    assert not first.done()
    messages.put_nowait(1)
    messages.put_nowait(2)
    messages.put_nowait(3)
    assert [await first, await messages.get(), await messages.get()] == [1, 2, 3]
    assert messages.empty()


async def test_a_message_that_comes_as_its_reader_gives_up_is_there_for_the_next() -> None:
    messages = Messages[int]()
    reading = asyncio.ensure_future(messages.get())
    await quiet()
    messages.put_nowait(1)
    reading.cancel()
    await quiet()
    assert await messages.get() == 1


def test_a_queue_gives_first_what_was_put_in_first() -> None:
    queue: Any = Queue()
    queue.appendleft("first")
    queue.appendleft("second")
    assert [queue.pop(), queue.pop(), bool(queue)] == ["first", "second", False]


async def test_a_connection_has_no_dictionary(served: Served) -> None:
    async with served.client() as client, websocket(served.ws_url) as socket:
        assert (await client.get("/healthz")).status_code == 200
        assert (await socket.ask(type="ping"))["type"] == "pong"
        connections = served.host.server_state.connections
        assert {type(each).__name__: vars(each) for each in connections} == {
            "HttpProtocol": {},
            "WebSocketProtocol": {},
        }
