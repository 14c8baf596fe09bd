"""Who floods, or leaves in the middle of a flood, takes no more than a turn from the others. Bytes and turns are counted, no time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from itertools import repeat
from typing import Any

import pytest
from msgspec import Raw

from penstock.core.events import Delta
from penstock.flow.handle import RunHandle
from penstock.flow.reader import Reader as FlowReader
from penstock.server.exchange import EXTENSION
from tests.faults.reading import SMALL, Line, Reader, line, unwatched
from tests.server.reading import Messages, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

KiB = 1024
TURN = 64 * KiB


class Tapped:
    """A socket's connection, whose frames are looked at before they are written."""

    def __init__(self, connection: Any, look: Callable[[bytes], None]):
        self._connection = connection
        self._look = look
        self.transport = connection.transport

    def authenticated(self) -> None:
        self._connection.authenticated()

    def write(self, frames: bytes) -> bool:
        self._look(frames)
        return bool(self._connection.write(frames))

    async def drained(self) -> None:
        await self._connection.drained()


@contextmanager
def flood_before(served: Served, loud: list[str], flooded: list[int]) -> Iterator[dict[str, int]]:
    """By run: the bytes of the run `loud` that a WebSocket was sent while this one had something ready.

    All that it was sent of the flood goes into `flooded`.

    What is said is held against the contract elsewhere.
    """
    waited: dict[str, int] = {}
    config = served.host.config

    def count(frames: bytes) -> None:
        if any(f'"stream":"{run}"'.encode() in frames for run in loud):
            flooded.append(len(frames))
            for run, handle in served.runs.by_id.items():
                if run not in loud and handle.log.shown > handle.log.readers[0].offset:
                    waited[run] = waited.get(run, 0) + len(frames)

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope["extensions"][EXTENSION] = Tapped(scope["extensions"][EXTENSION], count)
        await served.app(scope, receive, send)

    loaded, config.loaded_app = config.loaded_app, watching
    try:
        yield waited
    finally:
        config.loaded_app = loaded


@pytest.mark.parametrize(
    ("word", "logprobs"),
    [("x" * 100, None), ("x" * 10_000, None), ("x", Raw(b'{"content":[]}'))],
    ids=["words", "pages", "letters that cannot be merged"],
)
async def test_a_ready_frame_waits_behind_at_most_64_kib_of_a_flood_on_its_socket(
    word: str, logprobs: Raw | None
) -> None:
    loud: list[str] = []
    flooded: list[int] = []
    async with serving(configured()) as served:
        with flood_before(served, loud, flooded) as waited:
            async with websocket(served.ws_url, receive_buffer=SMALL) as socket:
                loud.append(await socket.start("loud"))
                quiet = [await _started(socket, f"quiet {number}") for number in range(10)]
                tellings = [await served.telling(number) for number in range(11)]
                for telling in tellings[1:]:
                    telling.begin()
                    assert [(await socket.next())["type"] for _ in range(2)] == ["started", "opened"]
                tellings[0].begin()
                tellings[0].say(repeat(Delta(0, word, logprobs)))
                for run, telling in zip(quiet, tellings[1:], strict=True):
                    await until("the flood is ahead", lambda: served.run(loud[0]).log.waiting_for_room)
                    # One by one: no other word is said before the client has this one.
                    telling.speak("here")
                    while (message := await socket.next())["stream"] != run or message.get("text") != "here":
                        pass
            assert sum(flooded) > TURN
            assert waited.keys() <= set(quiet)
            assert [size for size in waited.values() if size > TURN] == []


async def _started(socket: Messages, ref: str) -> str:
    answer = await socket.ask(type="start", ref=ref, request={"prompt": "x"})
    stream: str = answer["stream"]
    return stream


class Turns:
    """Counts, per turn of the loop, the entries and bytes that readers take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turn = 0
        self.taken: dict[int, dict[str, int]] = {}
        self.polls = 0
        poll = FlowReader.poll

        def counting(reader: FlowReader, budget: int) -> Any:
            entries = poll(reader, budget)
            if entries:
                self.polls += 1
            return entries

        monkeypatch.setattr(FlowReader, "poll", counting)
        self._loop = asyncio.get_running_loop()
        self._going = True
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        self.turn += 1
        if self._going:
            self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._going = False


async def test_a_flood_over_http_lets_another_stream_have_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock-step beside three floods whose clients take everything: each word goes out within a few turns of the loop."""
    async with serving(configured()) as served, AsyncExitStack() as stack:
        unwatched(served)
        quiet = await stack.enter_async_context(line(served.url, Reader("sse")))
        telling = await served.telling()
        telling.speak("0 ")
        await quiet.until("0 ")
        floods = [await stack.enter_async_context(line(served.url, Reader("text"))) for _ in range(3)]
        for number in range(1, 4):
            (await served.telling(number)).flood("word " * 20, 100_000)
        reading = [asyncio.ensure_future(_read_on(flood)) for flood in floods]
        turns = Turns(monkeypatch)
        waited: list[int] = []
        handle = served.run(quiet.reader.run)
        for number in range(1, 101):
            telling.speak(f"{number} ")
            await _turns_until(partial(_has_said, handle, 3 + number))
            spoken = turns.turn
            await _turns_until(lambda: handle.log.readers[0].offset == handle.log.shown)
            waited.append(turns.turn - spoken)
            await quiet.until(f"{number} ")
        turns.stop()
        assert max(waited) <= 3
        assert [flood.reader.end for flood in floods] == [""] * 3
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def _read_on(flood: Line) -> None:
    while await flood.read():
        pass


def _has_said(handle: RunHandle, count: int) -> bool:
    return handle.log.last == count


async def _turns_until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come")


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_long_answer_to_clients_that_leave_is_not_written_to_its_end(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty clients leave in the middle of 5 MB: after that none of them is given more than the turn it was in."""
    async with serving(configured()) as served, AsyncExitStack() as stack:
        unwatched(served)
        other = await stack.enter_async_context(line(served.url, Reader("ndjson")))
        beside = await served.telling()
        beside.speak("0 ")
        await other.until("0 ")
        first = Reader("ndjson")
        async with line(served.url, first) as whole:
            (await served.telling(1)).flood("w" * 1000, 5000)
            (await served.telling(1)).finish()
            await whole.to_the_end()
        handle = served.run(first.run)
        leaving = []
        for _ in range(30):
            reader = Reader("sse" if transport == "sse" else "websocket", first.run)
            leaving.append(await stack.enter_async_context(line(served.url, reader, receive_buffer=SMALL)))
        await until("all are in the middle", lambda: len([r for r in handle.log.readers if r.offset > 2]) == 30)
        turns = Turns(monkeypatch)
        for each in leaving:
            _leave(each)
        for number in range(1, 21):
            beside.speak(f"{number} ")
            await other.until(f"{number} ")
        await until("nobody reads it any more", lambda: not handle.log.readers)
        turns.stop()
        # Twenty words for the one who stayed; for those who left, at most the turn that was theirs when they did.
        assert turns.polls <= 20 + 30
        assert len(served.seen.left) == 31
        beside.finish()
        await other.to_the_end()


def _leave(client: Line) -> None:
    """Go with a reset, without a word."""
    if client.reader.way == "websocket":
        client.connection.transport.abort()
    else:
        client.connection.reset()
