"""What the pages about clients say, the clients do: their lines of code and their commands, typed as they stand, get an answer."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from docs import clients
from penstock.config.model import Config, DemoConfig
from tests.clients.program import program
from tests.docs.pages import Snippet, snippets
from tests.examples.hosting import penstock_serve
from tests.tools import NODE_CLIENTS, ROOT, venv_python

QUICK = Config(demo=DemoConfig(rate=0, tokens=20))
ANSWER = "You said: **Hello**."
TERMINAL = [
    line.removeprefix("$ ")
    for snippet in snippets("console")
    for line in snippet.text.splitlines()
    if line.startswith(("$ http ", "$ llm "))
]


def on_page(language: str, page: str) -> Snippet:
    """The first block of a language on a page about a client."""
    return next(each for each in snippets(language) if each.page == f"docs/howto/{page}")


async def test_the_lines_for_openai_python_print_the_answer() -> None:
    async with penstock_serve(QUICK) as url:
        code = on_page("python", "openai-python.md").text.replace("http://127.0.0.1:8420", url)
        async with program(sys.executable, "-c", code) as shown:
            assert await shown.ended() == 0
    assert ANSWER in shown.text


@pytest.mark.needs("node")
async def test_the_lines_for_openai_node_print_the_answer() -> None:
    async with penstock_serve(QUICK) as url:
        code = on_page("js", "openai-node.md").text.replace("http://127.0.0.1:8420", url)
        process = await asyncio.create_subprocess_exec(
            *("node", "--input-type=module", "-e", code), cwd=NODE_CLIENTS, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    assert ANSWER in said.decode()


@pytest.mark.needs("terminal")
@pytest.mark.parametrize("line", TERMINAL)
async def test_a_line_for_the_terminal_is_answered(line: str, tmp_path: Path) -> None:
    name, *arguments = shlex.split(line)
    alone = {"HTTPIE_CONFIG_DIR": str(tmp_path), "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "unused"}
    if name == "http":
        arguments.insert(0, "--ignore-stdin")  # which is not a terminal here
    async with penstock_serve(QUICK) as url:
        typed = [each.replace("http://127.0.0.1:8420", url) for each in arguments]
        async with program(venv_python("terminal").with_name(name), *typed, environ=alone) as shown:
            assert await shown.ended() == 0
    assert "demo" in shown.text if "--models" in arguments else "You" in shown.text


def test_every_client_of_the_table_has_its_page_and_a_version_that_is_locked() -> None:
    assert [page for _, page, *_ in clients.CLIENTS if not (ROOT / "docs" / "howto" / page).is_file()] == []
    with pytest.raises(LookupError):
        clients.version("terminal", "openai-cli")
    assert clients.version("node", "openai").partition(".")[0] == "6"
