"""How soon a reader that lost its connection has a long answer again, and what that costs the server."""

from __future__ import annotations

import time

from benchmarks import asking, harness, marks
from benchmarks.rows import Row
from benchmarks.servers import TRANSPORTS, in_process
from benchmarks.sitting import Sitting
from benchmarks.source import order

STREAM = 7
WAYS = {
    "SSE native": ("", "text/event-stream"),
    "SSE openai-chat": ("&dialect=openai-chat", "text/event-stream"),
    "NDJSON": ("", "application/x-ndjson"),
}


def resume(sitting: Sitting, *, tokens: int = 2000, samples: int = 20) -> list[Row]:
    """An ended answer of `tokens` events, read again from its first cursor."""
    rows = []
    with sitting.running(in_process("penstock-resume", TRANSPORTS[0])) as running:
        run, cursor = asking.begun(running.port, order(tokens=tokens, stream=STREAM))
        deadline = time.monotonic() + asking.PATIENCE
        while not asking.ended(running.port, run):
            if time.monotonic() > deadline:
                raise harness.Unavailable("a run of the in-process source did not end")
            time.sleep(0.05)
        start = cursor.rpartition(":")[0]
        for way, (query, accept) in WAYS.items():
            path = f"/v1/streams/{run}/events?after={start}:0{query}"
            asking.ask(running.port, "GET", path, headers={"Accept": accept})
            times, fault = [], ""
            before = harness.cpu_seconds(running.pids)
            for _ in range(samples):
                began = time.monotonic()
                status, body = asking.ask(running.port, "GET", path, headers={"Accept": accept})
                times.append(1000 * (time.monotonic() - began))
                fault = (
                    fault or marks.wrong(body, stream=STREAM, tokens=tokens) or ("" if status == 200 else str(status))
                )
            spent = 1000 * (harness.cpu_seconds(running.pids) - before) / samples
            rows.append(
                Row(
                    group="resume",
                    label=f"{tokens:,} events, {way}",
                    columns={"ms to the last byte": times, "server's CPU ms": [spent]},
                    fault=fault,
                )
            )
            sitting.say(f"resume {way}: {sorted(times)[samples // 2]:.1f} ms, {spent:.1f} ms of CPU {fault}")
    return rows
