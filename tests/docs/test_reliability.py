"""The page on reliability promises nothing that no test shows: every line of its tables names one that exists."""

import ast
import re

from tests.tools import ROOT

PAGE = ROOT / "docs" / "explanation" / "reliability.md"
ROW = re.compile(r"^\| (?!---).+ \| .+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)
HEAD = "| what happens | what is promised | shown by |"
FIGURES = "## Figures"


def test_every_promise_names_a_test_that_is_there() -> None:
    promises, _, _ = PAGE.read_text().partition(FIGURES)
    named = ROW.findall(promises)
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file()
        or test not in {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
    ]
    assert missing == []
    lines = [line for line in promises.splitlines() if line.startswith("| ")]
    assert len(named) == len(lines) - 2 * lines.count(HEAD)
