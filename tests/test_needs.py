"""The book of skips: each rule is tried in a small session of its own."""

from pathlib import Path

import pytest

from tests.tools import TOOLS, Tool

NEEDS_CURL = """
    import pytest

    @pytest.mark.needs("curl")
    def test_with_curl():
        raise AssertionError("it ran without curl")

    def test_without():
        pass
"""
SKIPS_ONCE = """
    import pytest

    @pytest.mark.parametrize("way", ["a", "b"])
    def test_one(way):
        if way == "a":
            pytest.skip("this kernel cannot")
"""


class Sessions:
    """Runs pytest on small test files, on a machine that has none of the tools."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        pytester.makeini("[pytest]\ntestpaths = tests\n")
        pytester.mkdir("tests")
        monkeypatch.setenv("PATH", str(pytester.mkdir("empty")))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.delenv("TEST_STRICT", raising=False)

    def expect(self, *lines: str) -> None:
        Path("tests/inherent_skips.txt").write_text("".join(f"{line}\n" for line in lines))

    def run(self, source: str, *arguments: str, strict: bool = False) -> pytest.RunResult:
        self.pytester.makepyfile(**{"tests/test_it": source})
        if strict:
            self.monkeypatch.setenv("TEST_STRICT", "1")
        plugins = ("tests.needs", "xdist", "no:cacheprovider")
        return self.pytester.runpytest(*(word for plugin in plugins for word in ("-p", plugin)), *arguments)


@pytest.fixture
def sessions(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    monkeypatch.setattr("tests.needs.is_missing", lambda tool: not TOOLS[tool].found())
    return Sessions(pytester, monkeypatch)


def test_a_missing_tool_skips_its_tests_and_names_the_command(sessions: Sessions) -> None:
    result = sessions.run(NEEDS_CURL, "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["curl (1 tests): *install*curl", "SKIPPED*needs curl: *install*curl"])
    assert result.ret == pytest.ExitCode.OK


def test_a_missing_tool_fails_a_strict_session_by_name(sessions: Sessions) -> None:
    result = sessions.run(NEEDS_CURL, strict=True)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["curl is missing (1 tests): *install*curl"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_ci_is_a_strict_session(sessions: Sessions) -> None:
    sessions.monkeypatch.setenv("CI", "true")
    assert sessions.run(NEEDS_CURL).ret == pytest.ExitCode.TESTS_FAILED


def test_what_a_machine_does_not_grant_is_no_fault_of_a_strict_session(sessions: Sessions) -> None:
    tool = Tool(name="curl", found=lambda: False, remedy="another machine", granted=True)
    sessions.monkeypatch.setitem(TOOLS, "curl", tool)
    result = sessions.run(NEEDS_CURL, "-rs", strict=True)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs curl: another machine"])
    assert result.ret == pytest.ExitCode.OK


def test_a_tool_that_is_there_skips_nothing(sessions: Sessions) -> None:
    program = Path("empty/curl")
    program.touch(mode=0o755)
    result = sessions.run(NEEDS_CURL, strict=True)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*it ran without curl*"])


def test_an_unknown_tool_is_a_usage_error_that_lists_the_known_ones(sessions: Sessions) -> None:
    result = sessions.run(NEEDS_CURL.replace("curl", "crul"))
    result.stderr.fnmatch_lines(["*needs('crul'): the known tools are chromium, nginx, *"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_strict_session_fails_on_a_skip_the_list_does_not_expect(sessions: Sessions) -> None:
    assert sessions.run(SKIPS_ONCE).ret == pytest.ExitCode.OK
    result = sessions.run(SKIPS_ONCE, strict=True)
    result.stdout.fnmatch_lines(
        ["*test_one?a? was skipped and *inherent_skips.txt does not say why*this kernel cannot"]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_an_expected_skip_passes_a_strict_session(sessions: Sessions) -> None:
    sessions.expect("# a comment", "", "tests/test_it.py::test_one[a]  # some kernels cannot")
    assert sessions.run(SKIPS_ONCE, strict=True).ret == pytest.ExitCode.OK


def test_the_verdict_is_the_same_when_workers_run_the_tests(sessions: Sessions) -> None:
    result = sessions.run(SKIPS_ONCE, "-n", "1", strict=True)
    result.stdout.fnmatch_lines(["*test_one?a? was skipped and *"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    sessions.expect("tests/test_it.py::test_one[a]  # some kernels cannot")
    assert sessions.run(SKIPS_ONCE, "-n", "1", strict=True).ret == pytest.ExitCode.OK


def test_a_module_that_skips_itself_is_in_the_book_too(sessions: Sessions) -> None:
    result = sessions.run('import pytest\npytest.skip("not on this moon", allow_module_level=True)', strict=True)
    result.stdout.fnmatch_lines(["tests/test_it.py was skipped and *not on this moon"])
    assert result.ret != pytest.ExitCode.OK


@pytest.mark.parametrize("pattern", ["tests/test_it.py::test_one[b]", "tests/test_gone.py::*"])
def test_an_entry_that_is_skipped_no_more_fails_the_session(sessions: Sessions, pattern: str) -> None:
    sessions.expect("tests/test_it.py::test_one[a]  # some kernels cannot", f"{pattern}  # long ago")
    result = sessions.run(SKIPS_ONCE)
    result.stdout.fnmatch_lines([f"*'{pattern.replace('[', '?').replace(']', '?')}' is skipped no more*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_narrowed_session_does_not_judge_what_it_did_not_run(sessions: Sessions) -> None:
    sessions.expect("tests/test_gone.py::*  # elsewhere")
    assert sessions.run(SKIPS_ONCE, "-k", "one").ret == pytest.ExitCode.OK
    assert sessions.run(SKIPS_ONCE, "tests/test_it.py").ret == pytest.ExitCode.OK


def test_an_entry_counts_only_where_its_marker_holds(sessions: Sessions) -> None:
    sessions.expect('tests/test_it.py::test_one*  ; sys_platform == "amiga"  # no sockets there')
    assert sessions.run(SKIPS_ONCE).ret == pytest.ExitCode.OK
    result = sessions.run(SKIPS_ONCE, strict=True)
    result.stdout.fnmatch_lines(["*test_one?a? was skipped and *"])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("tests/test_it.py::test_one", "*inherent_skips.txt:1: say why*"),
        ("tests/test_it.py  ; moon == 'full'  # dark", "*inherent_skips.txt:1: *"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_usage_error_with_its_number(
    sessions: Sessions, line: str, complaint: str
) -> None:
    sessions.expect(line)
    result = sessions.run(SKIPS_ONCE)
    result.stderr.fnmatch_lines([complaint])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_every_tool_has_a_command_that_brings_it() -> None:
    commands = {name: tool.command() for name, tool in TOOLS.items()}
    assert [name for name, command in commands.items() if len(command.split()) < 2] == []
