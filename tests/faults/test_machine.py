"""What a machine does to a server: it runs short of memory, its clock jumps, something holds the loop. Each in a process of its own."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.flow.memory import SHED_SECONDS
from penstock.telemetry.loop_lag import HELD
from tests.cli.serving import PENSTOCK, Served, starting
from tests.faults.endless import ENVIRON, missing
from tests.faults.pressure import MODELS, MiB
from tests.loopback import http_client
from tests.server.reading import PROMPT, detached, event_stream, websocket
from tests.serving import configured, serving
from tests.telemetry.pages import Page
from tests.tools import cgroup, libfaketime
from tests.waiting import until

HOURS = 2 * 3600


@asynccontextmanager
async def asking(served: Served) -> AsyncGenerator[httpx2.AsyncClient]:
    await served.ready()
    async with http_client(served.url) as client:
        yield client


def prompt(model: str, words: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "prompt": words, **more}


class Text:
    """The bare text of a response, read piece by piece."""

    def __init__(self, response: httpx2.Response):
        self.response = response
        self.text = ""
        self._pieces = response.aiter_text()

    async def until(self, what: str) -> None:
        while what not in self.text:
            self.text += await anext(self._pieces)

    async def more(self, characters: int) -> None:
        wanted = len(self.text) + characters
        while len(self.text) < wanted:
            self.text += await anext(self._pieces)


@asynccontextmanager
async def telling(client: httpx2.AsyncClient, body: dict[str, Any]) -> AsyncGenerator[Text]:
    async with client.stream("POST", "/v1/streams", json=body, headers={"accept": "text/plain"}) as response:
        assert response.status_code == 200
        yield Text(response)


# -- memory ------------------------------------------------------------------------------------------------------------


class Short:
    """Memory of which a test says how much is used."""

    def __init__(self) -> None:
        self.used = 0

    def reading(self) -> tuple[int, int]:
        return self.used, 100

    def release(self) -> None:
        pass


async def answered_unread(port: int) -> tuple[int, str, str]:
    """Status, `Retry-After` and error code that answer the mere head of a request whose body is never sent."""
    reading, writing = await asyncio.open_connection("127.0.0.1", port)
    try:
        writing.write(b"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
        head = (await reading.readuntil(b"\r\n\r\n")).decode()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
        body = json.loads(await reading.readexactly(int(headers["content-length"])))
    finally:
        writing.close()
        await writing.wait_closed()
    return int(head.split()[1]), headers["retry-after"], body["error"]["code"]


async def test_under_short_memory_new_runs_are_refused_unread_and_what_runs_goes_on() -> None:
    async with serving(configured()) as served, served.client() as http:
        memory = served.runs.memory = Short()
        headers = {"idempotency-key": "once"}
        run = await detached(http, **headers)
        telling = await served.telling()
        telling.speak("one ")
        async with event_stream(http, "GET", f"/v1/streams/{run}/events") as stream:
            await stream.next()
            memory.used = 91
            served.tick(0.5)

            assert await answered_unread(served.port) == (503, str(SHED_SECONDS), "overloaded")
            async with websocket(served.ws_url) as socket:
                answer = await socket.ask(type="start", ref="1", request=PROMPT)
                assert (answer["code"], answer["retry_after"]) == ("overloaded", SHED_SECONDS)
            # Who comes back is let in: with a cursor, or with the key that began the run.
            again = await http.post("/v1/streams", json=PROMPT, headers={"accept": "application/json", **headers})
            assert (again.status_code, again.json()["id"]) == (201, run)
            page = Page((await http.get("/metrics")).text)
            assert page.sum("penstock_shedding") == 1
            assert page.sum("penstock_refusals_total", code="overloaded") == 2
            assert (page.sum("penstock_memory_bytes"), page.sum("penstock_memory_limit_bytes")) == (91, 100)
            telling.speak("two ")
            telling.finish()
            events = await stream.rest()
            assert json.loads(events[-1].data)["type"] == "finished"
        memory.used = 50
        served.tick(0.5)
        assert (await http.post("/v1/streams", json=PROMPT, headers={"accept": "application/json"})).status_code == 201


async def short(served: Served, limit: int) -> None:
    """One run eats the memory up: others go on, new ones are refused until it is cancelled."""
    async with asking(served) as http, telling(http, prompt("count", "count")) as counting:
        await counting.more(1000)
        async with telling(http, prompt("swell", str(limit))) as swelling:
            await swelling.until("swollen")
            swollen = swelling.response.headers["penstock-stream-id"]

            async def status(wanted: int) -> bool:
                answer = await http.post(
                    "/v1/streams", json=prompt("demo", "hi"), headers={"accept": "application/json"}
                )
                if answer.status_code == 503:
                    assert answer.json()["error"]["code"] == "overloaded"
                    assert answer.headers["retry-after"] == str(SHED_SECONDS)
                return answer.status_code == wanted

            await until("new runs are refused", lambda: status(503))
            await counting.more(200_000)
            await http.delete(f"/v1/streams/{swollen}")
            await until("new runs are let in again", lambda: status(201))
        await counting.more(1000)
        assert missing(counting.text) == ""


async def test_a_process_that_uses_up_its_configured_memory_refuses_and_recovers(tmp_path: Path) -> None:
    limit = 200
    environ = {**ENVIRON, "PENSTOCK_SERVER__MAX_MEMORY": f"{limit}MiB"}
    with starting(tmp_path, config=MODELS, environ=environ) as served:
        await short(served, limit)


@contextmanager
def group(limit: int) -> Iterator[Path]:
    """A memory control group of our own with a limit, below the one this process is in."""
    parent = cgroup()
    assert parent is not None
    folder = parent / f"penstock-test-{os.getpid()}"
    folder.mkdir()
    try:
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (folder / name).exists():
                (folder / name).write_text(str(limit))
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.needs("cgroup")
async def test_a_server_in_a_container_keeps_below_the_limit_of_its_control_group(tmp_path: Path) -> None:
    with group(200 * MiB) as folder:
        inside = ("sh", "-c", f'echo $$ > {folder / "cgroup.procs"} && exec "$@"', "sh", *PENSTOCK)
        with starting(tmp_path, config=MODELS, environ=ENVIRON, penstock=inside) as served:
            await short(served, 0)


# -- the loop ----------------------------------------------------------------------------------------------------------


async def test_whoever_holds_the_loop_is_named_in_the_log_and_counted_and_nobody_loses_a_word(tmp_path: Path) -> None:
    with starting(tmp_path, config=MODELS, environ=ENVIRON) as served:
        async with asking(served) as http, telling(http, prompt("count", "count")) as counting:
            await counting.more(1000)
            async with telling(http, prompt("hold", str(served.log))) as holding:
                await holding.until("let go")
            await counting.more(100_000)
            assert missing(counting.text) == ""
            page = Page((await http.get("/metrics")).text)
        held = [line for line in served.found("the event loop is held") if " in computes" in str(line["trace"])]
        assert {line["level"] for line in held} == {"warning"}
        assert held[0]["seconds"] > HELD
        assert page.sum("penstock_loop_holds_total") >= 1


async def test_a_loop_that_is_behind_begins_nothing_new_and_what_runs_goes_on(tmp_path: Path) -> None:
    done = tmp_path / "done"
    config = f'[server]\nmax_lag = "0.8s"\n{MODELS}'
    with starting(tmp_path, config=config, environ=ENVIRON) as served:
        async with asking(served) as http, telling(http, prompt("delay", str(done))) as delaying:

            async def begins() -> tuple[int, str]:
                short = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
                told = await http.post("/v1/chat/completions", json={**short, "demo": {"reasoning": False}})
                return told.status_code, "" if told.status_code == 200 else told.json()["error"]["message"]

            async def refused() -> bool:
                status, message = await begins()
                return status == 503 and "behind with its work" in message

            async def accepted() -> bool:
                return await begins() == (200, "")

            await until("nothing new begins", refused)
            done.touch()
            await delaying.until("in time again")
            await until("runs begin again", accepted)


# -- the clock ---------------------------------------------------------------------------------------------------------

LIMITS = """
[limits]
first_token = "10m"
gap = "10m"
total = "20m"
stall = "10m"
retention = "10m"
"""


@pytest.mark.needs("faketime")
async def test_a_clock_that_jumps_by_hours_ends_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environ = {
        "LD_PRELOAD": str(libfaketime()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with starting(tmp_path, config=LIMITS, environ=environ) as served:
        async with asking(served) as http:
            ended = await _answered(http)
            body = prompt("demo", "hi", demo={"lockstep": True, "tokens": 4, "reasoning": False})
            asked = http.stream("POST", "/v1/streams", json=body, headers={"accept": "application/x-ndjson"})
            async with asked as response:
                run = response.headers["penstock-stream-id"]
                lines = response.aiter_lines()
                for jump in (HOURS, -HOURS, 0):
                    before = await _created(http, ended)
                    clock.write_text(f"{jump:+d}")
                    fresh = await _answered(http)
                    assert abs(await _created(http, fresh) - before - jump) < HOURS / 2
                    await _ticked(http)
                    await http.post(f"/v1/streams/{run}/input", json="go on")
                    while (line := json.loads(await anext(lines) or "{}")).get("type") != "delta":
                        assert line.get("type") not in ("failed", "cancelled")
                    assert (await http.get(f"/v1/streams/{ended}/events")).status_code == 200
                await http.post(f"/v1/streams/{run}/input", json="go on")
                rest = [json.loads(line) async for line in lines if line]
            assert rest[-1]["type"] == "finished"


async def _answered(http: httpx2.AsyncClient) -> str:
    """The id of a run that was asked and has ended."""
    answer = await http.post("/v1/streams", json=prompt("demo", "hi", demo={"rate": 0, "tokens": 5}))
    assert answer.status_code == 200
    run: str = answer.headers["penstock-stream-id"]
    return run


async def _created(http: httpx2.AsyncClient, run: str) -> int:
    """When a run was begun, by the server's clock on the wall."""
    created: int = (await http.get(f"/v1/streams/{run}")).json()["created"]
    return created


async def _ticked(http: httpx2.AsyncClient) -> None:
    """The ticker, which comes twice a second, has come: ten beats of the same loop have passed, of which there are ten a second."""

    async def beats() -> float:
        return Page((await http.get("/metrics")).text).sum("penstock_loop_lag_seconds_count")

    before = await beats()

    async def passed() -> bool:
        return await beats() >= before + 10

    await until("the ticker has come by", passed)
