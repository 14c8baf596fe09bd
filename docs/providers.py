"""The page of the reference that says what becomes of a request at each kind of provider, from what the sources say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

import msgspec

from penstock.sources import (
    anthropic_answer,
    anthropic_request,
    foreign,
    ollama_answer,
    ollama_request,
    responses_answer,
    responses_request,
    translation,
)

Table = Callable[[Sequence[str], Iterable[Sequence[str]]], str]

OPENING = """# Providers

Which protocol a provider is asked in stands in its `kind` ([configuration](config.md#providersname)). Whatever dialect a request came in,
each field of it has one of four fates:

- it is **translated**, as the tables below say;
- it goes **as it is**, where nobody here knows it: a provider's newest field works on the day it is invented;
- it is **left out** where the protocol has no word for it and an answer is the same without. A note of the topic `left_out` names it,
  right behind `started`;
- it is **refused** where it has an effect and the protocol has no word for it: 400 `not_carried`, with its name in `param`, before the
  provider is asked.

What only the provider's own protocol can say is carried from a client that speaks it, too, to the letter.
"""

OPENAI = """## `openai`

`POST /chat/completions`. This is the shape that requests have inside, so they go out as they are, always streamed and with usage.
Reasoning is read as `reasoning_content` or `reasoning`; a stream is complete when every choice has said why it ended, `[DONE]` or not.
"""


def page(table: Table) -> str:
    """All of it."""
    refused = table(
        ("field", "says nothing, and is not refused, as"),
        (
            (f"`{name}`", ", ".join(f"`{msgspec.json.encode(value).decode()}`" for value in (None, *silent)))
            for name, silent in translation.SILENT.items()
        ),
    )
    hints = ", ".join(f"`{name}`" for name in sorted(translation.HINTS))
    options = ", ".join(f"`{name}`" for name in sorted(ollama_request.OPTIONS))
    most = f"{anthropic_request.DEFAULT_MAX_TOKENS:,}"
    return "\n".join(
        [
            OPENING,
            OPENAI,
            _kind("openai-responses", "POST /responses", responses_request, responses_answer),
            _kind(
                "anthropic", "POST /v1/messages", anthropic_request, anthropic_answer, {"`DEFAULT_MAX_TOKENS`": most}
            ),
            _kind("ollama", "POST /api/chat", ollama_request, ollama_answer, {"`OPTIONS`": "options"}),
            f"Options: {options}.\n",
            "## What clients of another protocol say\n",
            "\n".join(line for line in _told(foreign).splitlines() if line.startswith("|")) + "\n",
            "## What `anthropic` and `ollama` have no words for\n",
            f"Left out: {hints}.\n",
            "Refused, unless the table above has them:\n",
            refused + "\n",
        ]
    )


def _kind(name: str, path: str, request: ModuleType, answer: ModuleType, words: dict[str, str] | None = None) -> str:
    """One kind: the table of its request, and what its answers become. `words` are put in the place of names of the code."""
    asked = "\n".join(line for line in _told(request).splitlines() if line.startswith("|"))
    for code, plain in (words or {}).items():
        asked = asked.replace(code, plain)
    read = _told(answer).partition("\n\n")[2]
    return f"## `{name}`\n\n`{path}`:\n\n{asked}\n\n{read}\n"


def _told(module: ModuleType) -> str:
    return inspect.cleandoc(module.__doc__ or "")
