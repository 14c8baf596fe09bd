"""What Open WebUI sends, which is too heavy to be installed here: models with a bearer key, chats as streams, titles as whole answers."""

import json
from collections.abc import AsyncGenerator

import pytest

from tests.fakes.model import steps
from tests.fakes.provider import Provider
from tests.server.keyed import ALICE, bearer, with_keys
from tests.serving import Served, serving, upstream

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    provider.unscripted = steps
    async with serving(with_keys(upstream(provider.base_url))) as server:
        yield server


@pytest.mark.parametrize("base", ["/v1", "/v1/"])
async def test_a_connection_is_verified_by_its_models(served: Served, base: str) -> None:
    async with served.client() as client:
        verified = await client.get(f"{base}/models", headers=bearer(ALICE))
        refused = await client.get(f"{base}/models", headers=bearer("nobody's"))
    assert "fake" in [model["id"] for model in verified.json()["data"]]
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("base", ["/v1", "/v1/"])
async def test_a_chat_streams_and_its_title_is_asked_for_as_a_whole(served: Served, base: str) -> None:
    path, headers = f"{base}/chat/completions", bearer(ALICE)
    async with served.client() as client:
        chat = await client.post(
            path, headers=headers, json={**CHAT, "stream": True, "session_id": "x", "chat_id": "y"}
        )
        title = await client.post(path, headers=headers, json={**CHAT, "stream": False, "max_completion_tokens": 1000})
    lines = [line.removeprefix("data: ") for line in chat.text.splitlines() if line.startswith("data: ")]
    deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "You said: Hello"
    assert lines[-1] == "[DONE]"
    assert title.json()["choices"][0]["message"]["content"] == "You said: Hello"
