"""The page on fallback can be followed offline: its recording, its configuration and its requests, as they stand there."""

import json
import shlex
from pathlib import Path

import pytest

from penstock.config.load import load
from tests.docs.pages import snippets
from tests.docs.test_snippets import QUICK, SERVER, run
from tests.examples.hosting import asking, penstock_serve

PAGE = "docs/howto/fallback.md"


def lines(language: str) -> list[str]:
    return [line for each in snippets(language) if each.page == PAGE for line in each.text.splitlines()]


@pytest.mark.needs("curl")
async def test_the_answer_that_breaks_off_is_whole_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, refused, broken = (shlex.split(line) for line in lines("sh") if line.startswith("curl"))
    async with penstock_serve(QUICK) as url, asking(url) as client:
        _, told, _ = await run(*[word.replace(SERVER, url) for word in whole], "-s")
        first = json.loads(told.splitlines()[0])
        (tmp_path / "answer.cassette.jsonl").write_text((await client.get(f"/v1/streams/{first['run']}/cassette")).text)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "penstock.toml"
    file.write_text(next(each.text for each in snippets("toml") if each.page == PAGE))
    async with penstock_serve(load({"PENSTOCK_DEMO__RATE": "0", "PENSTOCK_DEMO__TOKENS": "20"}, file=file)) as url:
        _, unnoticed, _ = await run(*[word.replace(SERVER, url) for word in refused], "-s")
        _, survived, _ = await run(*[word.replace(SERVER, url) for word in broken], "-s")
    assert unnoticed.startswith("HTTP/1.1 200 OK")
    assert set(next(each.text for each in snippets("text") if each.page == PAGE).splitlines()) <= set(
        unnoticed.splitlines()
    )
    events = [json.loads(line) for line in survived.splitlines()]
    (note,) = [event for event in events if event.get("topic") == "continuation"]
    shown, end = [json.loads(line) for line in lines("json")]
    assert {"type": "note", "topic": "continuation", "body": note["body"]} == shown
    assert said(survived) == said(told)
    assert events[-1]["type"] == end["type"] == "finished"
    told_of, shown_of = (last["usage"]["attempts"] for last in (events[-1], end))
    assert told_of[0] == shown_of[0]
    assert [each["target"] for each in told_of] == [each["target"] for each in shown_of]


def said(told: str) -> str:
    return "".join(json.loads(line).get("text", "") for line in told.splitlines())
