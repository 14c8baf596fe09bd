"""Requests of OpenAI's Responses: the smallest, and what they are made of."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.request import ChatRequest
from penstock.dialects.openai_responses import OpenAIResponsesDialect

PARSE = OpenAIResponsesDialect().parse
NAME = "openai-responses"
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "weather",
    "arguments": "{}",
    "status": "completed",
}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object"},
    "strict": True,
}


def asked(**fields: Any) -> ChatRequest:
    return PARSE(json.dumps({"input": "hi", **fields}).encode())


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    return list(asked(input=list(items), **fields).messages)
