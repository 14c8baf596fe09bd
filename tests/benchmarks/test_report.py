"""The report compares within a round, and is loud about a token gone wrong."""

import msgspec
import pytest

from benchmarks.__main__ import main
from benchmarks.harness import Cost, LoadResult, Measured, Spread
from benchmarks.report import Results, faults, ratios, render

SPREAD = Spread(count=1, p50=100, p90=100, p99=100, p999=100, max=100)


def measured(server: str, *, number: int, cpu_seconds: float | None, lost: int = 0) -> Measured:
    cost = Cost(seconds=1.0, tokens=1000, finished=0, cpu_seconds=cpu_seconds)
    names = [field.name for field in msgspec.structs.fields(LoadResult)]
    counters = dict.fromkeys(names, 0) | {"first_failure": "", "started": 10, "finished": 10, "lost": lost}
    load = msgspec.convert(
        counters | {"age_us": SPREAD, "first_us": SPREAD, "steady": cost, "whole": cost},
        LoadResult,
        from_attributes=True,
    )
    return Measured(
        round=number,
        scenario="c",
        server=server,
        load=load,
        memory_before_kib=0,
        memory_peak_kib=0,
        upstream_late_us=0.0,
        waited_share=0.0,
    )


@pytest.fixture
def results() -> Results:
    """A machine that was half as fast in the second round."""
    return Results(
        machine="a machine",
        measured=[
            measured("nginx", number=0, cpu_seconds=0.010),
            measured("penstock", number=0, cpu_seconds=0.020),
            measured("nginx", number=1, cpu_seconds=0.020),
            measured("penstock", number=1, cpu_seconds=0.041),
        ],
    )


def test_a_ratio_is_of_two_runs_of_one_round(results: Results) -> None:
    assert ratios(results, "c", "penstock") == [2.0, 2.05]


def test_a_round_without_its_partner_gives_no_ratio(results: Results) -> None:
    alone = msgspec.structs.replace(results, measured=results.measured[1:])
    assert ratios(alone, "c", "penstock") == [2.05]


def test_a_goal_that_is_met_says_so(results: Results) -> None:
    assert "| c: CPU per token, paced | 2.02 (2–2.05) | ≤ 2.6 × nginx | yes |" in render(results)


def test_a_sound_run_has_no_faults(results: Results) -> None:
    assert faults(results) == []
    assert "FAILED" not in render(results)


def test_a_lost_token_stands_first_and_fails_the_run(
    results: Results, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = measured("penstock", number=1, cpu_seconds=0.02, lost=3)
    table = tmp_path_factory.mktemp("out") / "results.json"
    table.write_bytes(msgspec.json.encode(msgspec.structs.replace(results, measured=[*results.measured, bad])))
    assert main(["--table", str(table)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed.splitlines()[2]
    assert "penstock, scenario c, round 2: 3 lost" in printed


def test_a_peers_fault_is_shown_but_is_not_ours(
    results: Results, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = measured("somebody else", number=1, cpu_seconds=0.02, lost=3)
    table = tmp_path_factory.mktemp("out") / "results.json"
    table.write_bytes(msgspec.json.encode(msgspec.structs.replace(results, measured=[*results.measured, bad])))
    assert main(["--table", str(table)]) == 0
    assert "somebody else, scenario c, round 2: 3 lost" in capsys.readouterr().out
