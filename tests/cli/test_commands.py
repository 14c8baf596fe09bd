"""The commands that need no server: help, check, version, completion; and what none of them may import."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import COMMANDS, main, prepare
from penstock.cli.reference import reference
from tests.cli.serving import OURS, PENSTOCK, UNWANTED, clean_environment
from tests.tools import ROOT

HEAVY = {"aiohttp", "litellm", "openai", "redis", "rich", "starlette", "structlog", "uvicorn", "uvloop", "websockets"}


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """In an empty folder and an environment that configures nothing."""
    monkeypatch.chdir(tmp_path)
    kept = clean_environment()
    for name in [name for name in os.environ if name not in kept]:
        monkeypatch.delenv(name)

    def run(*_: object, **__: object) -> None:
        raise AssertionError("no test in this process may start a server")

    monkeypatch.setattr("penstock.server.host.Host.run", run)
    return CliRunner()


def modules_after(*arguments: str) -> set[str]:
    """The top-level modules that a command has imported when it is done."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "penstock", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    return {name.partition(".")[0] for name in re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["version"], ["serve", "--help"], ["chat", "--help"], ["completion", "zsh"]]
)
def test_what_only_prints_imports_nothing_heavy(arguments: list[str]) -> None:
    imported = modules_after(*arguments)
    assert imported & {"click", "penstock"} == {"click", "penstock"}
    assert imported & HEAVY == set()


def test_check_needs_no_web_server_running_but_says_what_it_would_serve(runner: CliRunner) -> None:
    done = runner.invoke(main, ["check"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.findall(r"^  \S.*?  +(/\S+)", done.stdout, re.MULTILINE) == [
        "/v1/chat/stream",
        "/v1/chat/ws",
        "/v1/chat/chunked",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/chat/ui",
        "/v1/messages",
        "/api/chat",
        "/v1/streams",
        "/v1/streams/events",
        "/v1/streams/{id}",
        "/v1/streams/{id}/events",
        "/v1/streams/{id}/input",
        "/v1/streams/{id}/cassette",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/embeddings",
        "/v1/messages/count_tokens",
        "/v1/responses/input_tokens",
        "/healthz",
        "/metrics",
    ]


def test_check_names_the_file_it_has_read_and_obeys_its_flags(runner: CliRunner) -> None:
    Path("mine.toml").write_text("[server]\nport = 1\n")
    done = runner.invoke(
        main, ["check", "--config", "mine.toml", "--port", "9001", "--model", "http://127.0.0.1:1/v1#qwen3"]
    )
    assert done.exit_code == 0
    assert re.findall(r"^(?:file|address) +(\S+)$", done.stdout, re.MULTILINE) == ["mine.toml", "http://127.0.0.1:9001"]
    assert "  qwen3  → http://127.0.0.1:1/v1#qwen3\n" in done.stdout


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        (
            "[server]\nprot = 1\n",
            [],
            "penstock.toml:2: server.prot: there is no setting of this name; did you mean 'port'?",
        ),
        ("", ["--host", "0.0.0.0"], "--host: server.host: 0.0.0.0 can be reached from other machines"),
        ("", ["--config", "nope.toml"], "--config: there is no file nope.toml"),
        ("", ["--model", "openai/gpt"], "--model: server.model: no provider is called 'openai'; none is configured"),
        (
            "[models.a]\ntargets = ['no_such_module:f']\n",
            [],
            "'no_such_module:f': no module is called 'no_such_module'",
        ),
        (
            "[models.a]\ntargets = ['cassette:nothing.jsonl']\n",
            [],
            "penstock.toml:2: models.a.targets[0]: there is no file nothing.jsonl; a cassette is looked for in the folder",
        ),
        (
            "[models.a]\ntargets = ['cassette:penstock.toml']\n",
            [],
            "cassette:penstock.toml: line 1: this is no cassette",
        ),
        (
            "[models.a]\ntargets = ['json:dumps_']\n",
            [],
            "'json:dumps_': there is no 'dumps_' in json; did you mean 'dumps'?",
        ),
    ],
)
def test_a_wrong_configuration_ends_the_command_with_its_reason(
    runner: CliRunner, command: str, text: str, flags: list[str], said: str
) -> None:
    Path("penstock.toml").write_text(text)
    done = runner.invoke(main, [command, *flags])
    assert (done.exit_code, done.stdout, done.stderr[: len(said) + 7]) == (1, "", f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_a_model_of_litellm_without_litellm_names_the_command_that_brings_it(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("penstock.toml").write_text("[models.claude]\ntargets = ['litellm/anthropic/claude-haiku-4-5']\n")
    monkeypatch.setattr(prepare, "find_spec", lambda name: None)
    done = runner.invoke(main, ["check"])
    assert (done.exit_code, done.stderr) == (
        1,
        "error: models.claude needs litellm; install it with: pip install 'penstock[litellm]'\n",
    )


def test_no_command_shows_a_key(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    done = runner.invoke(main, ["check"])
    assert ("openai" in done.output, "canary" in done.output) == (True, False)


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["version"]])
def test_the_version_is_said_in_the_first_line(runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(main, arguments).stdout.splitlines()[0] == f"penstock {penstock.__version__}"


@pytest.mark.parametrize(("command", "near"), [("serv", "serve"), ("steams", "streams")])
def test_an_unknown_command_is_an_error_of_use(runner: CliRunner, command: str, near: str) -> None:
    done = runner.invoke(main, [command])
    assert (done.exit_code, f"No such command '{command}'; did you mean '{near}'?" in done.stderr) == (2, True)


def test_every_command_is_there_and_says_what_it_does(runner: CliRunner) -> None:
    help_text = runner.invoke(main, ["--help"]).stdout
    assert re.findall(r"^  ([a-z]+)  +[A-Z]", help_text.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


def test_the_committed_reference_is_what_the_help_says() -> None:
    page = ROOT / "docs" / "reference" / "cli.md"
    assert page.read_text() == reference(), "make it anew: python -m penstock.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_penstock(runner: CliRunner, shell: str) -> None:
    done = runner.invoke(main, ["completion", shell])
    assert (done.exit_code, f"_PENSTOCK_COMPLETE={shell}_complete" in done.stdout) == (0, True)


def test_bash_completes_our_commands_and_flags() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    asked = {"COMP_WORDS": "penstock str", "COMP_CWORD": "1", "_PENSTOCK_COMPLETE": "bash_complete"}
    done = subprocess.run(PENSTOCK, check=False, capture_output=True, text=True, env=clean_environment(**asked))
    assert done.stdout == "plain,streams\n"
    script = subprocess.run([*PENSTOCK, "completion", "bash"], check=True, capture_output=True, text=True).stdout
    subprocess.run([bash, "-n"], input=script, check=True, text=True)


def test_the_environment_of_the_tests_holds_nothing_of_ours() -> None:
    assert [name for name in clean_environment() if name.startswith(OURS) or name in UNWANTED] == []


def test_help_fits_a_narrow_terminal(runner: CliRunner) -> None:
    lines = runner.invoke(main, ["serve", "--help"], terminal_width=80).stdout.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert isinstance(main, click.Group)
