"""Items made of messages are read as those messages again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.dialects.openai_responses import OpenAIResponsesDialect

ANSWER = "resp_" + "a" * 26
INPUTS: list[Any] = [
    "Hello",
    [{"role": "user", "content": "one"}, {"role": "developer", "content": "two"}, {"role": "user", "content": []}],
    [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I see"}]}],
    [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                {"type": "input_image", "file_id": "file_1"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            ],
        }
    ],
    [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "!"}],
        },
        {"role": "user", "content": "and?"},
    ],
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "secret"},
        {"role": "user", "content": "and?"},
    ],
]


@pytest.mark.parametrize("given", INPUTS, ids=range(len(INPUTS)))
def test_what_was_asked_is_listed_as_items_that_say_the_same(given: Any) -> None:
    dialect = OpenAIResponsesDialect()
    messages = dialect.parse(msgspec.json.encode({"input": given})).messages
    items: list[Any] = dialect.asked(messages, ANSWER)
    ids = [item["id"] for item in items]
    assert len(set(ids)) == len(ids)
    again = dialect.parse(msgspec.json.encode({"input": items})).messages if items else messages
    assert [_without_details(message) for message in again] == [
        _without_details(message) for message in messages if message.get("content") != []
    ]


def _without_details(message: Any) -> Any:
    """A picture whose detail nobody chose says `auto`, which is the same."""
    text = msgspec.json.encode(message).replace(b',"detail":"auto"', b"")
    return msgspec.json.decode(text)
