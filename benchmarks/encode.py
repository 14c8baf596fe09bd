"""What the pure part of a token costs, in this process: each dialect on each transport, and the log between them.

CPU time of this thread, so that whatever else runs does not count. The median of the repetitions.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.rows import Row
from benchmarks.sitting import Sitting
from penstock.core.cursor import Entry, new_run_id
from penstock.core.events import Delta, Opened, Started
from penstock.core.frame import Dialect, TransportEncoder, View
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.encoders.websocket import WebSocketEncoder
from penstock.flow.log import Log
from penstock.registry import names, resolve

BATCH = 32
EVENTS = 20_000
SINGLY = "ns per event, one at a time"
BATCHED = f"ns per event, {BATCH} at a time"
YARDSTICK = "openai-chat"
"""The dialect the others are compared with, transport by transport; bare text, which it is not on, with NDJSON."""
COMPARED = {SINGLY: "", BATCHED: f", {BATCH} at a time"}
"""The columns that are compared, and how their ratios are called."""
WORDS = ["Die ", "quick ", "brown ", "fox — ", "jumps ", "over\n", 'the "', "lazy ", "Hund", "."]


def entries(count: int) -> tuple[list[Entry], list[Entry]]:
    """What begins a run, and `count` short deltas after it."""
    begin = [Entry(1, 1, 0, Started("st_" + "a" * 26, "mock", 1_700_000_000)), Entry(2, 2, 0, Opened(0, "text"))]
    return begin, [Entry(n, n, n, Delta(0, WORDS[n % len(WORDS)])) for n in range(3, count + 3)]


def pairs() -> Iterator[tuple[str, Callable[[], Stream[Any]], Callable[[list[Any]], Any]]]:
    """Each dialect on each transport that carries it: its name, what makes a fresh one, and how a batch of it is joined."""
    run = new_run_id()
    for name in names("dialects"):
        dialect: Dialect = resolve("dialects", name)()
        encoders: dict[str, Callable[[], TransportEncoder[Any]]] = {
            "SSE": SseEncoder,
            "WebSocket": partial(WebSocketEncoder, run, cursor_key=dialect.traits.cursor_key),
            "NDJSON": partial(NdjsonEncoder, cursor_key=dialect.traits.cursor_key),
        }
        if name == "plain":
            encoders["text"] = TextEncoder
        for transport, encoder in encoders.items():

            def fresh(
                dialect: Dialect = dialect,
                encoder: Callable[[], TransportEncoder[Any]] = encoder,
                transport: str = transport,
            ) -> Stream[Any]:
                view = View(run=run, model="mock", created=1_700_000_000, bare=transport == "text")
                return Stream(dialect.renderer(view), encoder(), run=run, epoch="a1")

            yield f"{name}, {transport}", fresh, list if transport == "WebSocket" else b"".join


def nanoseconds(work: Callable[[], object], *, each: int) -> float:
    """CPU nanoseconds for each of the `each` things that `work` does, the garbage collector kept out."""
    gc.collect()
    gc.disable()
    try:
        began = time.thread_time_ns()
        work()
        return (time.thread_time_ns() - began) / each
    finally:
        gc.enable()


def _encoding(fresh: Callable[[], Stream[Any]], joined: Callable[[list[Any]], Any], *, count: int) -> dict[str, float]:
    begin, deltas = entries(count)
    batches = [deltas[at : at + BATCH] for at in range(0, count, BATCH)]
    singles = [[entry] for entry in deltas]

    def fed(groups: list[list[Entry]]) -> float:
        stream = fresh()
        stream.feed(begin)
        return nanoseconds(lambda: [joined(stream.feed(group)) for group in groups], each=count)

    stream = fresh()
    stream.feed(begin)
    size = sum(map(len, stream.feed(deltas)))
    return {
        SINGLY: fed(singles),
        BATCHED: fed(batches),
        "bytes per token": size / count,
    }


def _logging(*, readers: int, batch: int, count: int) -> dict[str, float]:
    """Append and poll, without waking anybody: what is left is the log's own work."""

    async def work() -> float:
        log = Log(epoch="a1")
        attached = [log.attach(0) for _ in range(readers)]
        deltas = [entry.event for entry in entries(count)[1]]
        starts = [*range(0, count, batch), count]

        def turns() -> None:
            for start, end in pairwise(starts):
                for event in deltas[start:end]:
                    log.append(event, start)
                for reader in attached:
                    if len(reader.poll(1 << 16)) != end - start:
                        raise AssertionError("a reader did not get what was appended")

        return nanoseconds(turns, each=count)

    return {"ns per event": asyncio.run(work())}


def encode(sitting: Sitting, *, events: int = EVENTS) -> list[Row]:
    return [*encoding(rounds=sitting.rounds, events=events), *logging(rounds=sitting.rounds, events=events)]


def encoding(*, rounds: int, events: int) -> list[Row]:
    """Every dialect on every transport in each round, so that a round's ratios are of one spell of the machine's speed."""
    samples: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        cost = {label: _encoding(fresh, joined, count=events) for label, fresh, joined in pairs()}
        for label, sample in cost.items():
            transport = label.partition(", ")[2]
            beside = cost[f"{YARDSTICK}, {'NDJSON' if transport == 'text' else transport}"]
            ratios = {f"× {YARDSTICK}{ending}": sample[column] / beside[column] for column, ending in COMPARED.items()}
            samples.setdefault(label, []).append(sample | ratios)
    return [Row(group="encode", label=label, columns=_columns(several)) for label, several in samples.items()]


def logging(*, rounds: int, events: int) -> list[Row]:
    rows = []
    for readers in (1, 10):
        for batch in (1, BATCH):
            samples = [_logging(readers=readers, batch=batch, count=events) for _ in range(rounds)]
            label = f"log: append, then {readers} × poll, {batch} at a time"
            rows.append(Row(group="log", label=label, columns=_columns(samples)))
    return rows


def _columns(samples: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [sample[name] for sample in samples] for name in samples[0]}
