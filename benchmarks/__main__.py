"""`python -m benchmarks`: run scenarios on direct, nginx and penstock, round by round, and print the tables.

Ends with 0 when every token of every stream came once and in order, with 1 when not, with 2 when it could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import (
    decide,
    drain,
    encode,
    fanout,
    figures,
    hardening,
    harness,
    idle,
    report,
    resume,
    scaling,
    slow,
    where,
)
from benchmarks.rows import Row
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import PENSTOCK, TRANSPORTS, Server, known
from benchmarks.sitting import Sitting

OUT = Path(__file__).parent / "build"
USUAL = "fbceg"
COMPARED = ("direct", "nginx", "penstock")
GROUPS: dict[str, tuple[str, Callable[[Sitting], list[Row]]]] = {
    "transports": ("scenario c over SSE, WebSocket, NDJSON and as text", scaling.transports),
    "idle": ("10,000 idle SSE streams, 10,000 idle WebSockets, 6,000 with an HTTP upstream", idle.idle),
    "fanout": ("one run to 1,000 readers over mixed transports", fanout.fanout),
    "slow": ("200 readers that have stopped reading", slow.slow),
    "hardening": ("slow, dead and numerous clients: what they cost, and when they are gone", hardening.hardening),
    "drain": ("SIGTERM with 500 streams over mixed transports", drain.drain),
    "resume": ("an answer of 2,000 events, read again", resume.resume),
    "streams": ("the same tokens over 10 to 5,000 streams", scaling.streams),
    "lengths": ("answers of 100 to 100,000 tokens", scaling.lengths),
    "where": ("where the CPU time of scenario c goes, by perf", where.where),
    "encode": ("each dialect on each transport, and the log, in-process", encode.encode),
    "decide": ("routing decisions of every kind, in-process", decide.decide),
}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    letters = "\n".join(f"  {letter}  {scenario.title}" for letter, scenario in SCENARIOS.items())
    groups = "\n".join(f"  {name:10}  {title}" for name, (title, _) in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"scenarios:\n{letters}\n\nand on penstock alone:\n{groups}\n\n"
        f"further servers: {', '.join(server.name for server in TRANSPORTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "wanted", nargs="*", metavar="SCENARIOS", help=f"letters, as in {USUAL} (the default), and names from below"
    )
    parser.add_argument("--all", action="store_true", help="every scenario and every name")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--servers", help=f"in order (default: {','.join(COMPARED)}, and those of --peers)")
    parser.add_argument("--peers", type=Path, metavar="FILE", help="a TOML file of further servers to run beside")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="run before everything else on the machine's CPUs, when it is not quiet (root)",
    )
    parser.add_argument("--no-figures", action="store_true", help="leave out cancel and start")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for programs, logs and results (%(default)s)")
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="RESULTS", help="print earlier runs' tables, as one; run nothing"
    )
    args = parser.parse_args(argv)
    args.groups = [name for name in GROUPS if args.all or name in args.wanted]
    args.letters = "".join(SCENARIOS) if args.all else "".join(word for word in args.wanted if word not in GROUPS)
    if not args.letters and not args.groups:
        args.letters = USUAL
    if unknown := set(args.letters) - set(SCENARIOS):
        parser.error(
            f"no scenario {', '.join(sorted(unknown))}; there are {' '.join(SCENARIOS)}, and {', '.join(GROUPS)}"
        )
    return args


def chosen(args: argparse.Namespace, absent: dict[str, str]) -> list[Server]:
    """The servers to run. One that is missing is left out with its reason in `absent`, penstock itself is not."""
    servers = known(args.peers)
    usual = [*COMPARED, *(name for name in servers if name not in known(None))]
    names = args.servers.split(",") if args.servers else usual
    present = []
    for name in names:
        if name not in servers:
            raise harness.Unavailable(f"no server {name}; there are {', '.join(servers)}")
        server = servers[name]
        if not server.missing:
            present.append(server)
        elif server.name.startswith("penstock"):
            raise harness.Unavailable(f"penstock is not installed here; install it with: {server.install}")
        else:
            absent[name] = f"not installed; install it with: {server.install}"
            say(f"without {name}: {absent[name]}")
    return present


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def machine(args: argparse.Namespace) -> str:
    model = "unknown CPU"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} CPUs, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}, "
        f"Python {platform.python_version()}{', real-time priority' if args.realtime else ''}"
    )


def started(
    sitting: Sitting, server: Server, stack: contextlib.ExitStack, absent: dict[str, str]
) -> list[harness.Running]:
    """The server, running; nothing, with the reason in `absent`, when it is one of others' and does not answer."""
    try:
        return [stack.enter_context(sitting.running(server))]
    except harness.Unavailable as problem:
        if server.name in known(None):
            raise
        absent[server.name] = " ".join(str(problem).split())[:300]
        say(f"without {server.name}: {absent[server.name]}")
        return []


