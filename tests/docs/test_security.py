"""The page on security promises nothing that no test shows: every line of its table names one that exists."""

import ast
import re

from tests.tools import ROOT

PAGE = ROOT / "docs" / "explanation" / "security.md"
ROW = re.compile(r"^\| (?!threat|---).+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


def test_every_promise_names_a_test_that_is_there() -> None:
    named = ROW.findall(PAGE.read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file()
        or test not in {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
    ]
    assert missing == []
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(named) == len(rows) - 2
