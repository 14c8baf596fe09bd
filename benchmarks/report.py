"""Tables of what was measured, in Markdown.

The machine's speed drifts by a quarter within minutes, so servers are compared within a round only: every ratio is of two
runs that followed each other, and what is quoted is the median of the rounds' ratios, with the least and the greatest.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from benchmarks.figures import Figure
from benchmarks.harness import Cost, Measured
from benchmarks.rows import Row
from benchmarks.scenarios import SCENARIOS

# Above this part of the time, a server that waits for its CPU gathers tokens while it does, and looks cheaper than it is.
WAITED = 0.05


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmarks: enough to print its tables again."""

    machine: str
    measured: list[Measured]
    figures: list[Figure] = []
    rows: list[Row] = []
    absent: dict[str, str] = {}
    """Servers and tables that were asked for and could not be had, and why."""


def together(several: Sequence[Results]) -> Results:
    """Several sittings as one: the rounds follow one another, the machine is the first one's."""
    measured: list[Measured] = []
    for results in several:
        rounds = max((run.round for run in measured), default=-1) + 1
        measured += [msgspec.structs.replace(run, round=run.round + rounds) for run in results.measured]
    figures: dict[tuple[str, str], list[float]] = {}
    for figure in (figure for results in several for figure in results.figures):
        figures.setdefault((figure.name, figure.unit), []).extend(figure.samples)
    rows: dict[tuple[str, str], Row] = {}
    for row in (row for results in several for row in results.rows):
        earlier = rows.get((row.group, row.label))
        rows[row.group, row.label] = row if earlier is None else _joined(earlier, row)
    return Results(
        machine=several[0].machine,
        measured=measured,
        figures=[Figure(name, unit, samples) for (name, unit), samples in figures.items()],
        rows=list(rows.values()),
        absent={name: why for results in several for name, why in results.absent.items()},
    )


def _joined(one: Row, other: Row) -> Row:
    names = dict.fromkeys([*one.columns, *other.columns])
    columns = {name: [*one.columns.get(name, []), *other.columns.get(name, [])] for name in names}
    return msgspec.structs.replace(one, columns=columns, fault="; ".join(filter(None, [one.fault, other.fault])))


class Goal(msgspec.Struct, frozen=True):
    """`figure` gives the rounds' values of one server's runs."""

    text: str
    unit: str
    limit: float
    figure: Callable[[Results, str], list[float]]


def microseconds_per_token(run: Measured) -> float | None:
    """CPU of the server; the whole run's where there was no steady part."""
    cost: Cost = run.load.steady or run.load.whole
    return cost.cpu_seconds * 1e6 / cost.tokens if cost.cpu_seconds is not None and cost.tokens else None


def kib_per_stream(run: Measured) -> float:
    return (run.memory_peak_kib - run.memory_before_kib) / SCENARIOS[run.scenario].streams


def cpu_share(run: Measured) -> float | None:
    cost = run.load.steady or run.load.whole
    return 100 * cost.cpu_seconds / cost.seconds if cost.cpu_seconds is not None and cost.seconds else None


def tokens_per_second(run: Measured) -> float | None:
    cost = run.load.steady or run.load.whole
    return cost.tokens / cost.seconds if cost.seconds else None


def streams_per_second(run: Measured) -> float | None:
    cost = run.load.steady or run.load.whole
    return cost.finished / cost.seconds if cost.seconds else None


def runs(results: Results, scenario: str, server: str) -> list[Measured]:
    return [run for run in results.measured if run.scenario == scenario and run.server == server]


def paired(
    results: Results, scenario: str, server: str, other: str, value: Callable[[Measured], float | None]
) -> list[tuple[float, float]]:
    """The value for `server` and for `other` in each round that has both."""
    others = {run.round: value(run) for run in runs(results, scenario, other)}
    pairs = []
    for run in runs(results, scenario, server):
        mine, theirs = value(run), others.get(run.round)
        if mine is not None and theirs is not None:
            pairs.append((mine, theirs))
    return pairs


def ratios(results: Results, scenario: str, server: str, other: str = "nginx") -> list[float]:
    """CPU per token of `server` over that of `other`, round by round."""
    pairs = paired(results, scenario, server, other, microseconds_per_token)
    return [mine / theirs for mine, theirs in pairs if theirs]


def added(results: Results, scenario: str, server: str, value: Callable[[Measured], float | None]) -> list[float]:
    """What `server` adds to the same value without any server, round by round."""
    return [mine - theirs for mine, theirs in paired(results, scenario, server, "direct", value)]


def first_p50(run: Measured) -> float | None:
    return run.load.first_us.p50


def first_p99(run: Measured) -> float | None:
    return run.load.first_us.p99


def age_p50(run: Measured) -> float | None:
    return run.load.age_us.p50


def age_p99(run: Measured) -> float | None:
    return run.load.age_us.p99


