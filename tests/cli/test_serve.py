"""`penstock serve` as a process: where it listens, what it logs, how it ends."""

import errno
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from penstock.cli.prepare import Misconfigured
from penstock.cli.serve import bound
from tests.cli.serving import PENSTOCK, clean_environment, starting
from tests.cli.terminal import CTRL_C, terminal
from tests.waiting import CEILING, until

CANARY = "canary-0xC0FFEE"
WAITS = """
import asyncio
from pathlib import Path


async def answer(request):
    yield "Hel"
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    yield "lo"
"""


async def text_of(url: str, body: dict[str, object], path: str = "/v1/chat/chunked") -> str:
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body) as response:
        return await response.text()


async def test_it_serves_without_a_file_and_says_where(tmp_path: Path) -> None:
    with starting(tmp_path) as served:
        await served.ready()
        said = await served.logged("listening")
        assert (said["model"], said["models"], said["access"]) == ("demo", ["demo"], "this machine")
        text = await text_of(served.url, {"prompt": "Hello", "demo": {"rate": 0, "tokens": 20}})
        assert text.startswith("You said: **Hello**.")


async def test_a_port_of_its_own_for_the_metrics_is_named(tmp_path: Path) -> None:
    with starting(tmp_path, config="[metrics]\nport = 0\n") as served:
        await served.ready()
        said = await served.logged("listening")
        async with aiohttp.ClientSession() as session, session.get(said["metrics"]) as page:
            assert "penstock_build_info" in await page.text()


async def test_the_log_tells_a_run_and_nothing_that_was_said(tmp_path: Path) -> None:
    config = f"[providers.away]\nbase_url = 'http://127.0.0.1:1/v1'\napi_key = 'sk-{CANARY}'\n"
    environ = {"MISTRAL_API_KEY": f"m-{CANARY}", "PENSTOCK_LOG_LEVEL": "debug"}
    with starting(tmp_path, config=config, environ=environ) as served:
        await served.ready()
        assert CANARY in await text_of(served.url, {"prompt": CANARY, "demo": {"rate": 0, "tokens": 20}})
        async with aiohttp.ClientSession() as session:
            messages = [{"role": "user", "content": CANARY}]
            body = {"messages": messages, "demo": {"rate": 0, "tokens": 20}, "user": CANARY}
            async with session.post(f"{served.url}/v1/chat/stream", json=body) as response:
                assert "[DONE]" in await response.text()
                stream = response.headers["Penstock-Stream-Id"]
            bad = session.post(
                f"{served.url}/v1/streams?{CANARY}=1", data=CANARY, headers={"Authorization": f"Bearer {CANARY}"}
            )
            async with bad as response:
                assert response.status == 400
            away = {"messages": messages, "model": "away/x"}
            async with session.post(f"{served.url}/v1/chat/completions", json=away) as response:
                assert response.status == 502
            async with session.ws_connect(f"{served.url}/v1/chat/ws") as socket_:
                await socket_.send_json({"type": "start", "ref": "1", "request": body})
                assert (await socket_.receive_json())["type"] == "started"
                await socket_.send_str(CANARY)
        started = await served.logged("run started", stream=stream, model="demo")
        ended = await served.logged("run ended", stream=stream)
        failed = await served.logged("run ended", kind="failed")
    assert (started["level"], ended["kind"], ended["reason"]) == ("info", "finished", "stop")
    assert (failed["code"], failed["level"]) == ("provider_unreachable", "warning")
    assert CANARY not in served.log.read_text()


async def test_a_source_that_raises_is_logged_with_its_place_and_without_its_words(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "async def answer(request):\n    yield 'Hel'\n    raise ValueError('cannot do ' + request.prompt)\n"
    )
    with starting(tmp_path, "--model", "mine:answer", environ={"PYTHONPATH": str(tmp_path)}) as served:
        await served.ready()
        told = await text_of(served.url, {"prompt": CANARY}, "/v1/streams")
        last = json.loads(told.rpartition("data: ")[2].partition("\n")[0])
        line = await served.logged("source raised")
    assert (last["type"], last["error"]["code"]) == ("failed", "source_failed")
    assert (line["level"], line["error"]) == ("error", "ValueError")
    assert line["trace"][-1].endswith("mine.py:3 in answer")
    assert CANARY not in served.log.read_text()


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*PENSTOCK, "serve", "--port", str(port)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment(),
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "choose another port with --port, or stop what listens there\n"
    )


