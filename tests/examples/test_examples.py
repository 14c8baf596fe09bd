"""Every example does what its docstring says."""

import asyncio
import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from penstock.config.model import Config, DemoConfig
from tests.browser.chromium import chromium_page
from tests.examples.hosting import asking, hosted, penstock_serve
from tests.fakes.cutting_proxy import CuttingProxy
from tests.tools import ROOT

if TYPE_CHECKING:
    from playwright.async_api import Page

FOLDER = ROOT / "examples"
QUESTION = "a b c"
PARROTED = "".join(f"{time}. a b c\n " for time in range(1, 11))


def example(name: str) -> ModuleType:
    """The example as its own process would import it: with an app of its own, that nobody has closed."""
    return importlib.reload(importlib.import_module(f"examples.{name}"))


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_an_example_begins_by_saying_how_to_run_it(path: Path) -> None:
    if path.is_file():
        opening = path.read_text()[:900]
        assert re.findall(
            rf"uvicorn examples\.{path.stem}:app|sh examples/{path.name}|How to run it: examples/", opening
        )


async def test_the_feed_sends_each_reading_as_a_note_and_then_ends() -> None:
    async with hosted(example("feed").app) as url, asking(url) as client:
        answer = await client.post(
            "/v1/streams",
            json={"prompt": "load", "readings": 3, "every": 0},
            headers={"accept": "application/x-ndjson"},
        )
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["type"] for event in events] == ["started", "note", "note", "note", "finished"]
    assert [(event["topic"], sorted(event["body"])) for event in events[1:4]] == [
        ("data", ["fifteen", "five", "one"])
    ] * 3


async def test_the_feed_is_shared_by_those_who_name_the_same_key() -> None:
    url = "/v1/chat/stream?dialect=native&prompt=load&key=today"
    async with (
        hosted(example("feed").app) as base,
        asking(base) as client,
        client.stream("GET", url) as one,
        client.stream("GET", url) as other,
    ):
        streams = [answer.headers["penstock-stream-id"] for answer in (one, other)]
        await client.delete(f"/v1/streams/{streams[0]}")
        ends = [(await answer.aread()).decode().split("data: ")[-1].partition("\n")[0] for answer in (one, other)]
    assert streams[0] == streams[1]
    assert [json.loads(end) for end in ends] == [{"type": "cancelled", "by": "client"}] * 2


async def test_the_feed_refuses_what_is_no_number() -> None:
    async with hosted(example("feed").app) as url, asking(url) as client:
        answer = await client.post("/v1/streams", json={"prompt": "load", "readings": "many", "stream": False})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "'readings' and 'every' must be numbers")


async def test_the_counter_does_what_it_is_told_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("steering")
    monkeypatch.setattr(module, "BEAT", 0.001)
    heard: list[dict[str, Any]] = []
    async with hosted(module.app) as url, connect(url.replace("http", "ws") + "/v1/chat/ws", proxy=None) as socket:
        await socket.send('{"type": "start", "ref": "1", "request": {"prompt": "count"}}')

        async def until_said(words: str) -> None:
            while words not in "".join(event.get("text", "") for event in heard):
                heard.append(json.loads(await socket.recv()))

        stream = json.loads(await socket.recv())["stream"]
        await until_said("3 ")
        for body, reaction in (({"step": -1}, "by -1"), ({"step": "x"}, "I understand"), ({"text": "stop"}, "stopped")):
            await socket.send(json.dumps({"type": "input", "stream": stream, "body": body}))
            await until_said(reaction)
        while heard[-1]["type"] != "finished":
            heard.append(json.loads(await socket.recv()))
    said = "".join(event.get("text", "") for event in heard)
    before, after = said.split("\nnow by -1:\n")
    numbers, rest = before.split(), after.partition("\n")[0].split()
    assert numbers == [str(number) for number in range(len(numbers))]
    assert rest == [str(len(numbers) - number) for number in range(len(rest))]
    assert [event["body"] for event in heard if event["type"] == "note"] == [
        {"step": -1},
        {"step": "x"},
        {"text": "stop"},
    ]


@pytest.mark.needs("curl")
async def test_the_shell_script_runs_to_its_end() -> None:
    async with penstock_serve(Config(demo=DemoConfig(rate=2000, tokens=20))) as url:
        script = await asyncio.create_subprocess_exec(
            "sh",
            str(FOLDER / "curl.sh"),
            url,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NO_PROXY": "127.0.0.1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaints = await script.communicate()
    steps = re.split(r"^--- .*\n", out.decode(), flags=re.MULTILINE)[1:]
    assert (script.returncode, len(steps)) == (0, 6)
    assert steps[0].startswith("You said: **Hello**.")
    assert json.loads(steps[1].splitlines()[-1])["type"] == "finished"
    assert '"delta":{},"finish_reason":"stop"' in steps[3].rstrip().splitlines()[-2]
    assert json.loads(steps[4].splitlines()[0])["id"].endswith(":a1:3")
    assert steps[5].rstrip().endswith("curl left with 18")
    assert complaints.decode().startswith("curl: (18)")


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
@pytest.mark.needs("chromium")
async def test_the_page_shows_the_whole_answer_although_the_line_is_cut_twice(
    over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("browser")
    monkeypatch.setattr(module, "BEAT", 0.005)
    complaints: list[str] = []
    async with (
        hosted(module.app) as url,
        CuttingProxy(int(url.rpartition(":")[2])).listening() as proxy,
        chromium_page(complaints) as page,
    ):
        await page.goto(proxy.url)
        await asked(page, over)
        for _ in range(2):
            said = len(await answer(page))
            await page.wait_for_function(
                "said => document.getElementById('answer').textContent.length > said", arg=said
            )
            await cut_all(proxy)
        await status(page, "complete")
        assert await answer(page) == PARROTED
        # What a cut line makes a browser say of it is no fault of the page.
        assert [text for text in complaints if "net::ERR" not in text and "WebSocket connection" not in text] == []
        complaints.clear()


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
@pytest.mark.needs("chromium")
async def test_the_page_drops_reloads_and_stops(over: str) -> None:
    module = example("browser")
    async with hosted(module.app) as url, chromium_page([]) as page:
        await page.goto(url)
        await asked(page, over)
        await page.wait_for_function("document.getElementById('answer').textContent.includes('1. a')")
        await page.click("#drop")
        await page.wait_for_function("document.getElementById('answer').textContent.includes('1. a b c')")
        await page.reload()
        await page.wait_for_function("document.getElementById('answer').textContent.includes('2. a')")
        assert (await answer(page)).startswith("1. a b c\n 2. a")
        await page.click("#stop")
        await status(page, "stopped")
        async with asking(url) as client:
            (run,) = (await client.get("/v1/streams")).json()["streams"]
    assert run["end"] == {"type": "cancelled", "by": "client"}


async def asked(page: "Page", over: str) -> None:
    await page.fill("#question", QUESTION)
    await page.select_option("#over", over)
    await page.click("text=Ask")
    await page.wait_for_function("document.getElementById('answer').textContent.length > 0")


async def answer(page: "Page") -> str:
    return await page.text_content("#answer") or ""


async def status(page: "Page", text: str) -> None:
    await page.wait_for_function("text => document.getElementById('status').textContent === text", arg=text)


async def cut_all(proxy: CuttingProxy) -> None:
    """Cut every line there is, from both ends."""
    for link in list(proxy.links):
        await link.cut()
