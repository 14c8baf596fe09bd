"""anthropic-python asks an Anthropic provider straight, and through penstock: the provider is asked the same, and so is what it says."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anthropic import APIStatusError
from anthropic.types import Message

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from tests.fakes.provider import Provider
from tests.fakes.script import Body, End, Head, Reply
from tests.live.test_anthropic import calling
from tests.serving import Served, serving
from tests.sources.recordings import FOLDER

CACHED = {"type": "ephemeral"}
ASKED: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": CACHED}],
    "messages": [
        {"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A book."},
             "title": "Book", "citations": {"enabled": True}},
            {"type": "text", "text": "What is this?", "cache_control": CACHED},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": ["it", 7]}},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "it"}},
            {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "A pipe."}]},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "broken", "is_error": True},
            {"type": "text", "text": "So?"},
        ]},
    ],
    "tools": [
        {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {"at": {}}}, "cache_control": CACHED},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"},
    "output_config": {"effort": "high"},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u1"},
    "service_tier": "standard_only",
    "extra_body": {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    "extra_headers": {"anthropic-beta": "context-management-2025-06-27"},
}  # fmt: skip
"""A question that uses most of what the protocol has."""


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    config = Config(
        providers={"theirs": ProviderConfig(base_url=provider.base_url, kind="anthropic")},
        models={"claude": ModelConfig(targets=("theirs/claude",))},
    )
    async with serving(config) as server:
        yield server


async def answered(base_url: str) -> Message:
    """What the SDK makes of the stream."""
    async with calling(base_url) as sdk, sdk.messages.stream(**ASKED) as stream:
        return await stream.get_final_message()


def comparable(message: Message) -> dict[str, Any]:
    """A message without its id and model, of its usage the counts, and what nobody said left out."""
    told = message.model_dump(exclude_none=True, exclude={"id", "model"})
    usage = told.pop("usage")
    counts = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    searches = usage.get("server_tool_use") or {}
    return {
        **told,
        "usage": {name: usage.get(name) or 0 for name in counts},
        "searches": searches.get("web_search_requests", 0),
    }


@pytest.mark.parametrize(
    "name", ["text", "thinking", "tools", "web_search", "max_tokens", "stop_sequence", "refusal", "pause_turn"]
)
async def test_a_question_and_its_answer_are_the_same_through_penstock(
    name: str, provider: Provider, served: Served
) -> None:
    recording = (FOLDER / f"anthropic_{name}.sse").read_bytes()
    for _ in range(2):
        provider.script(Head(), Body(recording), End())
    straight = await answered(provider.base_url.removesuffix("/v1"))
    through = await answered(served.url)
    assert comparable(through) == comparable(straight)
    first, second = await provider.next_request(), await provider.next_request()
    assert second.json == first.json
    for header in ("anthropic-version", "anthropic-beta"):
        assert second.headers[header] == first.headers[header]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
    ],
)
async def test_a_refusal_is_the_same_exception_through_penstock(
    status: int, kind: str, provider: Provider, served: Served
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}
    raised: list[type[APIStatusError]] = []
    for base_url in (provider.base_url.removesuffix("/v1"), served.url):
        provider.script(Reply(status=status, body=error))
        with pytest.raises(APIStatusError) as refused:
            await answered(base_url)
        assert refused.value.status_code == status
        raised.append(refused.type)
    assert raised[0] is raised[1]
