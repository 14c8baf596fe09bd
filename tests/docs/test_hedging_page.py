"""The page on hedging can be followed offline: its recording, its configuration and its requests, as they stand there."""

import json
import shlex
from pathlib import Path

import pytest

from penstock.config.load import load
from tests.docs.pages import snippets
from tests.docs.test_snippets import QUICK, SERVER, run
from tests.examples.hosting import asking, penstock_serve

PAGE = "docs/howto/hedging.md"


def blocks(language: str) -> list[str]:
    return [each.text for each in snippets(language) if each.page == PAGE]


@pytest.mark.needs("curl")
async def test_whoever_is_late_gives_way_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, usual, late = (block.splitlines()[0] for block in blocks("sh"))
    async with penstock_serve(QUICK) as url, asking(url) as client:
        _, told, _ = await run(*shlex.split(recorded.replace(SERVER, url)), "-s")
        begun = json.loads(told.splitlines()[0])
        (tmp_path / "answer.cassette.jsonl").write_text((await client.get(f"/v1/streams/{begun['run']}/cassette")).text)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "penstock.toml"
    file.write_text(blocks("toml")[0])
    async with penstock_serve(load({"PENSTOCK_DEMO__RATE": "0"}, file=file)) as url:
        await run("sh", "-c", usual.replace(SERVER, url))
        _, hedged, _ = await run(*shlex.split(late.replace(SERVER, url)), "-s")
    events = [json.loads(line) for line in hedged.splitlines()]
    (note,) = [event for event in events if event.get("topic") == "hedge"]
    shown = json.loads(blocks("json")[0])
    assert note["body"].pop("after") >= shown["body"].pop("after")
    assert note["body"] == shown["body"]
    assert "".join(event.get("text", "") for event in events) == "".join(
        json.loads(line).get("text", "") for line in told.splitlines()
    )
    assert events[-1]["type"] == "finished"
