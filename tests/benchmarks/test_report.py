"""The report compares within a round, and is loud about a token gone wrong."""

import msgspec
import pytest

from benchmarks.__main__ import main
from benchmarks.figures import Figure
from benchmarks.harness import Cost, LoadResult, Measured, Spread
from benchmarks.report import Results, faults, ratios, render, together
from benchmarks.rows import Row

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


def test_a_goal_that_is_not_met_says_so(results: Results) -> None:
    assert "| c: CPU per token, paced | 2.02 (2–2.05) | ≤ 1.9 × nginx | **no** |" in render(results)


def test_a_goal_that_is_met_says_so(results: Results) -> None:
    twice_as_fast = [
        measured("nginx", number=0, cpu_seconds=0.010),
        measured("penstock", number=0, cpu_seconds=0.011),
    ]
    met = msgspec.structs.replace(results, measured=twice_as_fast)
    assert "| c: CPU per token, paced | 1.1 | ≤ 1.9 × nginx | yes |" in render(met)


def test_sittings_are_put_together_as_further_rounds(results: Results) -> None:
    row = Row(group="idle", label="ten streams", columns={"KiB per stream": [1.0]})
    one = msgspec.structs.replace(results, rows=[row], figures=[Figure("start", "s", [0.1])])
    both = together([one, one])
    assert [run.round for run in both.measured] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert ratios(both, "c", "penstock") == [2.0, 2.05, 2.0, 2.05]
    assert [figure.samples for figure in both.figures] == [[0.1, 0.1]]
    assert [row.columns for row in both.rows] == [{"KiB per stream": [1.0, 1.0]}]


def test_a_row_with_a_fault_fails_the_run(
    results: Results, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row(group="resume", label="2,000 events", columns={"ms": [1.0]}, fault="3 lost")
    table = tmp_path_factory.mktemp("out") / "results.json"
    table.write_bytes(msgspec.json.encode(msgspec.structs.replace(results, rows=[row])))
    assert main(["--table", str(table)]) == 1
    assert "resume, 2,000 events: 3 lost" in capsys.readouterr().out


def test_a_server_that_could_not_be_run_is_named_with_its_reason(results: Results) -> None:
    assert "| portkey | no node |" in render(msgspec.structs.replace(results, absent={"portkey": "no node"}))


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
