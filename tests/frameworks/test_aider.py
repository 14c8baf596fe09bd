"""aider, which asks through litellm, edits a file by what a model behind penstock says, and shows each word when it is said."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.clients.program import Program, program
from tests.fakes.provider import Provider
from tests.fakes.script import Gate, closing, opening, text
from tests.serving import Served, serving, upstream
from tests.tools import venv_python

pytestmark = pytest.mark.needs("aider")

SURE = "Sure, here is the greeting."
EDIT = ("\n\ngreeting.py\n", "```python\n", 'print("Hello', ', penstock")\n', "```\n")
ROUTES = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
"""By the prefix that litellm knows a protocol by."""
MAIN = "import sys; from aider.main import main; sys.exit(main())"
"""What its script in an environment does. The script names the folder that the environment was made in, which may have moved since."""


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    async with serving(upstream(provider.base_url)) as server:
        yield server


def aider(home: Path, served: Served, protocol: str) -> AbstractAsyncContextManager[Program]:
    """Ask it for a greeting, in a folder of its own, with nobody's settings and no way to anywhere but this machine."""
    prices = home / ".aider" / "caches" / "model_prices_and_context_window.json"
    prices.parent.mkdir(parents=True)
    prices.write_text(json.dumps({"fake": {"max_input_tokens": 8192, "litellm_provider": protocol, "mode": "chat"}}))
    (home / "greeting.py").write_text('print("Hi")\n')
    environ = {
        "HOME": str(home),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONUNBUFFERED": "1",
        "OPENAI_API_BASE": f"{served.url}/v1",
        "OPENAI_API_KEY": "unused",
        "ANTHROPIC_API_BASE": served.url,
        "ANTHROPIC_API_KEY": "unused",
    }
    quiet = ("--no-git", "--no-pretty", "--no-check-update", "--no-analytics", "--no-show-model-warnings")
    histories = ("--chat-history-file", home / "chat.md", "--input-history-file", home / "input")
    return program(
        *(venv_python("aider"), "-P", "-c", MAIN, "--model", f"{protocol}/fake", "--edit-format", "whole", *quiet),
        *histories,
        *("--map-tokens", "0", "--yes-always", "--message", "Greet penstock.", home / "greeting.py"),
        quiet=True,
        environ=environ,
    )


@pytest.mark.parametrize("protocol", ROUTES)
async def test_it_edits_a_file_and_shows_each_word_when_it_is_said(
    served: Served, provider: Provider, tmp_path: Path, protocol: str
) -> None:
    gate = Gate()
    provider.script(opening(), text(SURE), gate, *map(text, EDIT), closing())
    async with aider(tmp_path, served, protocol) as shown:
        await shown.shows(SURE)
        gate.open()
        assert await shown.ended() == 0, shown.text
    assert (tmp_path / "greeting.py").read_text() == 'print("Hello, penstock")\n'
    assert [handle.route for handle in served.runs.by_id.values()] == [ROUTES[protocol]]
    assert "Greet penstock." in str(provider.requests[0].json["messages"])
