"""SIGHUP: a new configuration for new requests, live answers untouched, and a bad one changes nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from penstock.cli import prepare
from penstock.cli.reload import Reload
from tests.cli.serving import PENSTOCK, Served, clean_environment, starting
from tests.cli.terminal import terminal
from tests.clients.raw_client import raw_client
from tests.loopback import http_client
from tests.server.reading import websocket
from tests.waiting import until

SOURCE = """
import asyncio
from pathlib import Path


async def waiting(request):
    yield "half"
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    yield " and half"


async def other(request):
    yield "other"
"""
OLD = """
[models.first]
targets = ["source:waiting"]
[[route]]
path = "/old"
transport = ["text"]
"""
NEW = """
[log]
level = "debug"
[models.second]
targets = ["source:other"]
[[route]]
path = "/new"
transport = ["text"]
"""
BODY = {"prompt": "x"}


@asynccontextmanager
async def running(folder: Path, config: str = OLD) -> AsyncIterator[tuple[Served, httpx2.AsyncClient]]:
    (folder / "source.py").write_text(SOURCE)
    with starting(folder, config=config, environ={"PYTHONPATH": str(folder)}) as served:
        await served.ready()
        async with http_client(served.url) as client:
            yield served, client


def reload(served: Served, config: str) -> None:
    (served.log.parent / "penstock.toml").write_text(config)
    served.process.send_signal(signal.SIGHUP)


def refusal(folder: Path) -> str:
    """What a server that is started with this file says before it gives up."""
    environ = clean_environment(PYTHONPATH=str(folder))
    command = [*PENSTOCK, "serve", "--port", "0"]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environ).stderr


async def test_new_requests_go_by_the_new_file_and_live_answers_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as (served, client), raw_client(served.url) as raw:
        assert (await client.post("/new", json=BODY)).status_code == 404
        await raw.request("POST", "/old", body=BODY)
        assert (await raw.head()).status == 200
        assert await raw.body(4) == b"half"
        async with websocket(served.url.replace("http", "ws") + "/v1/chat/ws") as socket:
            await socket.ask(type="ping")
            reload(served, NEW)
            await served.logged("configuration reloaded", level="info")

            assert (await client.post("/old", json=BODY)).status_code == 404
            assert (await client.post("/new", json=BODY)).text == "other"
            assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["second", "demo"]
            unknown = await client.post("/new", json={**BODY, "model": "first"})
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_model")
            assert served.found("reader attached") != []  # which is told at the new level
            # An open socket goes by the new file as well.
            await socket.ask(type="start", ref="1", request=BODY)
            assert "other" in [message.get("text") for message in await socket.until("finished")]

        (tmp_path / "go").touch()
        assert (await raw.rest(), raw.ended) == (b" and half", "complete")


async def test_a_socket_whose_route_is_gone_reads_on_and_begins_nothing(tmp_path: Path) -> None:
    mine = '\n[[route]]\npath = "/mine"\ntransport = ["websocket"]\n'
    async with (
        running(tmp_path, OLD + mine) as (served, _),
        websocket(served.url.replace("http", "ws") + "/mine") as socket,
    ):
        await socket.ask(type="start", ref="1", request=BODY)
        await socket.until("delta")
        reload(served, NEW)
        await served.logged("configuration reloaded")
        refused = await socket.ask(type="start", ref="2", request=BODY)
        assert (refused["type"], refused["code"]) == ("error", "route_not_found")
        (tmp_path / "go").touch()
        assert (await socket.until("finished"))[0]["text"] == " and half"


@pytest.mark.parametrize(
    "bad",
    [
        "[server\n",
        '[server]\nprot = "1"\n',
        '[[route]]\npath = "/x"\ndialect = "nativ"\n',
        '[models.x]\ntargets = ["source:nothing"]\n',
        '[server]\nhost = "0.0.0.0"\n',
    ],
    ids=["no-toml", "unknown-setting", "unknown-dialect", "no-such-function", "open-to-all"],
)
async def test_a_bad_file_changes_nothing_and_the_log_has_what_a_start_would_say(tmp_path: Path, bad: str) -> None:
    async with running(tmp_path) as (served, client):
        reload(served, bad)
        line = await served.logged("configuration not reloaded; the old one stays in force")
        assert (line["level"], f"error: {line['reason']}\n") == ("error", await asyncio.to_thread(refusal, tmp_path))
        (tmp_path / "go").touch()
        assert (await client.post("/old", json=BODY)).text == "half and half"
        reload(served, NEW)
        await served.logged("configuration reloaded")
        assert (await client.post("/new", json=BODY)).text == "other"


async def test_a_file_that_has_gone_is_no_empty_one(tmp_path: Path) -> None:
    async with running(tmp_path) as (served, client):
        (tmp_path / "penstock.toml").unlink()
        served.process.send_signal(signal.SIGHUP)
        line = await served.logged("configuration not reloaded; the old one stays in force")
        assert line["reason"] == "penstock.toml is not there any more"
        (tmp_path / "go").touch()
        assert (await client.post("/old", json=BODY)).text == "half and half"


def test_a_server_that_others_can_reach_is_not_opened_to_them_by_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file says loopback and has no key; but the socket stays where it is."""
    keyed = "[server]\nhost = '0.0.0.0'\n[auth]\napi_keys = 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'\n"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    file = tmp_path / "penstock.toml"
    file.write_text(keyed)
    started = prepare.read(None, {})
    reloading = Reload(prepare.build(started), file=None, given={}, started=started)
    file.write_text("")
    with pytest.raises(prepare.Misconfigured, match="until a restart the server listens on 0"):
        reloading.read()
    file.write_text("[server]\ninsecure = true\n")
    assert reloading.read().server.insecure
    file.write_text(keyed)
    assert not reloading.read().auth.open


async def test_what_only_a_restart_can_change_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as (served, client):
        reload(
            served, NEW.replace("[log]", '[server]\npath_prefix = "/llm"\nheartbeat = "1s"\n[log]\nformat = "console"')
        )
        line = await served.logged("configuration reloaded; some of it needs a restart")
        assert (line["level"], line["restart_for"]) == ("warning", ["server.path_prefix", "log.format"])
        assert (await client.post("/new", json=BODY)).text == "other"


async def test_the_terminal_that_is_closed_takes_the_server_with_it() -> None:
    async with terminal([*PENSTOCK, "serve", "--port", "0"], clean_environment()) as shown:
        await shown.shows("penstock chat --url")
        shown.hang_up()
        assert await shown.ended() == 0


async def test_nohup_keeps_it_when_the_terminal_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"trap '' HUP; exec {' '.join(PENSTOCK)} serve --port 0 2> {log}"
    async with terminal(["/bin/sh", "-c", command], clean_environment()) as shown:
        await until("it listens", lambda: log.exists() and '"listening"' in log.read_text())
        shown.hang_up()
        await until("it has read its configuration anew", lambda: '"configuration reloaded"' in log.read_text())
        os.kill(shown.process.pid, signal.SIGTERM)
        assert await shown.ended() == 0
