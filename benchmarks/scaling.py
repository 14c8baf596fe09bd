"""What a token costs with more streams, with longer answers, and on the other transports: it must not grow."""

from __future__ import annotations

import contextlib

import msgspec

from benchmarks import harness
from benchmarks.report import microseconds_per_token
from benchmarks.rows import Row
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import PENSTOCK, TRANSPORTS
from benchmarks.sitting import Sitting, trouble

ALL_PER_SECOND = 10_000
COST = "CPU µs per token"
AGE = "age p50 ms"


def _row(group: str, label: str, runs: list[harness.Measured]) -> Row:
    costs = [cost for run in runs if (cost := microseconds_per_token(run)) is not None]
    ages = [run.load.age_us.p50 / 1000 for run in runs if run.load.age_us.p50 is not None]
    return Row(
        group=group,
        label=label,
        columns={COST: costs, AGE: ages},
        fault="; ".join(words for run in runs if (words := trouble(run.load))),
    )


def _each(sitting: Sitting, group: str, asked: dict[str, Scenario]) -> list[Row]:
    """Every scenario in every round on one server, the scenarios right after one another."""
    runs: dict[str, list[harness.Measured]] = {label: [] for label in asked}
    harness.raise_open_files(2 * max(scenario.streams for scenario in asked.values()) + 1000)
    with sitting.running(PENSTOCK) as running:
        for number in range(sitting.rounds):
            for label, scenario in asked.items():
                run = harness.measure(running, group, scenario, number=number)
                # Streams that follow one another have no time in which all are under way.
                run = run if scenario.each == 1 else _whole(run)
                runs[label].append(run)
                sitting.say(f"{group} {label}: {microseconds_per_token(run) or 0:.1f} µs {trouble(run.load)}")
    return [_row(group, label, measured) for label, measured in runs.items()]


def _whole(run: harness.Measured) -> harness.Measured:
    """The same run, its cost counted from the first connection to the end of the last."""
    return msgspec.structs.replace(run, load=msgspec.structs.replace(run.load, steady=None))


def streams(
    sitting: Sitting, *, counts: tuple[int, ...] = (10, 100, 500, 1000, 5000), seconds: float = 6.0
) -> list[Row]:
    """10,000 tokens per second in all, spread over more and more streams."""
    asked = {
        f"{count:,} streams × {ALL_PER_SECOND / count:g}/s": Scenario(
            title="streams",
            streams=count,
            tokens=max(int(ALL_PER_SECOND / count * seconds), 2),
            rate=ALL_PER_SECOND / count,
            ramp_ms=min(count, 2000),
            settle_ms=min(count, 2000) + 500,
        )
        for count in counts
    }
    return _each(sitting, "streams", asked)


def lengths(
    sitting: Sitting, *, counts: tuple[int, ...] = (100, 1000, 10_000, 100_000), side_by_side: int = 8
) -> list[Row]:
    """Answers of more and more tokens, as fast as they are taken, `side_by_side` at a time; as many tokens for each."""
    most = max(counts)
    asked = {
        f"{count:,} tokens": Scenario(
            title="lengths",
            streams=side_by_side,
            tokens=count,
            rate=0,
            each=most // count,
            limit_ms=120_000,
        )
        for count in counts
    }
    return _each(sitting, "lengths", asked)


def transports(sitting: Sitting, *, scenario: Scenario = SCENARIOS["c"]) -> list[Row]:
    """Scenario c on each transport of one penstock in the native dialect, one right after the other."""
    runs: dict[str, list[harness.Measured]] = {server.name: [] for server in TRANSPORTS}
    for number in range(sitting.rounds):
        with contextlib.ExitStack() as stack:
            ready = [stack.enter_context(sitting.running(server)) for server in TRANSPORTS]
            for running in ready:
                run = harness.measure(running, "c", scenario, number=number)
                runs[running.server.name].append(run)
                sitting.say(
                    f"transports {running.server.name}: {microseconds_per_token(run) or 0:.1f} µs {trouble(run.load)}"
                )
    rows = [_row("transports", name, measured) for name, measured in runs.items()]
    base = rows[0].columns[COST]
    for row in rows:
        row.columns["× SSE"] = [mine / sse for mine, sse in zip(row.columns[COST], base, strict=False) if sse]
    return rows
