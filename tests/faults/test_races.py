"""What happens at once: cancels and ends, many who come back together, the same request many times."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import cycle, islice

import httpx2
import pytest

from penstock.core.events import TERMINAL
from penstock.core.lifecycle import Phase
from tests.fakes.cutting_proxy import CuttingProxy
from tests.faults.endless import missing
from tests.faults.reading import WAYS, Line, Reader, line, unwatched
from tests.server.reading import PROMPT, detached
from tests.serving import Served, configured, serving
from tests.waiting import until

RACES = 500
AT_ONCE = 25
HERD = 200
SILENT = 300
WORDS = 20


async def test_a_cancel_that_races_with_the_end_leaves_one_last_word_that_all_agree_on() -> None:
    """Five hundred times, the one a few turns of the loop before or after the other."""
    async with serving(configured()) as served, served.client() as client:
        unwatched(served)
        kinds: Counter[str] = Counter()
        for first in range(0, RACES, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            runs = [await detached(client) for _ in numbers]
            ended = await asyncio.gather(
                *(_race(served, client, run, number) for run, number in zip(runs, numbers, strict=True))
            )
            kinds.update(ended)
        assert sum(kinds.values()) == RACES
        assert set(kinds) <= {"finished", "cancelled"}
        assert len(served.seen.ended) == RACES


async def _race(served: Served, client: httpx2.AsyncClient, run: str, number: int) -> str:
    """Cancel a run while it ends; how it ended, in which its readers, its snapshot, its observer and the answer agree."""
    telling = await served.telling(number)
    telling.speak("a")
    reading = asyncio.ensure_future(client.get(f"/v1/streams/{run}/events", headers={"accept": "application/x-ndjson"}))
    cancelling = asyncio.ensure_future(client.delete(f"/v1/streams/{run}"))
    for _ in range(number % 40):
        await asyncio.sleep(0)
    telling.finish()
    cancelled = (await cancelling).json()
    last = (await reading).text.splitlines()
    handle = served.run(run)
    kind = type(handle.pump.terminal).__name__.lower()
    assert cancelled["state"] == "ended"
    assert handle.state is Phase.ENDED
    assert sum(isinstance(entry.event, TERMINAL) for entry in handle.log.read(0, 1 << 20)) == 1
    assert served.seen.ended[run] is handle.pump.terminal
    assert [line for line in last if '"type":"finished"' in line or '"type":"cancelled"' in line] == last[-1:]
    assert f'"type":"{kind}"' in last[-1]
    return kind


async def test_a_herd_that_was_cut_comes_back_at_once_and_misses_nothing() -> None:
    """Two hundred readers of twenty runs, on every transport, through a line that is cut for all of them in one moment."""
    async with serving(configured()) as served, AsyncExitStack() as stack:
        unwatched(served)
        proxy = await stack.enter_async_context(CuttingProxy(served.port).listening())
        async with served.client() as client:
            runs = [await detached(client) for _ in range(HERD // 10)]
        tellings = [await served.telling(number) for number in range(len(runs))]
        for telling in tellings:
            telling.speak(*(f"{number} " for number in range(WORDS // 2)))
        readers = [Reader(way, run) for way, run in zip(islice(cycle(WAYS), HERD), cycle(runs), strict=False)]
        lines: list[Line] = []
        async with AsyncExitStack() as first:
            for reader in readers:
                lines.append(await first.enter_async_context(line(proxy.url, reader)))
            await asyncio.gather(*(each.until(f"{WORDS // 2 - 1} ") for each in lines))
            await asyncio.gather(*(link.cut() for link in proxy.links))
            await until("nobody reads", lambda: not any(served.run(run).log.readers for run in runs))

        async def back(reader: Reader) -> None:
            async with line(proxy.url, reader) as again:
                await again.to_the_end()

        returning = [asyncio.ensure_future(back(reader)) for reader in readers]
        await until("all are back", lambda: sum(len(served.run(run).log.readers) for run in runs) == HERD)
        for telling in tellings:
            telling.speak(*(f"{number} " for number in range(WORDS // 2, WORDS)))
            telling.finish()
        await asyncio.gather(*returning)
        assert Counter(missing(reader.text, WORDS) for reader in readers) == {"": HERD}


async def test_hundreds_that_wait_in_silence_hold_nobody_up_and_hear_their_first_word() -> None:
    async with serving(configured()) as served, served.client() as client, AsyncExitStack() as stack:
        unwatched(served)
        runs = [await detached(client) for _ in range(SILENT)]
        readers = [Reader(way, run) for way, run in zip(cycle(WAYS), runs, strict=False)]
        lines = [await stack.enter_async_context(line(served.url, reader)) for reader in readers]
        await until("all listen", lambda: all(served.run(run).log.readers for run in runs))
        other = asyncio.ensure_future(client.post("/v1/streams", json=PROMPT, headers={"accept": "text/plain"}))
        telling = await served.telling(SILENT)
        telling.speak("at once")
        telling.finish()
        assert (await other).text == "at once"
        assert [reader.text for reader in readers if reader.text] == []
        for number in range(SILENT):
            telling = await served.telling(number)
            telling.speak(telling.run.id)
            telling.finish()
        await asyncio.gather(*(each.to_the_end() for each in lines))
        assert [reader.text for reader in readers] == runs


@pytest.mark.parametrize("ended", [False, True], ids=["live", "ended"])
async def test_a_hundred_clients_that_resume_at_once_from_anywhere_each_get_exactly_the_rest(ended: bool) -> None:
    words = [f"{number} " for number in range(100)]
    async with serving(configured()) as served, served.client(limits=httpx2.Limits(max_connections=110)) as client:
        run = await detached(client)
        telling = await served.telling()
        telling.speak(*words[:60])
        if ended:
            telling.speak(*words[60:])
            telling.finish()
            await telling.closed.wait()
        handle = served.run(run)
        await until("it was said", lambda: handle.log.last >= 62)
        readers = []
        for number in range(100):
            reader = Reader(WAYS[number % 3], run)  # those that read bodies
            had = number * 60 // 100
            reader.texts = words[:had]
            reader.received = len("".join(words[:had])) if reader.way == "text" else had
            reader.cursor = handle.cursor(2 + had)
            readers.append(reader)

        async def read(reader: Reader) -> None:
            async with line(served.url, reader) as again:
                await again.to_the_end()

        reading = [asyncio.ensure_future(read(reader)) for reader in readers]
        if not ended:
            await served.attended(100, run)
            telling.speak(*words[60:])
            telling.finish()
        await asyncio.gather(*reading)
        assert Counter(missing(reader.text, 100) for reader in readers) == {"": 100}


async def test_one_of_many_readers_ends_and_the_others_go_on() -> None:
    async with serving(configured()) as served, AsyncExitStack() as stack:
        first = Reader("sse")
        async with line(served.url, first) as leaving:
            telling = await served.telling()
            telling.speak("0 ")
            await leaving.until("0 ")
            others = [await stack.enter_async_context(line(served.url, Reader(way, first.run))) for way in WAYS]
            await served.attended(5)
        await served.attended(4)
        telling.speak("1 ")
        telling.finish()
        for other in others:
            await other.to_the_end()
            assert missing(other.reader.text, 2) == ""


async def test_a_second_reader_may_cancel_and_cancelling_again_or_late_changes_nothing() -> None:
    async with serving(configured()) as served, served.client() as client:
        reader = Reader("websocket")
        async with line(served.url, reader) as reading:
            (await served.telling()).speak("a")
            await reading.until("a")
            states = [(await client.delete(f"/v1/streams/{reader.run}")) for _ in range(3)]
            await reading.to_the_end()
        late = await client.delete(f"/v1/streams/{reader.run}")
        assert [answer.status_code for answer in (*states, late)] == [200] * 4
        assert {answer.json()["state"] for answer in (*states, late)} == {"ended"}
        assert (reader.end, len(served.seen.ended)) == ("cancelled", 1)


async def test_fifty_equal_starts_over_http_are_one_run_whatever_they_want_to_be_told_in() -> None:
    ways = islice(cycle(["text/event-stream", "application/x-ndjson", "text/plain", "application/json"]), 50)
    async with serving(configured()) as served, served.client(limits=httpx2.Limits(max_connections=60)) as client:
        asking = [
            asyncio.ensure_future(
                client.post("/v1/streams", json=PROMPT, headers={"idempotency-key": "k", "accept": accept})
            )
            for accept in ways
        ]
        telling = await served.telling()
        telling.speak("once")
        telling.finish()
        answers = await asyncio.gather(*asking)
        assert {answer.headers["penstock-stream-id"] for answer in answers} == {served.only.id}
        assert Counter(answer.status_code for answer in answers) == {200: 38, 201: 12}
        assert len(served.source.tellings) == 1
