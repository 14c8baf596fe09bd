"""One table per kind: name → "module:attribute". Third parties add theirs through entry points `penstock.<kind>`.

Nothing is imported before it is resolved, so a heavy library costs only those who name it.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

TABLES: dict[str, dict[str, str]] = {
    "authenticators": {
        "keys": "penstock.auth.keys:KeyAuthenticator",
    },
    "dialects": {
        "native": "penstock.dialects.native:NativeDialect",
        "openai-chat": "penstock.dialects.openai_chat:OpenAIChatDialect",
        "openai-responses": "penstock.dialects.openai_responses:OpenAIResponsesDialect",
        "openai-completions": "penstock.dialects.openai_completions:OpenAICompletionsDialect",
        "token-done": "penstock.dialects.token_done:TokenDoneDialect",
        "plain": "penstock.dialects.plain:PlainDialect",
        "ai-sdk": "penstock.dialects.ai_sdk:AiSdkDialect",
        "anthropic": "penstock.dialects.anthropic:AnthropicDialect",
    },
    "encoders": {
        "sse": "penstock.encoders.sse:SseEncoder",
        "websocket": "penstock.encoders.websocket:WebSocketEncoder",
        "ndjson": "penstock.encoders.chunked:NdjsonEncoder",
        "text": "penstock.encoders.chunked:TextEncoder",
    },
    "providers": {
        "anthropic": "penstock.sources.anthropic_http:AnthropicProvider",
        "ollama": "penstock.sources.ollama_http:OllamaProvider",
        "openai": "penstock.sources.openai_http:OpenAIProvider",
        "openai-responses": "penstock.sources.responses_http:ResponsesProvider",
    },
    "sources": {
        "demo": "penstock.sources.demo:build",
        "litellm": "penstock.sources.litellm:build",
        "callable": "penstock.sources.callable:build",
        "replay": "penstock.sources.replay:build",
    },
    "stages": {},
    "stores": {
        "memory": "penstock.stores.memory:MemoryStore",
    },
}


class UnknownName(LookupError):
    """No such thing is registered; the message suggests the nearest name."""


def names(kind: str) -> list[str]:
    """Every registered name of a kind, ours first."""
    return [
        *TABLES[kind],
        *sorted(point.name for point in entry_points(group=f"penstock.{kind}") if point.name not in TABLES[kind]),
    ]


def resolve(kind: str, name: str) -> Any:
    """Import what a name stands for. Raises `UnknownName`, and whatever importing raises."""
    if (target := TABLES[kind].get(name)) is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=f"penstock.{kind}"):
        if point.name == name:
            return point.load()
    known = names(kind)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}" if known else ""
    raise UnknownName(f"no {kind.removesuffix('s')} is called {name!r}{hint}")
