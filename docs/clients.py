"""The table of clients: which route each asks, the line that changes, and the version the tests run, read from the locks."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

CLIENTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "openai-python",
        "openai-python.md",
        "`/v1/chat/completions`, `/v1/responses`",
        '`base_url="…/v1"`',
        "dev:openai openai2:openai",
    ),
    ("openai-node", "openai-node.md", "`/v1/chat/completions`", "`baseURL: '…/v1'`", "node:openai"),
    ("Responses of OpenAI", "openai-responses.md", "`/v1/responses`", '`base_url="…/v1"`', "dev:openai openai2:openai"),
    ("Anthropic's own", "anthropic.md", "`/v1/messages`", '`base_url="…"`', "dev:anthropic node:@anthropic-ai/sdk"),
    (
        "Vercel's AI SDK",
        "vercel-ai-sdk.md",
        "`/v1/chat/ui`, `/v1/chat/completions`, `/v1/messages`",
        "`api`, `baseURL`",
        "node:ai",
    ),
    ("langchain-openai", "langchain.md", "`/v1/chat/completions`", '`base_url="…/v1"`', "langchain:langchain-openai"),
    ("langchain-anthropic", "langchain.md", "`/v1/messages`", '`base_url="…"`', "langchain:langchain-anthropic"),
    (
        "LlamaIndex `OpenAILike`",
        "llama-index.md",
        "`/v1/chat/completions`",
        '`api_base="…/v1"`',
        "llamaindex:llama-index-llms-openai-like",
    ),
    ("litellm", "aider.md", "`/v1/chat/completions`, `/v1/messages`", '`api_base="…/v1"`', "litellm:litellm"),
    ("aider", "aider.md", "`/v1/chat/completions`, `/v1/messages`", "`--openai-api-base …/v1`", "aider:aider-chat"),
    ("`llm`", "llm-cli.md", "`/v1/chat/completions`", "`llm openai endpoint …/v1`", "terminal:llm"),
    ("httpie", "httpie-curl.md", "any", "the URL", "terminal:httpie"),
    ("curl", "httpie-curl.md", "any", "the URL", "system"),
    ("EventSource", "sse.md", "`GET /v1/chat/stream`, `…/events`", "the URL", "chromium node:eventsource"),
    ("Open WebUI", "open-webui.md", "`/v1/models`, `/v1/chat/completions`", "`OPENAI_API_BASE_URL=…/v1`", "emulated"),
    ("Continue, Cline", "editors.md", "`/v1/chat/completions`", "`apiBase: …/v1`", "not run"),
)
"""Name, page, route, line that changes, and where its version stands: LOCK:PACKAGE, or words."""

WORDS = {"system": "the system's", "chromium": "Chromium", "emulated": "emulated", "not run": "not run"}


def rows() -> list[tuple[str, str, str, str]]:
    """The table of `docs/howto/clients.md`."""
    return [(f"[{name}]({page})", route, line, versions(where)) for name, page, route, line, where in CLIENTS]


def versions(where: str) -> str:
    """What the locks say. Raises `LookupError` where a lock has no such package."""
    if where in WORDS:
        return WORDS[where]
    return ", ".join(WORDS.get(each) or version(*each.split(":")) for each in where.split())


def version(lock: str, package: str) -> str:
    """The pinned version of one package."""
    if lock == "node":
        pinned = json.loads((ROOT / "tests/live/node/package.json").read_text())["dependencies"]
        return str(pinned[package])
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    found = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{lock}.lock has no {package}")
    return found[1]
