"""Streams of all kinds come and go for a minute (`make chaos`: ten): then the server's process holds what it held before.

What is held is asked of a source inside the process. Tasks, open files and living objects have to be exactly as many as after the
warm-up. Memory may differ by `SLACK`: an allocator gives back whole pages only, and how full they were at the busiest moment is
chance. A leak of one kilobyte per stream would be more than that in ten minutes, and an object too many in one.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from itertools import count, cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.testing.readings import READERS
from penstock.testing.wire import parse_ndjson, parse_sse
from tests.chaos import CHAOS
from tests.cli import serving as process
from tests.faults.endless import ENVIRON, missing
from tests.faults.reading import SMALL, WAYS, Line, Reader, line
from tests.loopback import http_client
from tests.server.reading import CURSOR_KEYS
from tests.telemetry.pages import scraped
from tests.waiting import until

SECONDS = 600 if CHAOS else 60
WARM_UP = 0.25
"""The share of it that comes before the first look."""
WORKERS = 4
ENDS = ("finished", "failed", "cancelled", "complete")
MiB = 1 << 20
SLACK = 16 * MiB
IDLE = ("streams_active", "streams_held", "stream_kept_bytes", "readers", "stream_queue_depth", "stream_queue_bytes")
"""What the metrics show of a server with nothing to do."""
CONFIG = """
[limits]
stall = "2s"
[models.count]
targets = ["tests.faults.endless:count"]
[models.broken]
targets = ["tests.faults.endless:broken"]
[models.silent]
targets = ["tests.faults.endless:silent"]
[models.held]
targets = ["tests.faults.endless:held"]
"""


class Churn:
    """Clients of one server, each doing one thing after the other; what it should not have seen is in `wrong`."""

    def __init__(self, server: process.Served) -> None:
        self._server = server
        self._client: httpx2.AsyncClient
        self._ways = cycle(WAYS)
        self._dialects = cycle(CURSOR_KEYS)
        self._random = random.Random(7)
        self._keys = count()
        self._stalled = Stalled(server.log)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.acts: tuple[Callable[[], Awaitable[None]], ...] = (
            self.whole, self.cut, self.cancelled, self.left, self.failed, self.silent,
            self.told, self.twice, self.several, self.stopped,
        )  # fmt: skip

    async def go_on(self, seconds: float) -> None:
        """For so long, and until each thing was done once more; then until all have finished what they began."""
        loop = asyncio.get_running_loop()
        until_then, before = loop.time() + seconds, self.done.copy()

        async def work(turn: int) -> None:
            while loop.time() < until_then or len(self.done - before) < len(self.acts):
                act = self.acts[turn % len(self.acts)]
                await act()
                self.done[act.__name__] += 1
                turn += 1

        async with (
            http_client(self._server.url) as self._client,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(WORKERS):
                tasks.create_task(work(3 * number))

    def close(self) -> None:
        self._stalled.close()

    def _check(self, what: str, *problems: str) -> None:
        self.wrong += [f"{what}: {problem}" for problem in problems if problem]

    def _next(self) -> Reader:
        return Reader(next(self._ways))

    def _begun(self, reader: Reader, model: str = "count", prompt: str = "count", **options: Any) -> Any:
        return line(self._server.url, reader, model=model, prompt=prompt, **options)

    async def _through(self, reading: Line) -> None:
        """Read to the end. Who is let go meanwhile comes back, as often as it takes."""
        reader = reading.reader
        await reading.to_the_end()
        while reader.end not in ENDS:
            async with self._begun(reader) as back:
                await back.to_the_end()

    async def _forget(self, run: str) -> None:
        """Drop a run that ends by itself, once it has."""

        async def dropped() -> bool:
            return (await self._client.delete(f"/v1/streams/{run}?purge=1")).status_code == 200

        await until("the run has ended", dropped)

    async def whole(self) -> None:
        reader = self._next()
        async with self._begun(reader, "count", "count 500") as reading:
            await self._through(reading)
        self._check("whole", missing(reader.text, 500), _unless(reader, "finished"))
        await self._forget(reader.run)

    async def cut(self) -> None:
        """Cut somewhere, come back with what there is, twice."""
        reader = self._next()
        for stop in sorted(self._random.sample(range(500), 2)):
            async with self._begun(reader, "count", "count 1000") as reading:
                while not reader.end and len(reader.text) < 4 * stop and await reading.read(SMALL):
                    pass
                _leave(reading)
        async with self._begun(reader) as back:
            await self._through(back)
        self._check("cut", missing(reader.text, 1000))
        await self._forget(reader.run)

    async def cancelled(self) -> None:
        reader = self._next()
        async with self._begun(reader, "count") as reading:
            await reading.until("99 ")
            await self._client.delete(f"/v1/streams/{reader.run}")
            await self._through(reading)
        self._check("cancelled", missing(reader.text), _unless(reader, "cancelled"))
        await self._forget(reader.run)

    async def left(self) -> None:
        """Go away in the middle, for good; the run ends by itself."""
        reader = self._next()
        async with self._begun(reader, "count", "count 2000") as reading:
            await reading.read(SMALL)
            _leave(reading)
        await self._forget(reader.run)

    async def failed(self) -> None:
        reader = self._next()
        async with self._begun(reader, "broken") as reading:
            await self._through(reading)
        self._check("failed", missing(reader.text, 3), _unless(reader, "failed"))
        await self._forget(reader.run)

    async def silent(self) -> None:
        """Give up before the first token."""
        made = await self._client.post(
            "/v1/streams", json={"model": "silent", "prompt": "x"}, headers={"accept": "application/json"}
        )
        reader = Reader(next(self._ways), made.json()["id"])
        async with self._begun(reader) as reading:
            await self._client.delete(f"/v1/streams/{reader.run}")
            await self._through(reading)
        self._check("silent", _unless(reader, "cancelled"))
        await self._forget(reader.run)

    async def told(self) -> None:
        """Told in another dialect."""
        dialect = next(self._dialects)
        accept = self._random.choice(["text/event-stream", "application/x-ndjson"])
        answer = await self._client.post(
            f"/v1/streams?dialect={dialect}", json={"model": "count", "prompt": "count 200"}, headers={"accept": accept}
        )
        sse = accept == "text/event-stream"
        received = parse_sse([answer.content]) if sse else parse_ndjson([answer.content], CURSOR_KEYS[dialect])
        words = [each for each in received if each.value != "[DONE]"]
        self._check(f"told in {dialect}", missing(READERS[dialect](words).text(), 200))
        await self._forget(answer.headers["penstock-stream-id"])

    async def twice(self) -> None:
        """The same request, twice at once."""
        headers = {"idempotency-key": str(next(self._keys)), "accept": "text/plain"}
        body = {"model": "count", "prompt": "count 100"}
        answers = await asyncio.gather(
            *(self._client.post("/v1/streams", json=body, headers=headers) for _ in range(2))
        )
        self._check("twice", *(missing(answer.text, 100) for answer in answers))
        runs = {answer.headers["penstock-stream-id"] for answer in answers}
        self._check("twice", "" if len(runs) == 1 else "two runs")
        for run in runs:
            await self._forget(run)

    async def several(self) -> None:
        """Readers of one run on every transport."""
        async with AsyncExitStack() as stack:
            first = Reader("websocket")
            reading: list[Line] = [await stack.enter_async_context(self._begun(first, "count", "count 300"))]
            for way in WAYS:
                reading.append(await stack.enter_async_context(self._begun(Reader(way, first.run))))
            await asyncio.gather(*(self._through(each) for each in reading))
            self._check("several", *(missing(each.reader.text, 300) for each in reading))
        await self._forget(first.run)

    async def stopped(self) -> None:
        """Stop reading an endless answer until the server lets go, then come back for a while."""
        reader = self._next()
        async with self._begun(reader, "count", receive_buffer=SMALL) as reading:
            await reading.until("9 ")
            await until("the reader was let go", lambda: reader.run in self._stalled.streams())
            await reading.to_the_end()
        async with self._begun(reader) as back:
            await self._client.delete(f"/v1/streams/{reader.run}")
            await self._through(back)
        self._check("stopped", missing(reader.text))
        await self._forget(reader.run)


def _unless(reader: Reader, end: str) -> str:
    """What is wrong with how a reader's answer ended; bare text has only one end to tell."""
    return "" if reader.end == ("complete" if reader.way == "text" else end) else f"{reader.way} ended {reader.end!r}"


