"""Every example does what its docstring says. What the page in a browser does stands in `tests/browser/test_example_page.py`."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from penstock.config.model import Config, DemoConfig
from tests.examples.hosting import Beats, asking, example, hosted, penstock_serve
from tests.tools import ROOT

FOLDER = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_an_example_begins_by_saying_how_to_run_it(path: Path) -> None:
    if path.is_file():
        opening = path.read_text()[:900]
        assert re.findall(
            rf"uvicorn examples\.{path.stem}:app|(sh|python|esbuild) examples/{path.name}|How to run it: examples/",
            opening,
        )


async def test_the_failing_provider_fails_as_its_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    await example("failing_provider").main()
    page = (ROOT / "docs" / "howto" / "test-your-app.md").read_text()
    assert capsys.readouterr().out in page


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
    module, beats = example("steering"), Beats()
    monkeypatch.setattr(module, "asyncio", beats)
    heard: list[dict[str, Any]] = []
    async with (
        hosted(module.app) as url,
        connect(url.replace("http", "ws") + "/v1/chat/ws", proxy=None, ping_interval=None) as socket,
    ):
        await socket.send('{"type": "start", "ref": "1", "request": {"prompt": "count"}}')
        stream = json.loads(await socket.recv())["stream"]

        async def until_heard(what: str, wanted: object) -> None:
            while not heard or heard[-1].get(what) != wanted:
                heard.append(json.loads(await socket.recv()))

        beats.give(3)
        await until_heard("text", "3 ")
        for body in ({"step": -1}, {"step": "x"}, {"text": "stop"}):
            await socket.send(json.dumps({"type": "input", "stream": stream, "body": body}))
            await until_heard("body", body)
            beats.give(1)
        await until_heard("type", "finished")
    assert "".join(event.get("text", "") for event in heard) == (
        '0 1 2 3 \nnow by -1:\n4 \nI understand {"step": 2} and {"text": "stop"}\n3 \nstopped at 2\n'
    )
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