def wrong_tokens(results: Results, server: str) -> list[float]:
    mine = [run.load.wrong for run in results.measured if run.server == server]
    return [sum(mine)] if mine else []


def _figure(name: str) -> Callable[[Results, str], list[float]]:
    def find(results: Results, server: str) -> list[float]:
        return [sample for figure in results.figures if name in figure.name for sample in figure.samples]

    return find


def _row(group: str, label: str, column: str) -> Callable[[Results, str], list[float]]:
    """The samples of the rows of a group whose label holds that text."""

    def find(results: Results, server: str) -> list[float]:
        return [
            sample
            for row in results.rows
            if row.group == group and label in row.label
            for sample in row.columns.get(column, [])
        ]

    return find


def _against(scenario: str, other: str) -> Callable[[Results, str], list[float]]:
    return lambda results, server: ratios(results, scenario, server, other=other)


def _added_ms(scenario: str, value: Callable[[Measured], float | None]) -> Callable[[Results, str], list[float]]:
    return lambda results, server: [us / 1000 for us in added(results, scenario, server, value)]


GOALS = [
    Goal("c: CPU per token, paced", "× nginx", 1.9, _against("c", "nginx")),
    Goal("e: CPU per token, unpaced", "× nginx", 1.0, _against("e", "nginx")),
    Goal("g: CPU per token, answers of 10 tokens", "× nginx", 2.0, _against("g", "nginx")),
    Goal("c: beside TensorZero", "× TensorZero", 1.0, _against("c", "tensorzero")),
    Goal("c: beside the LiteLLM proxy", "× LiteLLM", 0.1, _against("c", "litellm")),
    Goal("e: beside the LiteLLM proxy", "× LiteLLM", 0.1, _against("e", "litellm")),
    Goal("g: beside the LiteLLM proxy", "× LiteLLM", 0.1, _against("g", "litellm")),
    Goal(
        "f: memory per stream", "KiB", 20, lambda results, server: [kib_per_stream(r) for r in runs(results, "f", server)]
    ),
    Goal("idle SSE stream, in-process source", "KiB", 20, _row("idle", "SSE, in-process", "KiB per stream")),
    Goal("idle WebSocket, in-process source", "KiB", 30, _row("idle", "WebSocket", "KiB per stream")),
    Goal("b: first token added, p50", "ms", 0.35, _added_ms("b", first_p50)),
    Goal("b: first token added, p99", "ms", 3, _added_ms("b", first_p99)),
    Goal("b: age of a token added, p50", "ms", 0.1, _added_ms("b", age_p50)),
    Goal("c over WebSocket", "× SSE", 1.1, _row("transports", "penstock-ws", "× SSE")),
    Goal("c over NDJSON", "× SSE", 1.1, _row("transports", "penstock-ndjson", "× SSE")),
    Goal("c as text", "× SSE", 1.1, _row("transports", "penstock-text", "× SSE")),
    Goal("one run to 1,000 readers, 20 tokens/s", "µs per delivered token", 8, _row("fanout", "/s", "CPU µs per delivered token")),
    Goal("lost, repeated, reordered or crossed tokens", "tokens", 0, wrong_tokens),
    Goal("client leaves → upstream closed", "ms", 100, _figure("client leaves")),
    Goal("DELETE → upstream closed", "ms", 100, _figure("DELETE")),
    Goal("WebSocket cancel → upstream closed", "ms", 100, _figure("WebSocket cancel")),
    Goal("SIGTERM with 500 streams → not ready", "ms", 100, _row("drain", "500 streams", "unready after ms")),
    Goal("SIGTERM with 500 streams → gone", "s", 25, _row("drain", "500 streams", "exit s")),
    Goal("start to listening", "s", 0.6, _figure("start to listening")),
    Goal("memory once it answers", "MiB", 60, _figure("memory once it answers")),
    Goal("`penstock --help`", "s", 0.15, _figure("--help")),
]  # fmt: skip


