"""Readers that stop reading, or read very slowly, on every transport: what they cost is bounded, and they get every word in the end."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from itertools import cycle, islice
from pathlib import Path

import pytest
from msgspec import Raw

from penstock.core.events import Delta, Opened, Started
from tests.cli import serving as process
from tests.faults.endless import ENVIRON, missing
from tests.faults.reading import SMALL, WAYS, Reader, Way, line, unwatched
from tests.loopback import http_client
from tests.serving import configured, serving
from tests.waiting import until

KiB = 1024
WORDS = [f"{number:->199} " for number in range(4000)]
SECONDS = 60
KEPT = 64 * KiB
"""How much a reader may owe (`bounds.high`)."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_stopped_reader_costs_what_it_owes_and_comes_back_to_identical_text(way: Way) -> None:
    async with serving(configured()) as served, AsyncExitStack() as stack:
        unwatched(served)
        other = await stack.enter_async_context(line(served.url, Reader("sse")))
        beside = await served.telling()
        beside.speak("0 ")
        await other.until("0 ")
        reader = Reader(way)
        async with line(served.url, reader, receive_buffer=SMALL) as stopped:
            telling = await served.telling(1)
            telling.speak(*WORDS)
            while reader.received < 20 * KiB:
                await stopped.read(SMALL)
            handle = served.run(reader.run)
            await served.stuck(handle)
            longest = len(WORDS[0]) + 16
            assert handle.log.statistics().owed == [pytest.approx(KEPT, abs=longest)]
            assert handle.log.kept <= handle.log.said_through(handle.log.readers[0].offset) + KEPT + longest
            for second in range(20):
                assert served.seen.left == []
                beside.speak(f"{second + 1} ")
                await other.until(f"{second + 1} ")
                served.tick(1)
            served.tick(2)
            assert served.seen.left == [(reader.run, "stalled")]
            await stopped.to_the_end()
        assert (reader.end, reader.dropped) == (
            ("cut", "") if way == "text" else ("", "slow_reader" if way == "websocket" else "")
        )
        telling.finish()
        async with line(served.url, reader) as back:
            await back.to_the_end()
        assert reader.text == "".join(WORDS)
        assert missing(other.reader.text, 21) == ""
        beside.finish()
        await other.to_the_end()


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("logprobs", [False, True], ids=["words", "log probabilities"])
async def test_a_websocket_that_takes_four_kilobytes_a_second_stays(runs: int, logprobs: bool) -> None:
    """Each second of the server's clock the client takes 4 KB; nothing of it is real time."""
    async with serving(configured()) as served, AsyncExitStack() as stack:
        unwatched(served)
        socket_ = await stack.enter_async_context(line(served.url, Reader("websocket"), receive_buffer=SMALL))
        for number in range(1, runs):
            await socket_.connection.send(
                json.dumps({"type": "start", "ref": f"more {number}", "request": {"prompt": "x"}})
            )
        probable = Raw(b'{"content":[]}') if logprobs else None
        for number in range(runs):
            telling = await served.telling(number)
            telling.say(
                Started(telling.run.id, "scripted", 0),
                Opened(0, "text"),
                (Delta(0, word, probable) for word in WORDS),
            )
        taken = 0
        for second in range(SECONDS):
            while taken < 4 * KiB * second:
                taken += await socket_.read()
            await calm()
            served.tick(1)
            assert served.seen.left == []


async def test_an_http_reader_that_takes_four_kilobytes_a_second_stays_though_a_turn_takes_it_longer() -> None:
    async with serving(configured()) as served:
        unwatched(served)
        async with line(served.url, Reader("ndjson"), receive_buffer=SMALL) as reading:
            telling = await served.telling()
            probable = Raw(b'{"content":[]}')
            telling.say(
                Started(telling.run.id, "scripted", 0),
                Opened(0, "text"),
                (Delta(0, letter, probable) for letter in "x" * 20_000),
            )
            taken = 0
            for second in range(SECONDS):
                while taken < 4 * KiB * second:
                    taken += await reading.read(SMALL)
                await calm()
                served.tick(1)
                assert served.seen.left == []
            reader = served.only.log.readers[0]
            assert reader.owed > 0


async def calm() -> None:
    """What the client made room for is written."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
async def test_fifty_stopped_readers_of_endless_answers_are_bounded_let_go_and_return(tmp_path: Path) -> None:
    config = '[limits]\nstall = "3s"\n'
    model = ("--model", "tests.faults.endless:count")
    with process.starting(tmp_path, *model, config=config, environ=ENVIRON) as server:
        await server.ready()
        warm = Reader("ndjson")
        async with line(server.url, warm, prompt="count 5000") as warming:
            await warming.to_the_end()
        before = resident(server.process.pid)
        readers = [Reader(way) for way in islice(cycle(WAYS), 50)]
        async with AsyncExitStack() as stack:
            lines = [
                await stack.enter_async_context(line(server.url, reader, prompt="count", receive_buffer=SMALL))
                for reader in readers
            ]
            for each in lines:
                await each.until("99 ")
            # Another reads on beside them, a whole answer.
            beside = Reader("ndjson")
            async with line(server.url, beside, prompt="count 5000") as well:
                await well.to_the_end()
            assert missing(beside.text, 5000) == ""
            runs = {reader.run for reader in readers}
            await until(
                "all were let go",
                lambda: {found.get("stream") for found in server.found("reader left", cause="stalled")} == runs,
            )
            assert (resident(server.process.pid) - before) / len(readers) < 2 << 20
            for each in lines:
                await each.to_the_end()
        for reader in readers:
            had = len(reader.texts)
            async with line(server.url, reader) as back:
                while len(reader.texts) < had + 100:
                    assert await back.read()
            assert missing(reader.text) == ""
        async with http_client(server.url) as client:
            for run in runs:
                assert (await client.delete(f"/v1/streams/{run}")).status_code == 200


def resident(pid: int) -> int:
    """The most bytes that a process has had in memory so far."""
    (size,) = [
        row.split()[1] for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmHWM")
    ]
    return int(size) * KiB
