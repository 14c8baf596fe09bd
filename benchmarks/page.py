"""Writes what was measured into the page that explains it: `python -m benchmarks.page results.json …`.

Each `<!-- measured: NAME -->` … `<!-- end -->` of the page gets the table of that name; the rest of the page is written by hand. A
table without results stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import pictures, report
from benchmarks.report import Results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/explanation/performance.md"
ASSETS = ROOT / "docs/assets"
MARKED = re.compile(r"(<!-- measured: ([a-z]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def servers(results: Results) -> str:
    """Every server that ran: CPU per token, alone and beside nginx, memory, and what it adds to the first token."""
    names = [name for name in dict.fromkeys(run.server for run in results.measured) if name != "direct"]
    rows = []
    for name in names:
        row = [name]
        for letter in "ceg":
            row.append(report.spread(map(report.microseconds_per_token, report.runs(results, letter, name))))
            row.append(report.spread(report.ratios(results, letter, name), ".2f"))
        row.append(report.spread(map(report.kib_per_stream, report.runs(results, "f", name))))
        row.append(report.spread([us / 1000 for us in report.added(results, "b", name, report.first_p50)], ".2f"))
        row.append(str(sum(run.load.wrong for run in results.measured if run.server == name)))
        row.append(str(sum(run.load.failed for run in results.measured if run.server == name)))
        rows.append(row)
    if not rows:
        return ""
    head = [
        "server", "c: paced, µs/token", "× nginx", "e: unpaced, µs/token", "× nginx", "g: short answers, µs/token", "× nginx",
        "f: KiB/stream", "b: first token added, ms", "wrong tokens", "failed streams",
    ]  # fmt: skip
    return report.table(head, rows)


def machine(results: Results) -> str:
    return results.machine + "\n"


def goals(results: Results) -> str:
    return report.goals(results)


def figures(results: Results) -> str:
    rows = [[f.name, report.spread(f.samples, ".3g"), f.unit, str(len(f.samples))] for f in results.figures]
    return report.table(["figure", "median (least–greatest)", "unit", "samples"], rows) if rows else ""


def absent(results: Results) -> str:
    rows = [[name, why] for name, why in results.absent.items()]
    return report.table(["left out", "why"], rows) if rows else "Nothing was left out.\n"


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine,
    "goals": goals,
    "servers": servers,
    "figures": figures,
    "absent": absent,
}


def tables(results: Results, name: str) -> str:
    if name in TABLES:
        return TABLES[name](results)
    rows = [row for row in results.rows if row.group == name]
    return report.row_table(rows) if rows else ""


def filled(page: str, results: Results) -> str:
    """The page with every table there are results for."""

    def fill(found: re.Match[str]) -> str:
        text = tables(results, found[2])
        return f"{found[1]}\n{text}\n{found[4]}" if text else found[0]

    return MARKED.sub(fill, page)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one or more sittings")
    args = parser.parse_args(argv)
    results = report.together([msgspec.json.decode(path.read_bytes(), type=Results) for path in args.results])
    if faults := report.faults(results):
        print("\n".join(faults), file=sys.stderr)
    PAGE.write_text(filled(PAGE.read_text(), results))
    ASSETS.mkdir(exist_ok=True)
    for name, picture in pictures.drawn(results).items():
        (ASSETS / f"{name}.svg").write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