def spread(values: Iterable[float | None], form: str = ".1f") -> str:
    """Median (least–greatest)."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle, least, most = (format(v, form) for v in (statistics.median(known), min(known), max(known)))
    return middle if least == most else f"{middle} ({least}–{most})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def goals(results: Results, server: str = "penstock") -> str:
    rows = []
    for goal in GOALS:
        values = goal.figure(results, server)
        if values:
            met = "yes" if statistics.median(values) <= goal.limit else "**no**"
            rows.append([goal.text, spread(values, ".3g"), f"≤ {goal.limit:g} {goal.unit}", met])
    return table(["figure", "median (least–greatest)", "goal", "met"], rows) if rows else ""


def scenario_table(results: Results, scenario: str) -> str:
    """One scenario's servers. Times of `direct` are as they are, the others' are what they add to it."""
    servers = list(dict.fromkeys(run.server for run in results.measured if run.scenario == scenario))
    has_direct = "direct" in servers
    rows = []
    for server in servers:
        mine = runs(results, scenario, server)

        def milliseconds(value: Callable[[Measured], float | None], name: str = server) -> str:
            own = [value(run) for run in runs(results, scenario, name)]
            us = own if name == "direct" or not has_direct else added(results, scenario, name, value)
            return spread([None if x is None else x / 1000 for x in us], ".3f")

        served = server != "direct"
        rows.append(
            [
                server,
                spread(map(microseconds_per_token, mine)) if served else "–",
                spread(ratios(results, scenario, server), ".2f") if served else "–",
                spread(map(cpu_share, mine), ".0f") if served else "–",
                spread((100 * run.kernel_share for run in mine), ".0f") if served else "–",
                spread(map(tokens_per_second, mine), ".0f"),
                spread(map(streams_per_second, mine), ".0f") if scenario == "g" else "–",
                milliseconds(age_p50),
                milliseconds(age_p99),
                milliseconds(first_p50),
                milliseconds(first_p99),
                spread((run.memory_peak_kib / 1024 for run in mine), ".0f") if served else "–",
                spread(map(kib_per_stream, mine)) if served and scenario == "f" else "–",
                str(sum(run.load.wrong for run in mine)),
                str(sum(run.load.failed for run in mine)),
            ]
        )
    head = [
        "server", "CPU µs/token", "× nginx", "CPU %", "of it kernel %", "tokens/s", "streams/s", "age p50 ms", "age p99 ms",
        "first p50 ms", "first p99 ms", "peak MiB", "KiB/stream", "wrong", "failed",
    ]  # fmt: skip
    used = [0, *(i for i in range(1, len(head)) if any(row[i] != "–" for row in rows))]
    return table([head[i] for i in used], ([row[i] for i in used] for row in rows))


def figures_of(values: Sequence[float]) -> str:
    """Like `spread`, with three digits that matter."""
    return spread(values, ",.0f" if values and max(values) >= 1000 else ".3g")


def row_table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.columns))
    return table(
        ["", *columns], ([row.label, *(figures_of(row.columns.get(column, [])) for column in columns)] for row in rows)
    )


def faults(results: Results) -> list[str]:
    """Everything that makes a run's figures worthless, one line each."""
    found = []
    for run in results.measured:
        load = run.load
        if run.faulty:
            found.append(
                f"{run.server}, scenario {run.scenario}, round {run.round + 1}: {load.lost} lost, {load.repeated} repeated, "
                f"{load.reordered} reordered, {load.crossed} crossed; {load.failed} of {load.started} streams failed "
                f"({load.unfinished} unfinished) {load.first_failure}".rstrip()
            )
    found += [f"{row.group}, {row.label}: {row.fault}" for row in results.rows if row.fault]
    return found


def remarks(results: Results) -> list[str]:
    """What a reader of the figures has to know, but no fault."""
    found = []
    for run in results.measured:
        where = f"{run.server}, scenario {run.scenario}, round {run.round + 1}"
        if run.restarted:
            found.append(f"{where}: the server {run.restarted} and was started afresh")
        if run.waited_share > WAITED:
            found.append(
                f"{where}: something else had the server's CPU for {run.waited_share:.0%} of the time it was wanted"
            )
        if SCENARIOS[run.scenario].paced and run.upstream_late_us > 1000:
            found.append(
                f"{where}: tokens were sent {run.upstream_late_us / 1000:.1f} ms late on average: the machine was busy"
            )
    return found


def render(results: Results) -> str:
    """The whole report."""
    parts = [results.machine + "\n"]
    if problems := faults(results):
        parts.append("## FAILED: tokens or streams went wrong\n\n" + "\n".join(f"- {line}" for line in problems) + "\n")
    if any(run.server == "penstock" for run in results.measured) or results.figures:
        parts.append("## Goals\n\n" + goals(results))
    if results.absent:
        parts.append("## Left out\n\n" + table(["what", "why"], ([name, why] for name, why in results.absent.items())))
    for letter, scenario in SCENARIOS.items():
        if any(run.scenario == letter for run in results.measured):
            parts.append(f"## {letter}: {scenario.title}\n\n" + scenario_table(results, letter))
    if results.figures:
        rows = [[f.name, spread(f.samples, ".3g"), f.unit, str(len(f.samples))] for f in results.figures]
        parts.append("## Cancel and start\n\n" + table(["figure", "median (least–greatest)", "unit", "samples"], rows))
    parts += [
        f"## {group}\n\n" + row_table([row for row in results.rows if row.group == group])
        for group in dict.fromkeys(row.group for row in results.rows)
    ]
    if notes := remarks(results):
        parts.append("## Remarks\n\n" + "\n".join(f"- {line}" for line in notes) + "\n")
    return "\n".join(parts)
