"""Runs one of the `*_reader.py` beside this file under the Python that has its framework.

Each line a reader reads is a question in JSON: `url` of the server without `/v1`, `model`, `prompt`, `speaks` (`openai` or
`anthropic`), and `how`: `stream`, `whole`, `tools` (streamed, with one tool called `weather`), or `schema` (a city as
`{name, people}`). It prints `{"text"}` for every piece of text, and last `{"end": "complete", "calls", "usage", "finish"}`,
`{"end": "complete", "value"}` for a schema, or `{"error": class, "message"}`.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from tests.clients.reader import reader
from tests.tools import venv_python

HERE = Path(__file__).parent
Framework = Literal["langchain", "llamaindex", "litellm"]
Speaks = Literal["openai", "anthropic"]
How = Literal["stream", "whole", "tools", "schema"]
ENVIRON = (
    ("PATH", os.environ["PATH"]),
    ("HOME", os.environ.get("HOME", "/")),
    ("NO_PROXY", "127.0.0.1"),
    ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
    ("LANGSMITH_TRACING", "false"),
)
"""Nobody's keys and no proxy; what a framework would tell its makers, it tells nobody."""


class Asking:
    """One question being answered."""

    def __init__(self, lines: AsyncGenerator[dict[str, Any]]) -> None:
        self.lines = lines

    async def text(self) -> str:
        """The next piece of text."""
        said: str = (await anext(self.lines))["text"]
        return said


@asynccontextmanager
async def asking(
    framework: Framework, url: str, prompt: str, *, how: How = "stream", speaks: Speaks = "openai", model: str = "fake"
) -> AsyncGenerator[Asking]:
    """Ask; nothing of the question is left at the end of the block."""
    asked = {"url": url, "model": model, "prompt": prompt, "speaks": speaks, "how": how}
    script = HERE / f"{framework}_reader.py"
    async with aclosing(reader(str(venv_python(framework)), script, ENVIRON).lines(asked)) as lines:
        yield Asking(lines)


async def told(
    framework: Framework, url: str, prompt: str, *, how: How = "stream", speaks: Speaks = "openai", model: str = "fake"
) -> tuple[str, dict[str, Any]]:
    """The whole text, and the last line."""
    async with asking(framework, url, prompt, how=how, speaks=speaks, model=model) as question:
        lines = [line async for line in question.lines]
    return "".join(line["text"] for line in lines[:-1]), lines[-1]
