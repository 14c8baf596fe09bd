"""How a server goes: what it still takes, what it refuses, who is told what, and that it ends in time."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from penstock.config.units import OnDisconnect
from tests.cli import serving as process
from tests.cli.serving import HALVES
from tests.clients.raw_client import raw_client
from tests.loopback import http_client
from tests.server.reading import PROMPT, Messages, detached, event_stream, websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

BODY = {"prompt": "x"}
KEPT = {"on_disconnect": OnDisconnect("finish")}


@contextmanager
def speaking(folder: Path, *, drain: str, accept: str = "0") -> Iterator[process.Served]:
    """A server in a process of its own, whose answers end once there is the file `go`."""
    (folder / "source.py").write_text(HALVES)
    environ = {
        "PYTHONPATH": str(folder),
        "PENSTOCK_SERVER__DRAIN": drain,
        "PENSTOCK_SERVER__DRAIN_ACCEPT": accept,
    }
    with process.starting(folder, "--model", "source:answer", environ=environ) as served:
        yield served


async def unready(client: httpx2.AsyncClient) -> None:
    """Wait until the server says that it wants no more traffic."""

    async def said() -> bool:
        return (await client.get("/readyz")).status_code == 503

    await until("it says that it drains", said)


async def test_told_to_go_it_is_unready_and_goes_on_beginning_runs_for_a_while(tmp_path: Path) -> None:
    """Load balancers take some seconds to notice; whom they send meanwhile is served, on connections that then close."""
    with speaking(tmp_path, drain="60", accept="60") as served:
        await served.ready()
        async with http_client(served.url) as client:
            assert "connection" not in (await client.get("/healthz")).headers
            served.process.send_signal(signal.SIGTERM)
            await unready(client)
            (tmp_path / "go").touch()
            answer = await client.post("/v1/chat/chunked", json=BODY)
            assert (answer.status_code, answer.text) == (200, "half and half")
            assert answer.headers["connection"] == "close"
            assert (await client.get("/healthz")).status_code == 200
        served.process.send_signal(signal.SIGTERM)
        await until("the process has ended", lambda: served.ended)


async def test_ctrl_c_begins_nothing_new_from_the_first_moment(tmp_path: Path) -> None:
    with speaking(tmp_path, drain="60", accept="60") as served:
        await served.ready()
        async with http_client(served.url) as client:
            run = (await client.post("/v1/streams", json=BODY, headers={"accept": "application/json"})).json()["id"]
            served.process.send_signal(signal.SIGINT)
            await unready(client)
            refused = await client.post("/v1/streams", json=BODY)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "interrupted")
            (tmp_path / "go").touch()
            rest = client.get(f"/v1/streams/{run}/events", headers={"accept": "text/plain"})
            assert (await rest).text == "half and half"
        await until("the process has ended", lambda: served.ended)


async def test_live_runs_are_found_read_steered_and_cancelled_while_nothing_new_begins(served: Served) -> None:
    async with served.client() as client:
        first, second = await detached(client), await detached(client)
        telling = await served.telling(0)
        telling.speak("half")
        served.runs.admission.close()
        for path, words in {
            "/v1/streams": '"code":"interrupted"',
            "/v1/chat/completions": '"code":"interrupted"',
            "/v1/chat/stream": '"code":"interrupted"',
            "/v1/chat/chunked": '"code":"interrupted"',
            "/api/chat": "INTERRUPTED",
        }.items():
            refused = await client.post(path, json={"message": "x"} if path == "/api/chat" else PROMPT)
            assert (path, refused.status_code, refused.headers.get("retry-after")) == (path, 503, "1")
            assert words in refused.text.replace(" ", "")
        assert (await client.get("/readyz")).json() == {"status": "draining"}
        assert (await client.delete(f"/v1/streams/{second}")).json()["end"] == {"type": "cancelled", "by": "client"}
        async with event_stream(client, "GET", f"/v1/streams/{first}/events") as events:
            while (await events.value())["type"] != "delta":
                pass
            telling.speak(" and half")
            telling.finish()
            said = [json.loads(event.data)["type"] for event in await events.rest()]
        assert said == ["delta", "closed", "finished"]


async def test_a_key_whose_run_lives_finds_it_though_nothing_new_begins(served: Served) -> None:
    async with served.client() as client:
        headers = {"idempotency-key": "k", "accept": "application/json"}
        begun = await client.post("/v1/streams", json=PROMPT, headers=headers)
        served.runs.admission.close()
        again = await client.post("/v1/streams", json=PROMPT, headers=headers)
        assert (again.status_code, again.json()["id"]) == (201, begun.json()["id"])


async def closed(socket: Messages) -> tuple[int, str]:
    """Code and reason of the close that must come next."""
    with pytest.raises(ConnectionClosed) as ended:
        await socket.next()
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


async def test_an_idle_websocket_is_told_when_to_come_back_and_closed() -> None:
    async with serving(configured(retry_ms=500)) as served, websocket(served.ws_url) as socket:
        assert await socket.ask(type="ping") == {"type": "pong"}
        served.runs.admission.close()
        goaway = await socket.next()
        assert (goaway["type"], 500 <= goaway["retry_ms"] <= 1000) == ("goaway", True)
        assert await closed(socket) == (1012, "interrupted")


async def test_a_websocket_that_reads_runs_is_told_them_to_their_end_and_closed_then(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        await socket.start("1")
        telling = await served.telling()
        telling.speak("half")
        await socket.until("delta")
        served.runs.admission.close()
        assert (await socket.next())["type"] == "goaway"
        refused = await socket.ask(type="start", ref="2", request=PROMPT)
        assert (refused["code"], refused["ref"], refused["retryable"]) == ("interrupted", "2", True)
        telling.speak(" and half")
        telling.finish()
        assert [message["type"] for message in await socket.until("finished")] == ["delta", "closed", "finished"]
        assert await closed(socket) == (1012, "interrupted")


async def test_a_websocket_that_stops_reading_its_last_run_is_closed_then() -> None:
    async with serving(configured(routes={"/v1/chat/ws": KEPT})) as served, websocket(served.ws_url) as socket:
        stream = await socket.start("1")
        served.runs.admission.close()
        await socket.until("goaway")
        assert (await socket.ask(type="detach", stream=stream))["type"] == "ok"
        assert await closed(socket) == (1012, "interrupted")


async def test_a_new_websocket_may_still_read_a_live_run(served: Served) -> None:
    async with served.client() as client:
        run = await detached(client)
    served.runs.admission.close()
    async with websocket(served.ws_url) as socket:
        assert (await socket.ask(type="attach", stream=run))["type"] == "ok"
        (await served.telling()).finish()
        assert (await socket.until("finished"))[-1]["type"] == "finished"


async def test_a_reader_who_takes_nothing_does_not_hold_the_end_up(tmp_path: Path) -> None:
    """Nor does a client that never finishes its request, nor an idle connection."""
    with speaking(tmp_path, drain="0") as served:
        await served.ready()
        async with (
            raw_client(served.url) as idle,
            raw_client(served.url) as unfinished,
            raw_client(served.url, receive_buffer=4096) as stopped,
        ):
            await idle.request("GET", "/healthz")
            assert (await idle.head()).status == 200
            await idle.rest()
            await unfinished.send(b"POST /v1/chat/chunked HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
            (tmp_path / "go").touch()
            body = {"model": "demo", "prompt": "x", "demo": {"rate": 0, "tokens": 100_000}}
            await stopped.request("POST", "/v1/chat/chunked", body=body)
            assert (await stopped.head()).status == 200
            served.process.send_signal(signal.SIGTERM)
            await until("the process has ended", lambda: served.ended)
            await stopped.rest()
            assert stopped.ended == "cut"
        (line,) = served.found("stopped")
        assert (line["level"], line["interrupted"]) == ("warning", 1)
        assert served.found("run ended")[0]["level"] == "warning"


async def test_the_log_says_in_few_lines_what_is_waited_for(tmp_path: Path) -> None:
    with speaking(tmp_path, drain="60") as served:
        await served.ready()
        async with http_client(served.url) as client:
            reading = asyncio.ensure_future(client.post("/v1/chat/chunked", json=BODY))
            await served.logged("run started")
            served.process.send_signal(signal.SIGTERM)
            await served.logged("waiting for live runs", live=1)
            (tmp_path / "go").touch()
            assert (await reading).text == "half and half"
        await until("the process has ended", lambda: served.ended)
        # Warnings, such as that the loop is held, are about a machine that has much else to do.
        assert [line["event"] for line in served.lines if line["level"] == "info"] == [
            "listening",
            "run started",
            "stopping",
            "waiting for live runs",
            "run ended",
            "stopped",
        ]
        assert served.found("stopping")[0]["live"] == 1
        assert served.found("stopped")[0]["interrupted"] == 0
