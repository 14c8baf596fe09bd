"""anthropic-python, saying all that Claude Code says, works with its tools on a provider that speaks OpenAI chat."""

from typing import Any

import pytest
from anthropic import BadRequestError
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from tests.fakes.provider import Provider
from tests.fakes.script import End, Event, answer, chunk, closing, opening, tool_call
from tests.live.test_anthropic import calling
from tests.serving import serving

CACHED = {"type": "ephemeral"}
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"path": {"type": "string"}},
}
SAID: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 32_000,
    "system": [
        {"type": "text", "text": "You are a coder.", "cache_control": CACHED},
        {"type": "text", "text": "Be brief.", "cache_control": CACHED},
    ],
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": SCHEMA, "eager_input_streaming": True, "cache_control": CACHED}
    ],
    "metadata": {"user_id": f"user_{'a' * 64}_account__session_{'b' * 36}"},
    "thinking": {"type": "enabled", "budget_tokens": 31_999},
    "extra_body": {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
    "extra_headers": {"anthropic-beta": "interleaved-thinking-2025-05-14,context-management-2025-06-27"},
}  # fmt: skip


async def test_a_loop_of_tools_with_all_that_claude_code_says(provider: Provider) -> None:
    thought = Event(chunk({"reasoning_content": "I have to look."}))
    call = tool_call(0, '{"path": "a.py"}', call_id="call_1", name="Read")
    provider.script(opening(), thought, call, closing(finish="tool_calls"), End())
    provider.script(answer("It is empty."))
    config = Config(
        providers={"theirs": ProviderConfig(base_url=provider.base_url)},
        models={"claude": ModelConfig(targets=("theirs/m",))},
    )
    turns: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Look.", "cache_control": CACHED}]}]
    async with serving(config) as served, calling(served.url) as sdk:
        async with sdk.messages.stream(messages=turns, **SAID) as stream:
            first = await stream.get_final_message()
        match first.content:
            case [
                ThinkingBlock(thinking="I have to look."),
                ToolUseBlock(id="call_1", name="Read", input={"path": "a.py"}),
            ]:
                pass
            case other:
                raise AssertionError(other)
        result = {
            "type": "tool_result",
            "tool_use_id": "call_1",
            "content": "",
            "is_error": True,
            "cache_control": CACHED,
        }
        turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        async with sdk.messages.stream(messages=turns, **SAID) as stream:
            second = await stream.get_final_message()
    assert (first.stop_reason, second.stop_reason) == ("tool_use", "end_turn")
    assert [block.text for block in second.content if isinstance(block, TextBlock)] == ["It is empty."]
    asked = provider.requests[-1].json
    assert asked == {
        "model": "m",
        "max_tokens": 32_000,
        "reasoning_effort": "high",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "Read", "description": "Reads.", "parameters": SCHEMA}}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "You are a coder."}, {"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Look."}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "I have to look.",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": '{"path":"a.py"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": ""},
        ],
    }  # fmt: skip


async def test_what_cannot_be_said_is_named_where_the_client_said_it(provider: Provider) -> None:
    config = Config(
        providers={"theirs": ProviderConfig(base_url=provider.base_url)},
        models={"claude": ModelConfig(targets=("theirs/m",))},
    )
    book = {"type": "document", "source": {"type": "url", "url": "https://a.test/book.pdf"}}
    turns: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Read."}, book]}]
    async with serving(config) as served, calling(served.url) as sdk:
        with pytest.raises(BadRequestError) as refused:
            await sdk.messages.create(messages=turns, **SAID)
    error: Any = refused.value.body
    assert (error["error"]["type"], error["error"]["details"]["param"]) == (
        "invalid_request_error",
        "messages.0.content.1",
    )
    assert provider.requests == []
