"""Anthropic requests: the smallest, one with a little of everything, and what they are made of."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.request import ChatRequest
from penstock.dialects.anthropic import AnthropicDialect

ANTHROPIC = AnthropicDialect()
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGk="}
CACHED = {"type": "ephemeral"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"q": "ä"}}
TOOL = {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object", "properties": {}}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
FULL = {
    "model": "demo",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": PIXEL}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, USE]},
        {"role": "user", "content": [{**RESULT, "content": [{"type": "text", "text": "r"}]}]},
    ],
    "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "tool", "name": "look_up"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low"},
}


def asked(**fields: Any) -> ChatRequest:
    """A request with these fields; the smallest there is without any."""
    least = {"model": "demo", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    return ANTHROPIC.parse(json.dumps({**least, **fields}).encode())