def _leave(reading: Line) -> None:
    if reading.reader.way == "websocket":
        reading.connection.transport.abort()
    else:
        reading.connection.reset()


class Stalled:
    """The streams whose readers were let go, read from the log as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("rb")
        self._rest = b""
        self._found: set[str] = set()

    def streams(self) -> set[str]:
        whole, newline, self._rest = (self._rest + self._log.read()).rpartition(b"\n")
        for line_ in (whole + newline).splitlines():
            if b'"stalled"' in line_:
                self._found.add(json.loads(line_)["stream"])
        return self._found

    def close(self) -> None:
        self._log.close()


class Held:
    """What the process holds, with nothing going on in it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.resident: int = told.pop("resident")
        self.countable: dict[str, Any] = told


async def held(url: str) -> Held:
    """Look. The look is a run itself, and dropped like the others."""
    async with http_client(url) as client:
        answer = await client.post(
            "/v1/chat/completions",
            json={"model": "held", "messages": [{"role": "user", "content": "x"}], "stream": False},
        )
        assert (await client.delete(f"/v1/streams/{answer.headers['penstock-stream-id']}?purge=1")).status_code == 200
        assert (await client.get("/v1/streams")).json() == {"streams": []}
    return Held(json.loads(answer.json()["choices"][0]["message"]["content"]))


async def settled(url: str) -> Held:
    """Look until the process holds no run and no connection but the look's own: the last of both take a moment to go."""
    looks: list[Held] = []

    async def alone() -> bool:
        looks.append(await held(url))
        objects = looks[-1].countable["objects"]
        return [objects.get(kind, 0) for kind in ("RunHandle", "HttpProtocol", "WebSocketProtocol")] == [1, 1, 0]

    await until("the process has nothing to do", alone)
    return looks[-1]


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_after_a_soak_the_process_holds_what_it_held_before(tmp_path: Path) -> None:
    with process.starting(tmp_path, config=CONFIG, environ=ENVIRON) as server:
        await server.ready()
        with closing(Churn(server)) as churn:
            await churn.go_on(WARM_UP * SECONDS)
            before = await settled(server.url)
            await churn.go_on((1 - WARM_UP) * SECONDS)
        assert churn.wrong == []
        assert set(churn.done) == {act.__name__ for act in churn.acts}
        after = await settled(server.url)
        assert after.countable == before.countable
        assert after.resident - before.resident <= SLACK
        async with http_client(server.url) as client:
            page = await scraped(client)
        assert [page.sum(f"penstock_{name}") for name in IDLE] == [0] * len(IDLE)
        assert (
            page.sum("penstock_streams_started_total") == page.sum("penstock_streams_total") > sum(churn.done.values())
        )
        assert page.sum("penstock_readers_attached_total") == page.sum("penstock_readers_left_total")
        assert [each for each in server.lines if each["level"] in ("error", "critical")] == []
