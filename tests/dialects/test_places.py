"""A provider's refusal names what the client said, where the client said it, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.core.request import ChatRequest
from penstock.registry import resolve

USER = {"role": "user", "content": "Look."}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://a.test/i.png"}}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
ANTHROPIC = {
    "max_tokens": 9,
    "system": "Be brief.",
    "messages": [
        USER,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}, USE, {"type": "text", "text": "."}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [IMAGE]}, IMAGE, IMAGE]},
    ],
    "tools": [{"name": "f", "input_schema": {}}],
}  # fmt: skip
PICTURE = {"type": "input_image", "image_url": "https://a.test/i.png"}
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Look."}, PICTURE]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "."}]},
        {"type": "web_search_call", "action": {"type": "search", "query": "it"}},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [PICTURE]},
    ],
}
UI = {
    "id": "chat",
    "system": "Be brief.",
    "messages": [
        {"role": "user", "parts": [{"type": "text", "text": "Look."}]},
        {"role": "assistant", "parts": [
            {"type": "tool-f", "toolCallId": "c", "state": "output-available", "input": {}, "output": {}},
            {"type": "step-start"}, {"type": "text", "text": "."},
        ]},
    ],
}  # fmt: skip


def parsed(dialect: str, body: dict[str, Any]) -> ChatRequest:
    request: ChatRequest = resolve("dialects", dialect)().parse(json.dumps({"model": "m", **body}).encode())
    return request


@pytest.mark.parametrize(
    ("dialect", "body", "place", "spelled"),
    [
        ("anthropic", ANTHROPIC, "messages[0].content", "system"),
        ("anthropic", ANTHROPIC, "messages[1]", "messages.0"),
        ("anthropic", ANTHROPIC, "messages[2].content[0]", "messages.1.content.2"),
        ("anthropic", ANTHROPIC, "messages[2].tool_calls[0].function.arguments", "messages.1.content.1"),
        ("anthropic", ANTHROPIC, "messages[3].content[0]", "messages.2.content.0.content.0"),
        ("anthropic", ANTHROPIC, "messages[3].role", "messages.2.content.0"),
        ("anthropic", ANTHROPIC, "messages[4]", "messages.2"),
        ("anthropic", ANTHROPIC, "messages[4].content[1]", "messages.2.content.2"),
        ("anthropic", ANTHROPIC, "tools[0].type", "tools.0"),
        ("anthropic", ANTHROPIC, "stop", "stop_sequences"),
        ("anthropic", ANTHROPIC, "top_k", "top_k"),
        ("openai-responses", RESPONSES, "messages[0]", "instructions"),
        ("openai-responses", RESPONSES, "messages[1].content[1]", "input[0].content[1]"),
        ("openai-responses", RESPONSES, "messages[2].content[0]", "input[2].content[0]"),
        ("openai-responses", RESPONSES, "messages[2].content[1]", "input[3]"),
        ("openai-responses", RESPONSES, "messages[2].tool_calls[0]", "input[4]"),
        ("openai-responses", RESPONSES, "messages[3].content[0]", "input[5].output[0]"),
        ("openai-responses", {"input": "Look."}, "messages[0].content", "input"),
        ("openai-responses", RESPONSES, "response_format", "text.format"),
        ("ai-sdk", UI, "messages[0]", "system"),
        ("ai-sdk", UI, "messages[1].content[0]", "messages[0]"),
        ("ai-sdk", UI, "messages[4]", "messages[1]"),
        ("openai-completions", {"prompt": "Look."}, "messages[0]", "prompt"),
        ("openai-chat", {"messages": [USER]}, "messages[0].content[0]", "messages[0].content[0]"),
    ],
)
def test_a_place_is_spelled_as_the_client_has_it(dialect: str, body: dict[str, Any], place: str, spelled: str) -> None:
    assert parsed(dialect, body).spelled(place) == spelled


def test_what_was_said_in_earlier_answers_is_behind_their_id() -> None:
    request = parsed("openai-responses", RESPONSES)
    past: tuple[Any, ...] = ({"role": "user", "content": "Before."}, {"role": "assistant", "content": "Yes."})
    request = msgspec.structs.replace(
        request, messages=(request.messages[0], *past, *request.messages[1:]), recalled=len(past)
    )
    assert [request.spelled(f"messages[{at}].content[1]") for at in range(5)] == [
        "instructions", "previous_response_id", "previous_response_id", "input[0].content[1]", "input[3]",
    ]  # fmt: skip
