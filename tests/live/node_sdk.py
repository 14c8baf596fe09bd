"""An SDK for Node in a process of its own, and what it is asked."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from tests.clients.reader import reader
from tests.serving import Served
from tests.tools import NODE_CLIENTS


@dataclass(frozen=True)
class NodeSdk:
    """`script` reads questions and prints what it hears; `path` is what its base URL ends in."""

    script: str
    path: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    """What every request has beside its messages."""

    def question(
        self, served: Served, how: str, prompt: str = "Hello", *, retries: int = 0, model: str = "fake", **more: Any
    ) -> dict[str, Any]:
        request = {"model": model, **self.more, "messages": [{"role": "user", "content": prompt}], **more}
        return {"url": served.url + self.path, "how": how, "retries": retries, "request": request}

    def lines(self, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """What it prints, line by line."""
        return reader("node", NODE_CLIENTS / self.script).lines(asked)

    async def answered(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [line async for line in self.lines(asked)]


ANTHROPIC = NodeSdk("anthropic.mjs", more={"max_tokens": 100})
OPENAI = NodeSdk("openai.mjs", "/v1")
