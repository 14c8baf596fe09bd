"""`python -m benchmarks`: run the scenarios on direct, nginx and penstock, round by round, and print the tables.

Ends with 0 when every token of every stream came once and in order, with 1 when not, with 2 when it could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import figures, harness, report
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import PENSTOCK, TRANSPORTS, Server, known

OUT = Path(__file__).parent / "build"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    letters = "\n".join(f"  {letter}  {scenario.title}" for letter, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"scenarios:\n{letters}\n\nfurther servers: {', '.join(server.name for server in TRANSPORTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="?", default="".join(SCENARIOS), help="letters (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--servers", default="direct,nginx,penstock", help="in order (default: %(default)s)")
    parser.add_argument("--peers", type=Path, metavar="FILE", help="a TOML file of further servers to run beside")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="run before everything else on the machine's CPUs, when it is not quiet (root)",
    )
    parser.add_argument("--no-figures", action="store_true", help="leave out cancel and start")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for programs, logs and results (%(default)s)")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print an earlier run's tables, run nothing")
    args = parser.parse_args(argv)
    if unknown := set(args.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {' '.join(SCENARIOS)}")
    return args


def chosen(args: argparse.Namespace) -> list[Server]:
    """The servers to run. One that is missing is left out with a word, penstock itself is not."""
    servers = known(args.peers)
    names = args.servers.split(",")
    if args.peers:
        names += [name for name in servers if name not in known(None)]
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
            say(f"without {name}: it is not installed; install it with: {server.install}")
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
        f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} CPUs, Linux {platform.release()}, "
        f"Python {platform.python_version()}{', real-time priority' if args.realtime else ''}"
    )


def run_rounds(args: argparse.Namespace, servers: list[Server]) -> report.Results:
    place = harness.place(realtime=args.realtime)
    harness.raise_open_files()
    programs = harness.build(args.out)
    # This process waits where the load is, not where the server works.
    os.sched_setaffinity(0, {place.load})
    measured: list[harness.Measured] = []
    found: list[figures.Figure] = []
    with harness.upstream(programs, cpu=place.load) as upstream:
        for number in range(args.rounds):
            with contextlib.ExitStack() as running:
                ready = []
                for server in servers:
                    one = harness.Running(server, programs, upstream, place, args.out / server.name)
                    running.callback(one.end)
                    one.start()
                    ready.append(one)
                # Scenario by scenario, one server right after the other: so the machine's drift touches them alike.
                for letter in (letter for letter in SCENARIOS if letter in args.scenarios):
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
        if PENSTOCK in servers and not args.no_figures:
            found += figures.start(harness.Running(PENSTOCK, programs, upstream, place, args.out / "start"))
    return report.Results(machine=machine(args), measured=measured, figures=found)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    if args.table:
        results = msgspec.json.decode(args.table.read_bytes(), type=report.Results)
    else:
        args.out = args.out.resolve()
        try:
            results = run_rounds(args, chosen(args))
        except harness.Unavailable as missing:
            print(f"benchmarks: {missing}", file=sys.stderr)
            return 2
        (args.out / "results.json").write_bytes(msgspec.json.encode(results))
    text = report.render(results)
    print(text)
    if not args.table:
        (args.out / "report.md").write_text(text)
    ours = known(None)
    return 1 if any(run.faulty for run in results.measured if run.server in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
