"""A penstock that asks through litellm, in an environment that has it: tools, which litellm cannot be asked for without `mcp`."""

from pathlib import Path

import httpx2
import pytest

from tests.cli.serving import starting
from tests.fakes.model import steps
from tests.fakes.provider import Provider
from tests.tools import venv_python
from tests.waiting import CEILING

ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
QUESTION = {
    "model": "litellm/openai/fake",
    "messages": [{"role": "user", "content": "add 3 and 4"}],
    "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD}}],
}


@pytest.mark.needs("litellm")
async def test_a_tool_is_called_through_litellm(provider: Provider, tmp_path: Path) -> None:
    provider.unscripted = steps
    environ = {"OPENAI_API_BASE": provider.base_url, "OPENAI_API_KEY": "sk-unused"}
    command = (str(venv_python("litellm")), "-m", "penstock")
    with starting(tmp_path, environ=environ, penstock=command) as served:
        await served.ready()
        async with httpx2.AsyncClient(base_url=served.url, trust_env=False, timeout=CEILING) as client:
            answer = await client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200, answer.text
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a":3,"b":4}'}
