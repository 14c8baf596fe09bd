"""What the observer counts, point by point, and that a histogram is Prometheus's own in fewer words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Theirs

from penstock.core.errors import TABLE, fault
from penstock.core.events import Cancelled, Failed, Fault, Finished, Terminal, Usage
from penstock.core.measure import MOMENTS, Histogram, Levels
from penstock.core.observer import Observer, Origin, Several
from penstock.core.request import ChatRequest, Principal
from penstock.telemetry.exposition import Exposition
from penstock.telemetry.families import OTHER
from penstock.telemetry.loop_lag import HELD
from penstock.telemetry.metrics import Metrics
from tests.telemetry.pages import Page

RUN = "st_k5xw2mq7z4c3ab6nd5pe2rf7ys"
NOTHING = Levels(live={}, held=0, kept=0, events=0, said=0, attending={}, delivered={})


def page(metrics: Metrics) -> Page:
    return Page(Exposition(metrics, "1.2.3")(NOTHING, "")[0].decode())


def begun(metrics: Metrics, model: str = "known") -> None:
    origin = Origin("/v1/chat/completions", "sse", "openai")
    metrics.run_started(RUN, ChatRequest(model=model, messages=()), Principal(), origin)


@pytest.mark.parametrize(
    ("terminal", "outcome", "code"),
    [
        (Finished(), "completed", ""),
        (Cancelled("client"), "cancelled", ""),
        (Cancelled("server"), "cancelled", ""),
        (Cancelled("disconnect"), "client_gone", ""),
        (Cancelled("grace"), "client_gone", ""),
        (Failed(fault("provider_truncated")), "upstream_error", "provider_truncated"),
        (Failed(fault("gap_timeout")), "upstream_error", "gap_timeout"),
        (Failed(fault("source_failed")), "server_error", "source_failed"),
        (Failed(fault("interrupted")), "interrupted", "interrupted"),
        (Failed(fault("cancelled")), "client_error", "cancelled"),
        (Failed(Fault("made_up", "by a source", False)), "upstream_error", OTHER),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_end_has_one_outcome_and_its_error_type(terminal: Terminal, outcome: str, code: str) -> None:
    metrics = Metrics(["known"])
    begun(metrics)
    metrics.run_ended(RUN, terminal, 2.0, 5)
    shown = page(metrics)
    labels = {"route": "/v1/chat/completions", "transport": "sse", "model": "known"}
    assert shown.samples["penstock_streams_total"] == [({**labels, "outcome": outcome}, 1)]
    assert shown.sum("gen_ai_client_operation_duration_seconds_sum", error_type=code) == 2
    assert shown.sum("penstock_stream_failures_total", code=code) == isinstance(terminal, Failed)


def test_every_code_of_the_table_has_an_outcome() -> None:
    outcomes = set()
    for code in TABLE:
        metrics = Metrics()
        begun(metrics)
        metrics.run_ended(RUN, Failed(fault(code)), 1.0, 1)
        outcomes |= page(metrics).values("penstock_streams_total", "outcome")
    assert outcomes == {"upstream_error", "server_error", "client_error", "interrupted"}


def test_tokens_are_counted_once_as_the_last_account_has_them() -> None:
    metrics = Metrics(["known"])
    begun(metrics)
    metrics.first_word(RUN, 0.5)
    metrics.tokens_counted(RUN, Usage(10, 1, "reported"))
    metrics.tokens_counted(RUN, Usage(10, 11, "reported"))
    metrics.run_ended(RUN, Finished(), 2.5, 13)
    shown = page(metrics)
    assert shown.sum("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 10
    assert shown.sum("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 11
    assert shown.sum("gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.2)
    assert shown.sum("gen_ai_client_operation_time_to_first_chunk_seconds_sum") == 0.5


def test_tokens_that_nobody_vouches_for_are_not_reported() -> None:
    """As the conventions demand: a guess is no figure."""
    metrics = Metrics(["known"])
    begun(metrics)
    metrics.tokens_counted(RUN, Usage(10, 11, "counted"))
    metrics.run_ended(RUN, Finished(), 2.5, 13)
    assert "gen_ai_client_token_usage_count" not in page(metrics).samples


def test_a_model_that_no_configuration_names_is_one_of_the_others() -> None:
    metrics = Metrics(["known"])
    for number in range(50):
        begun(metrics, f"invented-{number}")
        metrics.run_ended(RUN, Finished(), 1.0, 1)
    shown = page(metrics)
    assert shown.values("penstock_streams_total", "model") == {OTHER}
    assert shown.sum("penstock_streams_total", model=OTHER) == 50


def test_a_late_loop_is_measured_and_a_hold_of_it_counted() -> None:
    metrics = Metrics()
    for seconds in (0.0, HELD, HELD + 0.01):
        metrics.lagged(seconds)
    shown = page(metrics)
    assert shown.sum("penstock_loop_lag_seconds_count") == 3
    assert shown.sum("penstock_loop_holds_total") == 1


@given(st.lists(st.floats(0, 100) | st.sampled_from(MOMENTS)))
def test_a_histogram_is_that_of_prometheus(values: list[float]) -> None:
    ours, registry = Histogram(), CollectorRegistry()
    theirs = Theirs("h", "h", buckets=MOMENTS, registry=registry)
    for value in values:
        ours.add(value)
        theirs.observe(value)
    counted = [registry.get_sample_value("h_bucket", {"le": str(edge)}) for edge in (*MOMENTS, "+Inf")]
    assert [sum(ours.counts[: place + 1]) for place in range(len(ours.counts))] == counted
    assert ours.total == registry.get_sample_value("h_sum")


class Noting(Observer):
    def __init__(self, name: str, notes: list[str]):
        self._name = name
        self._notes = notes

    def run_forgotten(self, run: str, share: float) -> None:
        self._notes.append(f"{self._name} {run} {share}")


def test_several_observers_are_told_in_their_order_also_one_that_is_several() -> None:
    notes: list[str] = []
    several = Several(Noting("a", notes), Several(Noting("b", notes), Noting("c", notes)), Observer())
    several.run_forgotten(RUN, 0.5)
    several.refused("overloaded", "")
    assert notes == [f"{name} {RUN} 0.5" for name in "abc"]


def test_a_point_that_nobody_watches_is_told_to_nobody() -> None:
    assert Several().connection_refused("full") is None  # type: ignore[func-returns-value]
    metrics = Metrics()
    Several(metrics, Observer()).connection_refused("full")
    assert page(metrics).sum("penstock_connections_refused_total", cause="full") == 1
