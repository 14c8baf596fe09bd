"""Every way in which a request of OpenAI's Responses can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.errors import Refused
from tests.dialects.responses_asking import CALL, OUTPUT, TOOL, asked


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"type": 7}]}, "input[0].type"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": {"a": 1}}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text"}]}]}, "input[1].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "u"}}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": 1}]}]}, "input[0].content[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": 1}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].input_audio"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
            "input[0].content[0].input_audio.format",
        ),
        ({"input": [OUTPUT]}, "input[0].call_id"),
        ({"input": [{**OUTPUT, "call_id": ""}]}, "input[0].call_id"),
        ({"input": [CALL, {**OUTPUT, "output": None}]}, "input[1].output"),
        ({"input": [CALL, {**OUTPUT, "output": [{"type": "x"}]}]}, "input[1].output[0].type"),
        ({"input": [CALL]}, "input"),
        ({"input": [CALL, OUTPUT, OUTPUT]}, "input[2].call_id"),
        ({"input": [CALL, CALL]}, "input[1].call_id"),
        ({"input": [{**CALL, "name": ""}, OUTPUT]}, "input[0].name"),
        ({"input": [{**CALL, "arguments": {}}, OUTPUT]}, "input[0].arguments"),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
        ({"input": [{"type": "reasoning", "summary": [{"type": "x"}]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "reasoning", "content": [{"type": "reasoning_text"}]}]}, "input[0].content[0].text"),
        ({"instructions": ["x"]}, "instructions"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"store": "yes"}, "store"),
        ({"background": True, "store": False}, "background"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": None, "messages": []}, "input"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [{**TOOL, "parameters": "x"}]}, "tools[0].parameters"),
        ({"tools": [{**TOOL, "strict": "x"}]}, "tools[0].strict"),
        ({"tools": [{**TOOL, "description": 1}]}, "tools[0].description"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": {}, "tools": [TOOL]}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "function", "name": "other"}, "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "x"}, "tools": [TOOL]}, "tool_choice.mode"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}, "tools": [TOOL]}, "tool_choice.tools"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": ["x"]}, "tools": [TOOL]}, "tool_choice.tools[0]"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_tool_calls": "many"}, "max_tool_calls"),
        ({"text": "x"}, "text"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": 1}}}, "text.format.strict"),
        ({"text": {"verbosity": 3}}, "text.verbosity"),
        ({"reasoning": "hard"}, "reasoning"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"include": "all"}, "include"),
        ({"include": [1]}, "include[0]"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"truncation": "never"}, "truncation"),
        ({"stream_options": []}, "stream_options"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"user": 1}, "user"),
        ({"service_tier": 1}, "service_tier"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_the_name_openai_gives_it(fields: Any, param: str) -> None:
    with pytest.raises(Refused) as refused:
        asked(**fields)
    assert refused.value.fault.param == param
    assert refused.value.fault.code == "invalid_request"


def test_a_message_quotes_little_of_what_was_said() -> None:
    with pytest.raises(Refused) as refused:
        asked(input=[{"role": "x" * 500, "content": "x"}])
    assert len(refused.value.fault.message) < 150


@pytest.mark.parametrize("kind", [[], {}, ["input_text"], 1, None])
def test_a_part_whose_type_is_no_text_is_refused_by_its_place(kind: object) -> None:
    with pytest.raises(Refused) as caught:
        asked(input=[{"role": "user", "content": [{"type": kind}]}])
    assert caught.value.fault.param == "input[0].content[0].type"
