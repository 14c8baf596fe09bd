"""The cut run: answers cut at any byte, over three transports, with another target standing by and without.

A hundred of them, `make chaos` a thousand. The places are drawn from a fixed seed, so that a failure can be had again. `CUT_RUN=FILE`
writes what came of it there, which is what stands in `docs/explanation/reliability.md`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

from penstock.config.model import Config
from penstock.config.models import ModelConfig, RetryConfig
from penstock.config.units import Seconds
from penstock.testing.script import Body, Cut, Head, Reset, chunk, event_bytes
from penstock.testing.upstream import Provider, going_on
from tests.chaos import CHAOS
from tests.live.answering import Way, answering
from tests.serving import Served, configured, serving

RUNS = 1_000 if CHAOS else 100
SEED = 6
TRANSPORTS: tuple[Way, ...] = ("sse", "ws", "ndjson")
AT_A_TIME = 4
"""Runs of one server: a target that fails five times in a row is given a rest, and would not be asked."""
WORDS = [f"{number}{'🦊é·'[number % 3]} " for number in range(30)]
WHOLE = "".join(WORDS)
ROLE = event_bytes(chunk({"role": "assistant", "content": ""}))
STREAM = ROLE + b"".join(event_bytes(chunk({"content": word})) for word in WORDS) + event_bytes(chunk(finish="stop"))
BOUNDARIES = {len("".join(WORDS[:count])) for count in range(len(WORDS) + 1)}
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
ENDS: tuple[Cut | Reset, ...] = (Cut(), Reset())
WELL = ("whole, gone on with elsewhere", "whole, answered elsewhere from the start", "told as broken")
ILL = ("silent truncations", "tokens missing or said twice", "joints not noted")


@dataclass(frozen=True)
class Case:
    """One run: where the first target is cut, how, who reads it, and whether another target stands by."""

    way: Way
    fallback: bool
    at: int
    how: Cut | Reset


def cases() -> list[Case]:
    """As many as there are to be: all combinations in turns, at places of the stream that are drawn."""
    draw = random.Random(SEED)
    kinds = islice(cycle(product(TRANSPORTS, (True, False), ENDS)), RUNS)
    # Without its very last bytes, which end a line that is whole.
    return [Case(way, fallback, draw.randrange(len(STREAM) - 2), how) for way, fallback, how in kinds]


async def outcomes(batch: Sequence[Case]) -> AsyncGenerator[tuple[Case, str]]:
    """What came of each run, in one of the words of `WELL` and `ILL`."""
    async with Provider().listening() as a, Provider().listening() as b:
        b.unscripted = going_on(WHOLE, repeats=8)
        names = (f"{a.base_url}#a", f"{b.base_url}#b")
        once = RetryConfig(attempts=1)
        models = {
            "both": ModelConfig(targets=names, retry=once), "alone": ModelConfig(targets=names[:1], retry=once)
        }  # fmt: skip
        async with serving(configured(Config(models=models), heartbeat=Seconds(3600))) as served:
            for case in batch:
                a.script(Head(), Body(STREAM[: case.at]), case.how)
                text, end, run = await read(served, case)
                notes = served.run(run).said().notes
                joints = [note.body for note in notes if isinstance(note.body, dict) and "to" in note.body]
                yield case, judged(case, text, end, joints)


async def read(served: Served, case: Case) -> tuple[str, str, str]:
    """The text a reader has, how it ended, and the run. What broke before the first word has the status of its failure."""
    request = {**ASKED, "model": "both" if case.fallback else "alone"}
    try:
        async with answering(served.url, case.way, request) as reading:
            told = await reading.rest()
            return told.text, told.end, reading.stream
    except AssertionError as refused:
        if not str(refused).startswith("502: "):
            raise
        return "", "refused", next(reversed(served.runs.by_id))


def judged(case: Case, text: str, end: str, joints: Sequence[Mapping[str, Any]]) -> str:
    """One run in one word."""
    if end == "finished" and text != WHOLE:
        return "silent truncations" if WHOLE.startswith(text) else "tokens missing or said twice"
    if not WHOLE.startswith(text):
        return "tokens missing or said twice"
    if end != "finished":
        return "told as broken"
    if len(joints) != 1 or (joints[0]["from"], joints[0]["to"]) != ("a", "b"):
        return "joints not noted"
    if "offset" not in joints[0]:
        return "whole, answered elsewhere from the start"
    return "whole, gone on with elsewhere" if joints[0]["offset"] in BOUNDARIES else "joints not noted"


async def test_no_cut_is_silent_and_no_token_is_missing_or_said_twice() -> None:
    came: Counter[tuple[bool, str]] = Counter()
    every = cases()
    for begin in range(0, RUNS, AT_A_TIME):
        async with aclosing(outcomes(every[begin : begin + AT_A_TIME])) as batch:
            async for case, outcome in batch:
                came[case.fallback, outcome] += 1
    if file := os.environ.get("CUT_RUN"):
        write(came, file)
    assert {word: came[True, word] + came[False, word] for word in ILL} == dict.fromkeys(ILL, 0)
    assert came[True, "told as broken"] == 0
    assert came[False, "told as broken"] == sum(not case.fallback for case in every)
    assert min(came[True, word] for word in WELL[:2]) > 0


def write(came: Counter[tuple[bool, str]], file: str) -> None:
    """The summary, as a table of a page."""
    rows = [
        ("of so many runs, cut at any byte", "another target stood by", "none did"),
        ("---", "---", "---"),
        *((word, f"{came[True, word]:,}", f"{came[False, word]:,}") for word in WELL + ILL),
    ]
    Path(file).write_text("".join(f"| {' | '.join(row)} |\n" for row in rows))
