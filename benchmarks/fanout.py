"""One run, very many readers, over every transport at once: what one delivered event costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks import asking, bare, harness
from benchmarks.rows import Row
from benchmarks.scenarios import Scenario
from benchmarks.servers import ROOT, TRANSPORTS, Server, in_process
from benchmarks.sitting import Sitting, trouble, until_quiet
from benchmarks.source import order

STREAM = 7
"""What the tokens of the one run are marked with."""
EVENTS = "http://127.0.0.1:{port}/v1/streams/{run}/events"
# label: where to read, what to send, which header, what the end looks like
WAYS = {
    "SSE native": (EVENTS, "", "Accept: text/event-stream", '"type":"finished"'),
    "SSE openai-chat": (EVENTS + "?dialect=openai-chat", "", "Accept: text/event-stream", '"finish_reason":"stop"'),
    "NDJSON": (EVENTS, "", "Accept: application/x-ndjson", '"type":"finished"'),
    "text": (EVENTS, "", "Accept: text/plain", ""),
    "WebSocket": (
        "ws://127.0.0.1:{port}/v1/chat/ws",
        '{{"type":"attach","ref":"1","stream":"{run}"}}',
        "X-Reader: socket",
        "",
    ),
}


def attached(port: int, run: str, count: int) -> None:
    """Waits until so many read the run. Raises `Unavailable` when they never do."""
    deadline = time.monotonic() + asking.PATIENCE
    while asking.readers(port, run) < count:
        if time.monotonic() > deadline:
            raise harness.Unavailable(f"{count} readers did not attach within {asking.PATIENCE:g} s")
        time.sleep(0.1)


Way = tuple[str, str, str, str]


def told(
    running: harness.Running, run: str, ways: Sequence[Way], *, readers: int, tokens: int, rate: float, ramp_ms: int
) -> tuple[float, list[harness.LoadResult]]:
    """Microseconds of the server's CPU for each delivered token of a held run, from the time when all readers were attached
    to the end of the last one's connection; and what the readers had."""
    each = Scenario(
        title="readers",
        streams=readers // len(ways),
        tokens=tokens,
        rate=rate,
        ramp_ms=ramp_ms,
        limit_ms=120_000,
    )

    def read(way: Way) -> harness.LoadResult:
        url, body, header, end = way
        return harness.run_load(
            running.programs,
            url=url.format(port=running.port, run=run),
            body=body.format(run=run),
            end=end,
            headers=[header],
            stream=STREAM,
            scenario=each,
            cpu=running.placement.load,
        )

    with ThreadPoolExecutor(len(ways)) as pool:
        reading = [pool.submit(read, way) for way in ways]
        attached(running.port, run, each.streams * len(ways))
        until_quiet(running.pids)
        before = harness.cpu_seconds(running.pids)
        asking.go(running.port, run)
        results = [one.result() for one in reading]
        spent = harness.cpu_seconds(running.pids) - before
    return 1e6 * spent / max(sum(result.tokens for result in results), 1), results


def fanout(
    sitting: Sitting, *, readers: int = 1000, tokens: int = 200, rate: float = 20.0, ramp_ms: int = 1500
) -> list[Row]:
    """One run to `readers` readers, a fifth of them in each way, at `rate` tokens per second and as fast as they take them."""
    harness.raise_open_files()
    rows = []
    with sitting.running(in_process("penstock-fanout", TRANSPORTS[0])) as running:
        for label, so_fast, so_many in ((f"{rate:g} tokens/s", rate, tokens), ("unpaced", 0.0, 5 * tokens)):
            costs, faults = [], []
            for _ in range(sitting.rounds):
                run, _ = asking.begun(running.port, order(tokens=so_many, rate=so_fast, stream=STREAM, held=True))
                cost, results = told(
                    running, run, list(WAYS.values()), readers=readers, tokens=so_many, rate=so_fast, ramp_ms=ramp_ms
                )
                costs.append(cost)
                faults += [f"{way}: {words}" for way, r in zip(WAYS, results, strict=True) if (words := trouble(r))]
            sitting.say(f"fanout {label}: {costs} µs {faults}")
            rows.append(
                Row(
                    group="fanout",
                    label=f"{readers:,} readers, {label}",
                    columns={"CPU µs per delivered token": costs, "tokens delivered": [float(readers * so_many)]},
                    fault="; ".join(faults),
                )
            )
    rows.append(floor(sitting, readers=readers, tokens=tokens, rate=rate, ramp_ms=ramp_ms))
    return rows


def floor(sitting: Sitting, *, readers: int, tokens: int, rate: float, ramp_ms: int) -> Row:
    """The same tokens to as many readers on SSE from a loop that does nothing but write them."""
    command = [sys.executable, "-m", "benchmarks.bare", "{port}", str(tokens), str(rate), str(STREAM)]
    server = Server(name="bare", url=EVENTS, command=command, env={"PYTHONPATH": str(ROOT)})
    costs, faults = [], []
    for _ in range(sitting.rounds):
        running = harness.Running(server, sitting.programs, sitting.upstream, sitting.place, sitting.out / server.name)
        running.launch()
        try:
            cost, results = told(
                running, bare.RUN, [WAYS["SSE native"]], readers=readers, tokens=tokens, rate=rate, ramp_ms=ramp_ms
            )
        finally:
            running.end()
        costs.append(cost)
        faults += [words for result in results if (words := trouble(result))]
    sitting.say(f"fanout, bare writes: {costs} µs {faults}")
    return Row(
        group="fanout",
        label=f"{readers:,} bare writes, {rate:g} tokens per second",
        columns={"CPU µs per delivered token": costs, "tokens delivered": [float(readers * tokens)]},
        fault="; ".join(faults),
    )
