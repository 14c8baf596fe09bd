"""The pytest plug-in that keeps the book of skips: `@pytest.mark.needs("nginx")` and the list of inherent skips.

A missing tool skips the test and names the command that brings it. Under `CI=true` or `TEST_STRICT=1` it fails
the session, as does any skip that `tests/inherent_skips.txt` does not expect. An entry of that list which no longer
happens fails every session that could have seen it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import InvalidMarker, Marker

from tests.tools import TOOLS

INHERENT_SKIPS = Path("tests", "inherent_skips.txt")
MISSING = "missing tool"


@dataclass(frozen=True)
class Expected:
    """One line of the list: tests that cannot run here, whatever is installed, and why."""

    pattern: str
    reason: str

    def matches(self, test: str) -> bool:
        return re.fullmatch(re.escape(self.pattern).replace(r"\*", ".*"), test) is not None


def read_inherent_skips(path: Path) -> list[Expected]:
    """Read `test::id*  ; sys_platform == "darwin"  # reason` lines; the marker (PEP 508) may be left out.

    Lines whose marker does not hold on this Python and system are left out. Raises `pytest.UsageError` naming the line
    that cannot be read.
    """
    expected = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        entry, _, reason = line.partition("  # ")
        pattern, _, marker = entry.partition("  ; ")
        if not reason.strip():
            raise pytest.UsageError(f"{path}:{number}: say why after two spaces and '# '")
        try:
            holds = not marker.strip() or Marker(marker).evaluate()
        except InvalidMarker as error:
            raise pytest.UsageError(f"{path}:{number}: {error}") from None
        if holds:
            expected.append(Expected(pattern.strip(), reason.strip()))
    return expected


@cache
def is_missing(tool: str) -> bool:
    """Looked up once per process: a tool does not come and go while the tests run."""
    return not TOOLS[tool].found()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*tools): what the test needs beside Python; see tests/tools.py")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skips(config), "skips")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            for unknown in set(mark.args) - set(TOOLS):
                raise pytest.UsageError(f"{item.nodeid}: needs({unknown!r}): the known tools are {', '.join(TOOLS)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if is_missing(tool):
                item.user_properties.append((MISSING, tool))
                pytest.skip(f"needs {tool}: {TOOLS[tool].command()}")


class Skips:
    """Watches one session from its controlling process and gives the verdict at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self.strict = os.environ.get("CI") == "true" or os.environ.get("TEST_STRICT") == "1"
        self.expected = read_inherent_skips(config.rootpath / INHERENT_SKIPS)
        options = config.option
        narrowed = options.keyword or options.markexpr or options.deselect or options.ignore or options.ignore_glob
        self.whole = config.args_source is not pytest.Config.ArgsSource.ARGS and not narrowed
        self.missing: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        self.ran: set[str] = set()
        self.faults: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped[report.nodeid] = _reason(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tools = [str(value) for name, value in report.user_properties if name == MISSING]
        if report.skipped and not hasattr(report, "wasxfail"):
            if tools:
                self.missing[tools[0]] = self.missing.get(tools[0], 0) + 1
            else:
                self.skipped[report.nodeid] = _reason(report)
        elif report.when == "call":
            self.ran.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        stopped = bool(session.shouldstop or session.shouldfail)
        self.faults = list(self._faults(whole=self.whole and not stopped))
        if self.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.missing and not self.strict:
            terminalreporter.section("skipped for want of a tool", cyan=True)
            for tool, count in sorted(self.missing.items()):
                terminalreporter.line(f"{tool} ({count} tests): {TOOLS[tool].command()}")
        if self.faults:
            terminalreporter.section("skips that fail the session", red=True)
            for fault in self.faults:
                terminalreporter.line(fault)

    def _faults(self, *, whole: bool) -> Iterator[str]:
        if self.strict:
            for tool, count in sorted(self.missing.items()):
                if not (TOOLS[tool].granted and not TOOLS[tool].packages()):
                    yield f"{tool} is missing ({count} tests): {TOOLS[tool].command()}"
            for test, reason in sorted(self.skipped.items()):
                if not any(entry.matches(test) for entry in self.expected):
                    yield f"{test} was skipped and {INHERENT_SKIPS} does not say why it may be: {reason}"
        for entry in self.expected:
            happened = any(entry.matches(test) for test in self.skipped)
            if not happened and (any(entry.matches(test) for test in self.ran) or (whole and not self.missing)):
                yield f"{INHERENT_SKIPS}: {entry.pattern!r} is skipped no more; take the line out"


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
