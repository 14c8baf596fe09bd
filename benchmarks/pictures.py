"""Bar charts of what was measured, as plain SVG.

Nothing behind them and text in a grey that stands out from white and from black: they can be read on a light and on a dark page.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

import msgspec

from benchmarks import report
from benchmarks.harness import Measured
from benchmarks.report import Results

OURS, OTHERS, TEXT, RANGE = "#2f81f7", "#8b949e", "#7d8590", "#db6d28"
WIDTH = 720
LABEL, VALUE = 210, 150
BAR, GAP, TOP = 20, 8, 44


class Bar(msgspec.Struct, frozen=True):
    """One bar: from 0 to the median, with a line from the least to the greatest."""

    label: str
    samples: list[float]
    ours: bool = True


def chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """One chart. Bars that are far longer than the others are cut and say so, so that the others can still be compared."""
    medians = [statistics.median(bar.samples) for bar in bars]
    longest = _scale(medians)
    shown = [max(bar.samples) for bar, middle in zip(bars, medians, strict=True) if middle <= longest]
    full = max(shown, default=longest)
    room = WIDTH - LABEL - VALUE
    height = TOP + len(bars) * (BAR + GAP) + GAP
    said = "; ".join(f"{bar.label} {_number(middle)} {unit}" for bar, middle in zip(bars, medians, strict=True))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">'
    )
    parts = [
        opening,
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>",
        f'<text x="0" y="18" font-size="15" font-weight="600">{escape(title)}</text>',
        f'<text x="0" y="35" font-size="12">{escape(unit)}; shorter is better</text>',
    ]
    for place, (bar, middle) in enumerate(zip(bars, medians, strict=True)):
        y = TOP + place * (BAR + GAP)
        length = room * min(middle / full, 1.0)
        colour = OURS if bar.ours else OTHERS
        parts.append(f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(bar.label)}</text>')
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" fill="{colour}"/>')
        if middle > longest:
            cut = LABEL + room - 24
            parts.append(
                f'<path d="M{cut} {y + BAR + 3}l8 -{BAR + 6}m6 0l-8 {BAR + 6}" stroke="{TEXT}" stroke-width="2" fill="none"/>'
            )
        elif len(bar.samples) > 1:
            least, most = (LABEL + room * edge(bar.samples) / full for edge in (min, max))
            parts.append(f'<path d="M{least:.1f} {y + BAR / 2}H{most:.1f}" stroke="{RANGE}" stroke-width="3"/>')
            parts.append(f'<path d="M{least:.1f} {y + 5}v10M{most:.1f} {y + 5}v10" stroke="{RANGE}" stroke-width="2"/>')
        parts.append(f'<text x="{LABEL + room + 10}" y="{y + 15}">{_number(middle)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _scale(medians: Sequence[float]) -> float:
    """The longest bar to be shown whole: the longest of all, unless it is more than four times the next shorter one."""
    ordered = sorted(medians)
    for longer, shorter in pairwise(reversed(ordered)):
        if longer <= 4 * shorter:
            return longer
    return max(ordered[0], 1e-9)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _by_server(results: Results, letter: str, value: Callable[[Measured], float | None]) -> list[Bar]:
    names = dict.fromkeys(run.server for run in results.measured if run.server != "direct")
    bars = []
    for name in names:
        samples = [found for run in report.runs(results, letter, name) if (found := value(run)) is not None]
        if samples:
            bars.append(Bar(name, samples, name.startswith("penstock")))
    return _ordered(bars)


def _ordered(bars: Iterable[Bar]) -> list[Bar]:
    return sorted(bars, key=lambda bar: statistics.median(bar.samples))


def _rows(results: Results, group: str, column: str) -> list[Bar]:
    return [
        Bar(row.label, row.columns[column]) for row in results.rows if row.group == group and row.columns.get(column)
    ]


def drawn(results: Results) -> dict[str, str]:
    """Every chart there are results for: name → SVG."""
    cost, token = report.microseconds_per_token, "µs of CPU per token"
    charts = {
        "paced": ("500 streams × 50 tokens/s", token, _by_server(results, "c", cost)),
        "unpaced": ("64 streams, as fast as they go", token, _by_server(results, "e", cost)),
        "short": ("Answers of 10 tokens", token, _by_server(results, "g", cost)),
        "memory": ("2,000 streams × 1 token/s", "KiB per stream", _by_server(results, "f", report.kib_per_stream)),
        "streams": (
            "10,000 tokens/s over more and more streams",
            token,
            _rows(results, "streams", "CPU µs per token"),
        ),
        "lengths": ("Longer and longer answers", token, _rows(results, "lengths", "CPU µs per token")),
        "idle": ("Idle streams", "KiB per stream", _rows(results, "idle", "KiB per stream")),
        "encode": (
            "Rendering and encoding one event",
            "ns of CPU per event",
            _rows(results, "encode", "ns per event, one at a time"),
        ),
    }
    return {name: chart(title, unit, bars) for name, (title, unit, bars) in charts.items() if bars}
