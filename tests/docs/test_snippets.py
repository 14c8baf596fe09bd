"""Every snippet of the documentation works: JSON parses, commands exist, requests are answered, code runs."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from penstock.cli import main
from penstock.config.load import load
from penstock.config.model import Config, DemoConfig
from tests.docs.pages import PAGES, Snippet, snippets
from tests.examples.hosting import asking, hosted, penstock_serve
from tests.tools import ROOT
from tests.waiting import CEILING

SERVER = "http://127.0.0.1:8420"
QUICK = Config(demo=DemoConfig(rate=0, tokens=20))
COMMANDS = [
    Snippet(snippet.page, snippet.line + place, "command", line.removeprefix("$ "))
    for snippet in snippets("console")
    for place, line in enumerate(snippet.text.splitlines(), 1)
    if line.startswith("$ ")
]
SCRIPTS = [
    each
    for each in snippets("python")
    if "127.0.0.1:8420" in each.text and not re.search("openai|anthropic", each.text)
]
"""Not those of the SDKs, which not every Python here has."""
APPS = [each for each in snippets("python") if re.search(r"^app = ", each.text, re.MULTILINE)]


@pytest.mark.parametrize("snippet", snippets("json"), ids=str)
def test_a_json_block_parses(snippet: Snippet) -> None:
    assert json.loads(snippet.text) is not None


@pytest.mark.parametrize("snippet", snippets("toml"), ids=str)
def test_a_toml_block_is_a_valid_configuration(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for cassette in re.findall(r'"cassette:([^"#]+)', snippet.text):
        (here / cassette).touch()  # that it is there is all that reading a configuration asks of it
    file = tmp_path / "penstock.toml"
    file.write_text(snippet.text)
    environ = {"OPENAI_API_KEY": "sk-none", "ANTHROPIC_API_KEY": "sk-none", "LOCAL_KEY": "none"}
    assert load(environ, file=file) != load(environ)
    assert tomllib.loads(snippet.text) != {}


@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_a_python_block_compiles(snippet: Snippet) -> None:
    assert compile(snippet.text, str(snippet), "exec").co_code != b""


@pytest.mark.needs("node")
@pytest.mark.parametrize("snippet", snippets("js"), ids=str)
def test_a_javascript_block_parses(snippet: Snippet, tmp_path: Path) -> None:
    check_javascript(snippet.text, tmp_path)


@pytest.mark.needs("node")
@pytest.mark.parametrize("snippet", snippets("html"), ids=str)
def test_the_script_of_a_page_parses(snippet: Snippet, tmp_path: Path) -> None:
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", snippet.text, re.DOTALL)
    check_javascript(script, tmp_path)


def check_javascript(text: str, folder: Path) -> None:
    file = folder / "snippet.mjs"
    file.write_text(text)
    done = subprocess.run(["node", "--check", str(file)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_commands_and_snippets_of_every_kind() -> None:
    assert min(len(snippets(kind)) for kind in ("json", "toml", "python", "js", "html", "console")) > 0
    assert {command.text.split()[0] for command in COMMANDS} >= {"curl", "make", "penstock"}


@pytest.mark.parametrize("command", [each for each in COMMANDS if " penstock " in f" {each.text}"], ids=str)
def test_a_penstock_command_exists_with_its_flags(command: Snippet) -> None:
    words = shlex.split(command.text.split("penstock ", 1)[1], comments=True)
    called: click.Command = main
    while isinstance(called, click.Group) and words and not words[0].startswith("-"):
        found = called.get_command(click.Context(called), words.pop(0))
        assert found is not None
        called = found
    known = {flag for parameter in called.params for flag in parameter.opts} | {"--help", "-h"}
    assert [word for word in words if word.startswith("-") and word not in known] == []


@pytest.mark.parametrize("command", [each for each in COMMANDS if "make " in each.text], ids=str)
def test_a_make_target_exists(command: Snippet) -> None:
    makefile = (ROOT / "Makefile").read_text()
    target = next(word for word in shlex.split(command.text.split("make ", 1)[1], comments=True) if "=" not in word)
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def filled_in(line: str, url: str, runs: list[str]) -> list[str]:
    """The command as a reader would type it: with the address of the server under test, and real runs where `st_…` stands."""
    ready = iter(runs)
    line = re.sub(r"st_…(?=[,' /?]|$)", lambda _: next(ready), line.replace(SERVER, url))
    return shlex.split(line.replace("st_…", runs[0]), comments=True)


@pytest.mark.needs("curl")
@pytest.mark.parametrize("command", [each for each in COMMANDS if each.text.startswith("curl ")], ids=str)
async def test_a_curl_line_is_answered(command: Snippet) -> None:
    line = command.text
    async with penstock_serve(QUICK) as url, asking(url) as client:
        begun = [
            (await client.post("/v1/streams", json={"prompt": "Hello"}, headers={"accept": "application/json"})).json()[
                "id"
            ]
            for _ in range(2)
        ]
        code, out, complaint = await run(*filled_in(line, url, begun), "-m", f"{CEILING:g}", "-w", "\n%{http_code}")
    body, _, status = out.rpartition("\n")
    if "drop_after" in line:
        assert (code, body) == (18, "You said: **Hello**.\n\nI ")
        return
    expected = 503 if "provider_overloaded" in line else 200
    assert (code, int(status), complaint.startswith("curl:")) == (0, expected, False)
    assert body != ""


@pytest.mark.parametrize("snippet", SCRIPTS, ids=str)
async def test_a_client_in_python_prints_the_answer(snippet: Snippet) -> None:
    async with penstock_serve(QUICK) as url:
        script = snippet.text.replace("127.0.0.1:8420", url.partition("//")[2])
        code, out, complaint = await run(sys.executable, "-c", script)
    assert (code, complaint) == (0, "")
    assert "You said: **Hello**." in out


@pytest.mark.parametrize("snippet", APPS, ids=str)
async def test_an_app_streams_on_every_path_it_is_said_to_have(snippet: Snippet) -> None:
    scope: dict[str, object] = {"__name__": "app", "__file__": str(ROOT / "examples" / "browser.py")}
    exec(compile(snippet.text, str(snippet), "exec"), scope)
    mount = "/ai" if '"/ai"' in snippet.text else ""
    async with hosted(scope["app"]) as url, asking(url) as client:
        models = (await client.get(f"{mount}/v1/models")).json()["data"]
        begun = await client.post(
            f"{mount}/v1/streams",
            json={"prompt": "Hello", "readings": 1, "every": 0},
            headers={"accept": "application/json"},
        )
        stream = begun.json()["id"]
        if "steer" in snippet.text or "while True" in snippet.text:
            await client.delete(f"{mount}/v1/streams/{stream}")
        else:
            ended = await client.get(f"{mount}/v1/streams/{stream}/events", headers={"accept": "application/x-ndjson"})
            assert json.loads(ended.text.splitlines()[-1])["type"] == "finished"
    assert len(models) > 0
    assert begun.status_code == 201


async def test_the_five_lines_of_the_readme_answer_as_they_say() -> None:
    (snippet,) = [each for each in APPS if each.page == "README.md"]
    scope: dict[str, object] = {}
    exec(compile(snippet.text, str(snippet), "exec"), scope)
    async with hosted(scope["app"]) as url, asking(url) as client:
        answer = await client.post("/ai/v1/chat/chunked", json={"prompt": "Hello"})
    assert answer.text == "You said: Hello"


async def run(*command: str) -> tuple[int | None, str, str]:
    """Exit code, output and complaints of a program, with no proxy in its way."""
    environ = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "error"}
    program = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaints = await program.communicate()
    return program.returncode, out.decode(), complaints.decode()


def test_no_page_holds_a_place_holder() -> None:
    words = re.compile(r"\b(TODO|FIXME|TBD|lorem ipsum|coming soon)\b", re.IGNORECASE)
    assert [str(page.relative_to(ROOT)) for page in PAGES if words.search(page.read_text())] == []
