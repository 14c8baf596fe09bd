"""`examples/routing`: every request goes where its label says, and a label that is wrong is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli import main
from tests.tools import ROOT

EXAMPLE = ROOT / "examples" / "routing"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, to run in."""
    copy = tmp_path / "routing"
    shutil.copytree(EXAMPLE, copy)
    monkeypatch.chdir(copy)
    return copy


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "--route", "requests.jsonl", *arguments])


def test_every_labelled_request_goes_where_its_label_says(folder: Path) -> None:
    labelled = [json.loads(line) for line in (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(labelled) >= 60
    assert {line["expect"] for line in labelled} == {"small", "coder", "wide", "large", None}
    done = check()
    assert [line for line in done.output.splitlines() if line.startswith("WRONG")] == []
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, f"{len(labelled)} requests, all as labelled")


def test_every_rule_of_the_example_decides_something(folder: Path) -> None:
    rules = (folder / "penstock.toml").read_text(encoding="utf-8").count("[[models.assistant.rule]]")
    said = check().output
    assert [number for number in range(1, rules + 1) if f"  rule {number}: " not in said] == []


def test_a_request_that_goes_elsewhere_is_marked_and_fails_the_check(folder: Path) -> None:
    line = {
        "name": "mine",
        "expect": "wide",
        "request": {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]},
    }
    (folder / "requests.jsonl").write_text(json.dumps(line) + "\n")
    done = check()
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "WRONG  mine  → small  no rule holds (expected wide)",
        "1 request, 1 elsewhere than labelled",
    ]


def test_a_file_without_requests_is_no_file_of_which_all_are_as_labelled(folder: Path) -> None:
    (folder / "requests.jsonl").write_text("\n")
    done = check()
    assert (done.exit_code, done.output.startswith("error: requests.jsonl: there is no request in it")) == (1, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "requests.jsonl:1: "),
        ('{"expect": "small"}', "missing required field `request`"),
        ('{"expect": "smal", "request": {"model": "assistant", "messages": [{"role": "user", "content": "x"}]}}',
         "'assistant' has no target 'smal'; there is small, coder, wide, large"),
        ('{"expect": "small", "request": {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}}',
         "no model is called 'nobody'"),
        ('{"expect": "demo", "request": {"model": "demo", "messages": [{"role": "user", "content": "x"}]}}',
         "'demo' has one target; there is nothing to choose"),
        ('{"expect": "small", "hint": "quick", "request": {"model": "assistant", "messages": [{"role": "user", "content": "x"}]}}',
         "the header Penstock-Route: 'quick' is none of what this model knows: fast, cheap, best, local, small"),
        ('{"expect": "small", "request": {"model": "assistant", "messages": []}}', "'messages' must be a list"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_labelled_request_is_named_by_its_number(folder: Path, line: str, said: str) -> None:
    (folder / "requests.jsonl").write_text(line + "\n")
    done = check()
    assert done.exit_code == 1
    assert "requests.jsonl:1: " in done.output
    assert said in done.output
