"""What a token costs with more streams, with longer answers, and on the other transports: it must not grow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from benchmarks import harness
from benchmarks.report import microseconds_per_token
from benchmarks.rows import Row
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import NGINX, PENSTOCK, TRANSPORTS, Server
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


def _ratios(row: Row, base: Row) -> list[float]:
    """What a token of `row` costs over one of `base`, round by round."""
    return [mine / theirs for mine, theirs in zip(row.columns[COST], base.columns[COST], strict=False) if theirs]


def _each(
    sitting: Sitting, group: str, asked: dict[str, Scenario], servers: Sequence[Server]
) -> dict[str, dict[str, list[harness.Measured]]]:
    """Every scenario in every round on each server: its runs by the scenario's label and the server's name. The servers run
    right after one another."""
    runs: dict[str, dict[str, list[harness.Measured]]] = {
        label: {server.name: [] for server in servers} for label in asked
    }
    harness.raise_open_files(2 * max(scenario.streams for scenario in asked.values()) + 1000)
    with contextlib.ExitStack() as stack:
        ready = [stack.enter_context(sitting.running(server)) for server in servers]
        for number in range(sitting.rounds):
            for label, scenario in asked.items():
                for running in ready:
                    run = harness.measure(running, group, scenario, number=number)
                    # Streams that follow one another have no time in which all are under way.
                    run = run if scenario.each == 1 else _whole(run)
                    runs[label][running.server.name].append(run)
                    cost = microseconds_per_token(run) or 0
                    sitting.say(f"{group} {label} {running.server.name}: {cost:.1f} µs {trouble(run.load)}")
    return runs


def _whole(run: harness.Measured) -> harness.Measured:
    """The same run, its cost counted from the first connection to the end of the last."""
    return msgspec.structs.replace(run, load=msgspec.structs.replace(run.load, steady=None))


def streams(
    sitting: Sitting, *, counts: tuple[int, ...] = (10, 100, 500, 1000, 5000), seconds: float = 6.0
) -> list[Row]:
    """10,000 tokens per second in all, spread over more and more streams; through nginx too, where it is installed."""
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
    servers = [server for server in (NGINX, PENSTOCK) if not server.missing]
    rows = []
    for label, measured in _each(sitting, "streams", asked, servers).items():
        row = _row("streams", label, measured[PENSTOCK.name])
        if NGINX in servers:
            copied = _row("streams", label, measured[NGINX.name])
            row.columns["nginx, the same"] = copied.columns[COST]
            row.columns["× nginx"] = _ratios(row, copied)
        rows.append(row)
    return rows


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
    runs = _each(sitting, "lengths", asked, [PENSTOCK])
    return [_row("lengths", label, measured[PENSTOCK.name]) for label, measured in runs.items()]


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
    for row in rows:
        row.columns["× SSE"] = _ratios(row, rows[0])
    return rows
