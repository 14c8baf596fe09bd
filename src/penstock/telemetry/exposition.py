"""The page that Prometheus reads: what was counted, how things stand, and what the system knows of the process.

`prometheus_client` writes it and is imported when the page is first asked for: a server that nobody scrapes does without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from penstock.core.health import Health
from penstock.core.measure import Attendance, Histogram, Levels
from penstock.telemetry.families import FAMILIES, Family, Labels
from penstock.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector, CollectorRegistry

Values = Mapping[Labels, float | Histogram]
"""Of one family, by labels."""


NO_TARGETS: Mapping[str, Health] = {}


class Exposition:
    """Writes `metrics` and the `levels` of the moment, in the format that an `Accept` header asks for."""

    def __init__(self, metrics: Metrics, version: str, *, targets: Mapping[str, Health] = NO_TARGETS):
        self.metrics = metrics
        self.targets = targets
        """How the targets of models do, by name. Both may change while the server runs."""
        self._version = version
        self._registry: CollectorRegistry | None = None
        self._levels: Levels | None = None

    def __call__(self, levels: Levels, accept: str) -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics for who asks for it, Prometheus text for all others."""
        from prometheus_client.exposition import choose_encoder

        if self._registry is None:
            self._registry = self._made()
        self._levels = levels
        encode, content_type = choose_encoder(accept)
        try:
            return encode(cast("Collector", self._registry)), content_type
        finally:
            self._levels = None

    def _made(self) -> CollectorRegistry:
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(cast("Collector", self))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        return registry

    def collect(self) -> Iterator[Metric]:
        """For the registry: every family that has a value."""
        if self._levels is None:
            return
        found = {**counted(self.metrics), **standing(self._levels, self.metrics), **doing(self.targets)}
        found["penstock_build_info"] = {(self._version,): 1.0}
        for name, family in FAMILIES.items():
            if name in found:
                yield _metric(family, found[name])


def counted(metrics: Metrics) -> dict[str, Values]:
    """What an observer has counted, by family. A counter without labels is there from the first moment, as 0."""
    found: dict[str, Values] = dict(metrics.histograms)
    for name, counts in metrics.counters.items():
        found[name] = counts if counts or FAMILIES[name].labels else {(): 0.0}
    return found


def doing(targets: Mapping[str, Health]) -> dict[str, Values]:
    """How the targets do that have been asked."""
    now = time.monotonic()
    asked = {name: health for name, health in targets.items() if health.in_flight or any(health.outcomes.values())}
    return {
        "penstock_target_attempts_total": {
            (name, outcome): times for name, health in asked.items() for outcome, times in health.outcomes.items()
        },
        "penstock_target_in_flight": {(name,): health.in_flight for name, health in asked.items()},
        "penstock_target_resting": {(name,): not health.admits(now) for name, health in asked.items()},
        "penstock_target_first_token_seconds": {
            (name,): health.wait for name, health in asked.items() if health.wait is not None
        },
        "penstock_target_tokens_per_second": {
            (name,): health.pace for name, health in asked.items() if health.pace is not None
        },
    }


def standing(levels: Levels, metrics: Metrics) -> dict[str, Values]:
    """What can only be asked at the moment itself."""
    attending, delivered = levels.attending, levels.delivered

    def each(of: Callable[[Attendance], float]) -> dict[Labels, float]:
        # Every transport that was ever read over, so that a gauge falls to 0 rather than out of sight.
        return {(name,): of(attending.get(name, _NOBODY)) for name in delivered}

    begun = {transport for _, transport, _ in metrics.counters["penstock_streams_started_total"]}
    found: dict[str, Values] = {
        "penstock_streams_active": {(name,): levels.live.get(name, 0) for name in begun},
        "penstock_streams_held": {(): levels.held},
        "penstock_stream_kept_bytes": {(): levels.kept},
        "penstock_stream_events_total": {(): levels.events},
        "penstock_stream_said_bytes_total": {(): levels.said},
        "penstock_readers": each(lambda of: of.readers),
        "penstock_stream_queue_depth": each(lambda of: of.owed_events),
        "penstock_stream_queue_bytes": each(lambda of: of.owed_bytes),
        "penstock_stream_queue_bytes_max": each(lambda of: of.most_owed),
        "penstock_reader_events_total": {
            (name,): past.events + attending.get(name, _NOBODY).taken for name, past in delivered.items()
        },
        "penstock_reader_first_event_seconds": {(name,): past.firsts for name, past in delivered.items()},
        "penstock_reader_event_gap_seconds": {(name,): past.gaps for name, past in delivered.items()},
        "penstock_merged_deltas_total": {(name,): past.merged for name, past in delivered.items()},
        "penstock_replayed_bytes_total": {(name,): past.replayed for name, past in delivered.items()},
        "penstock_tasks": {(): levels.tasks},
        "penstock_shedding": {(): levels.shedding},
        "penstock_leaving": {(): levels.leaving},
    }
    if levels.connections is not None:
        found["penstock_connections"] = {(): levels.connections}
    if levels.memory is not None:
        used, limit = levels.memory
        found["penstock_memory_bytes"] = {(): used}
        found["penstock_memory_limit_bytes"] = {(): limit}
    return found


_NOBODY = Attendance()


def _metric(family: Family, found: Values) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == "histogram":
        histograms = HistogramMetricFamily(family.name, family.about, labels=family.labels)
        for labels, value in found.items():
            assert isinstance(value, Histogram)  # noqa: S101 - the kind of the family says so
            histograms.add_metric(labels, list(_buckets(value)), value.total)
        return histograms
    counter = family.kind == "counter"
    kind, name = (
        (CounterMetricFamily, family.name.removesuffix("_total")) if counter else (GaugeMetricFamily, family.name)
    )
    simple = kind(name, family.about, labels=family.labels)
    for labels, value in found.items():
        assert not isinstance(value, Histogram)  # noqa: S101 - the kind of the family says so
        simple.add_metric(labels, value)
    return simple


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Each edge with how many values were at most that, as Prometheus counts them."""
    below = 0
    for edge, count in zip((*histogram.edges, float("inf")), histogram.counts, strict=True):
        below += count
        yield "+Inf" if edge == float("inf") else repr(float(edge)), below