def test_an_address_that_is_not_this_machines_is_named_with_the_way_out(tmp_path: Path) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    command = [*PENSTOCK, "serve", "--host", "192.0.2.1", "--insecure", "--port", "0"]
    environ = clean_environment()
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert done.returncode == 1
    assert done.stderr == (
        "error: cannot listen on 192.0.2.1, port 0: Cannot assign requested address; no interface of this machine has "
        "this address; 127.0.0.1 is this machine alone, 0.0.0.0 is every interface\n"
    )


@pytest.mark.parametrize(
    ("problem", "way_out"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "choose a higher one with --port"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "give an address, such as 127.0.0.1"),
        (OSError(errno.EAFNOSUPPORT, "Address family not supported"), "Address family not supported"),
    ],
)
def test_whatever_keeps_it_from_listening_is_said_with_what_can_be_done(
    monkeypatch: pytest.MonkeyPatch, problem: OSError, way_out: str
) -> None:
    def refuse(host: str, port: int) -> None:
        raise problem

    monkeypatch.setattr("penstock.server.listener.listen", refuse)
    with pytest.raises(Misconfigured, match=r"cannot listen on 127\.0\.0\.1, port 80: ") as said:
        bound("127.0.0.1", 80, "with --port")
    assert way_out in said.value.message


async def test_with_keys_the_next_thing_to_type_has_one(tmp_path: Path) -> None:
    environ = clean_environment(PWD=str(tmp_path), PENSTOCK_API_KEYS="k" * 32)
    async with terminal([*PENSTOCK, "serve", "--port", "0"], environ) as shown:
        await shown.shows("""/v1/chat/chunked -H "Authorization: Bearer $PENSTOCK_API_KEY" -d""")
        shown.press(CTRL_C)
        assert await shown.ended() == 0
    assert "k" * 32 not in shown.text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_lets_a_live_answer_end(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "mine.py").write_text(WAITS)
    environ = {"PYTHONPATH": str(tmp_path), "PENSTOCK_SERVER__DRAIN": "600"}
    with starting(tmp_path, "--model", "mine:answer", environ=environ) as served:
        await served.ready()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{served.url}/v1/chat/chunked", json={"prompt": "Hello"}) as response,
        ):
            assert await response.content.readexactly(3) == b"Hel"
            served.process.send_signal(how)

            async def drains() -> bool:
                async with session.get(f"{served.url}/readyz") as ready:
                    return ready.status == 503

            await until("it is not ready any more", drains)
            (tmp_path / "go").touch()
            assert await response.text() == "lo"
        assert served.process.wait(CEILING) == 0


async def test_a_prefix_before_every_path_is_one_setting(tmp_path: Path) -> None:
    with starting(tmp_path, config="[server]\npath_prefix = '/llm'\n") as served:
        await served.ready()
        assert served.url.endswith("/llm")
        text = await text_of(served.url.removesuffix("/llm"), {"prompt": "Hi", "demo": {"rate": 0, "tokens": 5}})
        assert text.startswith("You said")


async def test_what_it_says_to_do_next_works_where_it_is_not_on_the_path(tmp_path: Path) -> None:
    """As in a clone after `make serve`."""
    (tmp_path / "penstock").write_text(f"#!{sys.executable}\nfrom penstock.cli import main\nmain()\n")
    (tmp_path / "penstock").chmod(0o755)
    environ = clean_environment(PWD=str(tmp_path), PATH="/usr/bin:/bin")
    async with terminal([str(tmp_path / "penstock"), "serve", "--port", "0"], environ) as shown:
        await shown.shows(f"or:   {tmp_path / 'penstock'} chat --url http://127.0.0.1:")
        shown.press(CTRL_C)
        assert await shown.ended() == 0


async def test_on_a_terminal_it_is_friendly_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    command = [*PENSTOCK, "serve", "--port", "0"]
    async with terminal(command, clean_environment(PWD=str(tmp_path))) as shown:
        at = await shown.shows("listening")
        at = await shown.shows("open: http://127.0.0.1:", after=at)
        at = await shown.shows("""/v1/chat/chunked -d '{"prompt": "Hello"}'""", after=at)
        await shown.shows("penstock chat --url http://127.0.0.1:", after=at)
        shown.press(CTRL_C)
        assert await shown.ended() == 0
    assert ("\x1b[" in shown.raw, '{"timestamp"' in shown.raw) == (True, False)


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}])
async def test_no_color_means_none(environ: dict[str, str]) -> None:
    async with terminal([*PENSTOCK, "serve", "--port", "0"], clean_environment(**environ)) as shown:
        await shown.shows("penstock chat --url")
        shown.press(CTRL_C)
        assert await shown.ended() == 0
    assert "\x1b[" not in shown.raw
