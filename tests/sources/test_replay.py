"""A cassette as a source: the same events, in the same order, when they are due."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.core.cassette import Cassette, Line
from penstock.core.events import Closed, Delta, Finished, Opened, Started
from penstock.sources.replay import build, playing
from penstock.testing.sources import check_source
from tests.sources.asking import question

LINES = (
    Line(0, Started("st_old", "m", 1)),
    Line(5, Opened(0, "text")),
    Line(20, Delta(0, "Hel")),
    Line(40, Delta(0, "lo")),
    Line(41, Closed(0)),
    Line(41, Finished()),
)


async def test_it_says_what_was_said_as_a_run_of_its_own() -> None:
    said, broken = await check_source(playing(Cassette("m", 1, LINES), speed=0), question())
    assert broken is None
    assert said == [Started("st_solo", "m", 1_700_000_000), *(line.event for line in LINES[1:])]


async def test_events_wait_until_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[float] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began)

    async def wait(seconds: float) -> None:
        due.append(round(seconds, 6))

    monkeypatch.setattr("penstock.sources.replay.asyncio.sleep", wait)
    from penstock.sources.replay import played

    assert [event async for event in played(Cassette("m", 1, LINES), speed=2)] == [line.event for line in LINES]
    assert due == [0, 0.0025, 0.01, 0.02, 0.0205, 0.0205]


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.jsonl cannot be read: No such file"):
        build(tmp_path / "missing.jsonl")
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="line 1: this is no cassette"):
        build(tmp_path / "other.jsonl")
