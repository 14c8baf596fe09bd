"""The Grafana dashboard asks for metrics that exist, by labels that they have; and every metric is on it, and documented."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from penstock.telemetry.families import FAMILIES, Family
from tests.tools import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "penstock.json"
GUIDE = ROOT / "docs" / "howto" / "metrics.md"
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"

SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"[^"]*"')
GROUPED = re.compile(r"(?:sum|max|min|avg|count) by \(([^)]*)\)")
WORD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
SPOKEN = {"avg_over_time", "sum", "max", "min", "by", "rate", "increase", "histogram_quantile", "label_values"}
"""What PromQL calls its own, of all that the dashboard uses."""
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to whatever it scrapes."""


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """(panel, expression) of every query, those of the variables too."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def process_metrics() -> set[str]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


def family_of(name: str) -> Family | None:
    """The family a sample belongs to, where it has the suffix that its kind has and no other."""
    whole = FAMILIES.get(name)
    if whole is not None:
        return whole if whole.kind != "histogram" else None
    base, _, suffix = name.rpartition("_")
    family = FAMILIES.get(base)
    return family if family and family.kind == "histogram" and suffix in ("bucket", "sum", "count") else None


def alerts() -> Iterator[tuple[str, str]]:
    """(alert, expression) of every rule in the guide."""
    for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        for group in yaml.safe_load(block).get("groups", []):
            for rule in group["rules"]:
                yield rule["alert"], rule["expr"]


def test_every_query_asks_for_what_there_is_by_labels_it_has() -> None:
    everything = [*queries(), *alerts()]
    assert len(everything) > len(FAMILIES)
    for panel, query in everything:
        check(panel, query)


def check(panel: str, query: str) -> None:
    known: set[str] = set(SCRAPED)
    for name, matchers in SELECTOR.findall(query):
        family = family_of(name)
        assert family is not None or name in process_metrics(), f"{panel}: no metric is called {name}"
        labels = {*(family.labels if family else ()), *SCRAPED}
        if name.endswith("_bucket"):
            labels.add("le")
        known |= labels
        assert {label for label, _ in MATCHER.findall(matchers)} <= labels
    for grouping in GROUPED.findall(query):
        assert {label.strip() for label in grouping.split(",")} <= known, panel
    # What is left without selectors, groups, strings and windows are PromQL's own words.
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\{[^}]*\}', " ", GROUPED.sub(" ", SELECTOR.sub(" ", query)))
    words = set(WORD.findall(re.sub(r"\b\d\S*", " ", bare))) - SPOKEN - SCRAPED
    assert words - set(FAMILIES) == set(), panel


def test_a_counter_is_never_shown_as_it_is() -> None:
    for panel, query in queries():
        for name, _ in SELECTOR.findall(query):
            family = family_of(name)
            if family is not None and (family.kind == "counter" or name.endswith(("_bucket", "_sum", "_count"))):
                assert re.search(rf"(?:rate|increase)\({name}\{{", query), f"{panel}: {name}"


def test_every_label_in_a_legend_is_one_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            kept = {label.strip() for group in GROUPED.findall(target["expr"]) for label in group.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_every_metric_is_on_the_dashboard() -> None:
    asked = {name for _, query in queries() for name in WORD.findall(query)}
    missing = [name for name in FAMILIES if not asked & {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}]
    assert missing == []


def test_panels_lie_side_by_side_within_the_page_and_have_ids_of_their_own() -> None:
    seen: set[tuple[int, int]] = set()
    everything = dashboard()["panels"]
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert seen & cells == set(), panel["title"]
        seen |= cells
    assert len({panel["id"] for panel in everything}) == len(everything)


def test_every_metric_is_documented_with_its_labels() -> None:
    page = REFERENCE.read_text()
    for family in FAMILIES.values():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{family.name}` |")]
        assert [f"`{label}`" in line for label in family.labels] == [True] * len(family.labels)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_is_named_as_prometheus_wants_it(family: Family) -> None:
    """prometheus.io/docs/practices/naming: base units, and `_total` for what only grows."""
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert (family.edges != ()) == (family.kind == "histogram")
    assert list(family.edges) == sorted(set(family.edges))
    assert family.about.endswith(".")
    assert not re.search(r"_(ms|milliseconds|kb|mb|minutes)(_|$)", family.name)