def run_rounds(
    args: argparse.Namespace, sitting: Sitting, servers: list[Server], absent: dict[str, str]
) -> tuple[list[harness.Measured], list[figures.Figure]]:
    """The lettered scenarios on all servers, and cancel in the first round."""
    measured: list[harness.Measured] = []
    found: list[figures.Figure] = []
    for number in range(args.rounds if args.letters else 0):
        with contextlib.ExitStack() as stack:
            ready = [
                one
                for server in servers
                if server.name not in absent
                for one in started(sitting, server, stack, absent)
            ]
            # Scenario by scenario, one server right after the other: so the machine's drift touches them alike.
            for letter in (letter for letter in SCENARIOS if letter in args.letters):
                for one in ready:
                    run = harness.measure(one, letter, SCENARIOS[letter], number=number)
                    measured.append(run)
                    cost = report.microseconds_per_token(run)
                    say(
                        f"round {number + 1} {letter} {one.server.name}: {run.load.tokens} tokens, "
                        f"{f'{cost:.1f} µs each' if cost else 'no CPU counted'}, "
                        f"{run.load.wrong} wrong, {run.load.failed} streams failed {run.load.first_failure}".rstrip()
                    )
            if number == 0 and not args.no_figures:
                found += [figure for one in ready if one.server == PENSTOCK for figure in figures.cancel(one)]
    return measured, found


def run_all(args: argparse.Namespace) -> report.Results:
    absent: dict[str, str] = {}
    servers = chosen(args, absent)
    place = harness.place(realtime=args.realtime)
    harness.raise_open_files()
    programs = harness.build(args.out)
    # This process waits where the load is, not where the server works.
    os.sched_setaffinity(0, {place.load})
    rows: list[Row] = []
    with harness.upstream(programs, cpu=place.load) as upstream:
        sitting = Sitting(programs=programs, upstream=upstream, place=place, out=args.out, rounds=args.rounds, say=say)
        measured, found = run_rounds(args, sitting, servers, absent)
        if args.letters and PENSTOCK in servers and not args.no_figures:
            found += figures.start(harness.Running(PENSTOCK, programs, upstream, place, args.out / "start"))
    for name in args.groups:
        # Each on an upstream of its own, whose limit of open files is what this process has by then.
        with harness.upstream(programs, cpu=place.load) as upstream:
            try:
                rows += GROUPS[name][1](dataclasses.replace(sitting, upstream=upstream))
            except harness.Unavailable as problem:
                absent[name] = " ".join(str(problem).split())[:300]
                say(f"without {name}: {absent[name]}")
    return report.Results(machine=machine(args), measured=measured, figures=found, rows=rows, absent=absent)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    if args.table:
        results = report.together([msgspec.json.decode(path.read_bytes(), type=report.Results) for path in args.table])
    else:
        args.out = args.out.resolve()
        try:
            results = run_all(args)
        except harness.Unavailable as missing:
            print(f"benchmarks: {missing}", file=sys.stderr)
            return 2
        (args.out / "results.json").write_bytes(msgspec.json.encode(results))
    text = report.render(results)
    print(text)
    if not args.table:
        (args.out / "report.md").write_text(text)
    ours = known(None)
    wrong = any(run.faulty for run in results.measured if run.server in ours) or any(row.fault for row in results.rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
