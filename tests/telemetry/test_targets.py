"""What is told of the targets behind a model: how they were asked, whether they rest, and what answers cost."""

from __future__ import annotations

from penstock.core.account import summed
from penstock.core.errors import fault
from penstock.core.events import Cancelled, Finished, Spent, Usage
from penstock.core.health import Health
from penstock.core.observer import Origin
from penstock.core.request import Principal
from penstock.telemetry.exposition import counted, doing
from penstock.telemetry.metrics import Metrics
from tests.flow.scripted import ASKED

ORIGIN = Origin("/v1/streams", "sse", "acme")


def told(*usages: Usage) -> Metrics:
    """Runs with these accounts."""
    metrics = Metrics({"demo"})
    for number, usage in enumerate(usages):
        metrics.run_started(f"st_{number}", ASKED, Principal(), ORIGIN)
        metrics.first_word(f"st_{number}", 0.1)
        metrics.tokens_counted(f"st_{number}", usage)
        end = Finished() if usage.grade == "reported" else Cancelled("client")
        metrics.run_ended(f"st_{number}", end, 1.0, 5)
        if isinstance(end, Cancelled):
            metrics.source_stopped(f"st_{number}", end, 0.01)
    return metrics


def test_attempts_are_counted_by_how_they_ended() -> None:
    health = Health()
    for _ in range(4):
        health.asked(0.0)
    health.answered(5, 1.0)
    health.failed(fault("provider_error"), 0.0)
    health.left()
    found = doing({"a": health, "never asked": Health()})
    assert found["penstock_target_attempts_total"] == {
        ("a", "answered"): 1, ("a", "failed"): 1, ("a", "given_up"): 1,
    }  # fmt: skip
    assert found["penstock_target_in_flight"] == {("a",): 1}
    assert found["penstock_target_resting"] == {("a",): False}


def test_how_fast_a_target_is_can_be_watched() -> None:
    health = Health()
    health.asked(0.0)
    assert doing({"a": health})["penstock_target_first_token_seconds"] == {}
    health.first(0.25)
    health.answered(41, 2.0)
    found = doing({"a": health})
    assert found["penstock_target_first_token_seconds"] == {("a",): 0.25}
    assert found["penstock_target_tokens_per_second"] == {("a",): 20.0}


def test_why_a_target_was_chosen_is_counted() -> None:
    metrics = Metrics()
    for target, why in (("a", "order"), ("b", "a failed"), ("a", "order")):
        metrics.target_chosen("st_1", target, why)
    assert counted(metrics)["penstock_target_choices_total"] == {("a", "order"): 2, ("b", "a failed"): 1}


def test_a_target_that_rests_is_shown_to() -> None:
    health = Health()
    for _ in range(5):
        health.asked(0.0)
        health.failed(fault("provider_error"), 10.0**9)
    assert doing({"a": health})["penstock_target_resting"] == {("a",): True}


def test_only_what_a_provider_reported_is_its_account_and_the_rest_is_counted_apart() -> None:
    found = counted(told(Usage(10, 5, "reported"), Usage(7, 3, "counted")))
    usage = found["gen_ai_client_token_usage"]
    assert {labels[-1]: value.total for labels, value in usage.items() if not isinstance(value, float)} == {
        "input": 10, "output": 5,
    }  # fmt: skip
    assert found["penstock_counted_tokens_total"] == {("demo", "input"): 7, ("demo", "output"): 3}


def test_what_is_learnt_while_a_source_closes_replaces_what_was_counted() -> None:
    metrics = Metrics({"demo"})
    metrics.run_started("st_1", ASKED, Principal(), ORIGIN)
    metrics.tokens_counted("st_1", Usage(7, 3, "counted"))
    metrics.run_ended("st_1", Cancelled("client"), 1.0, 5)
    metrics.tokens_counted("st_1", Usage(10, 9, "drained"))
    metrics.source_stopped("st_1", Cancelled("client"), 0.5)
    found = counted(metrics)
    assert found["penstock_counted_tokens_total"] == {}
    usage = found["gen_ai_client_token_usage"]
    assert {labels[-1]: value.total for labels, value in usage.items() if not isinstance(value, float)} == {
        "input": 10, "output": 9,
    }  # fmt: skip


def test_what_is_learnt_of_a_cancelled_run_replaces_what_was_reported_at_its_beginning_and_what_was_never_said() -> (
    None
):
    metrics = Metrics({"demo"})
    for run, early in (("st_1", Usage(10, 1, "reported")), ("st_2", None)):
        metrics.run_started(run, ASKED, Principal(), ORIGIN)
        if early is not None:
            metrics.tokens_counted(run, early)
        metrics.run_ended(run, Cancelled("client"), 1.0, 5)
        metrics.tokens_counted(run, Usage(10, 9, "drained"))
        metrics.source_stopped(run, Cancelled("client"), 0.5)
    usage = counted(metrics)["gen_ai_client_token_usage"]
    assert {labels[-1]: value.total for labels, value in usage.items() if not isinstance(value, float)} == {
        "input": 20, "output": 18,
    }  # fmt: skip


def test_of_several_attempts_each_is_counted_as_well_as_it_is_known() -> None:
    both = summed([Spent("a", Usage(7, 3, "counted")), Spent("b", Usage(10, 5, "reported"))])
    metrics = Metrics({"demo"})
    metrics.run_started("st_1", ASKED, Principal(), ORIGIN)
    metrics.tokens_counted("st_1", both)
    metrics.run_ended("st_1", Finished(), 1.0, 5)
    found = counted(metrics)
    assert found["penstock_counted_tokens_total"] == {("demo", "input"): 7, ("demo", "output"): 3}
    usage = found["gen_ai_client_token_usage"]
    assert {labels[-1]: value.total for labels, value in usage.items() if not isinstance(value, float)} == {
        "input": 10, "output": 5,
    }  # fmt: skip


def test_what_answers_cost_is_added_up() -> None:
    found = counted(told(Usage(1, 1, "reported", cost=0.5), Usage(1, 1, "counted", cost=0.25), Usage(1, 1, "reported")))
    assert found["penstock_cost_total"] == {("demo",): 0.75}
