"""What Gemini signs comes back to it with the call, through SDKs whose protocols have no place for it but the call's id."""

from typing import Any

import pytest
from anthropic.types import ToolUseBlock
from openai import AsyncOpenAI
from openai.types.responses import ResponseFunctionToolCall

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from tests.fakes.provider import Provider
from tests.fakes.script import End, Event, answer, chunk, closing, opening
from tests.live.test_anthropic import calling
from tests.serving import Served, serving

SIGNED = {"google": {"thought_signature": "EjQK+/8="}}
LOOK = {"name": "look", "arguments": "{}"}
CALL = {"index": 0, "id": "function-call-1", "type": "function", "function": LOOK, "extra_content": SIGNED}
TOOL: dict[str, Any] = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}


async def anthropic(served: Served) -> None:
    async with calling(served.url) as sdk:
        turns: list[Any] = [{"role": "user", "content": "Look."}]
        asked: dict[str, Any] = {"model": "gemini", "max_tokens": 100, "messages": turns, "tools": [TOOL]}
        async with sdk.messages.stream(**asked) as stream:
            first = await stream.get_final_message()
        (call,) = first.content
        assert isinstance(call, ToolUseBlock)
        turns += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "dark"}]},
        ]
        await sdk.messages.create(**asked)


async def responses(served: Served) -> None:
    await _ask_twice(served, kept=False)


async def responses_that_are_kept(served: Served) -> None:
    await _ask_twice(served, kept=True)


async def _ask_twice(served: Served, *, kept: bool) -> None:
    async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as sdk:
        turns: list[Any] = [{"role": "user", "content": "Look."}]
        tool: Any = {"type": "function", "name": "look", "parameters": TOOL["input_schema"], "strict": False}
        asked: dict[str, Any] = {"model": "gemini", "input": turns, "tools": [tool]}
        async with sdk.responses.stream(**asked) as stream:
            first = await stream.get_final_response()
        (call,) = first.output
        assert isinstance(call, ResponseFunctionToolCall)
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "dark"}
        if kept:
            await sdk.responses.create(model="gemini", input=[result], previous_response_id=first.id)  # type: ignore[list-item]
        else:
            turns += [*first.output, result]
            await sdk.responses.create(**asked)


@pytest.mark.parametrize("client", [anthropic, responses, responses_that_are_kept])
async def test_the_next_question_has_the_call_as_it_was_signed(provider: Provider, client: Any) -> None:
    provider.script(opening(), Event(chunk({"tool_calls": [CALL]})), closing(finish="tool_calls"), End())
    provider.script(answer("It is dark."))
    config = Config(
        providers={"theirs": ProviderConfig(base_url=provider.base_url)},
        models={"gemini": ModelConfig(targets=("theirs/gemini-3-pro",))},
    )
    async with serving(config) as served:
        await client(served)
    _, second = provider.requests
    *_, called, result = second.json["messages"]
    (call,) = called["tool_calls"]
    assert (call["id"], call["extra_content"]) == ("function-call-1", SIGNED)
    assert (result["role"], result["tool_call_id"]) == ("tool", "function-call-1")
