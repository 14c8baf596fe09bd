"""The `llm` command: its endpoint, its models, streams, tools, schemas, honest failures, and a settings file that names penstock."""

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.clients.program import Program, program
from tests.fakes.provider import Provider
from tests.fakes.script import Cut, Gate, Reply, closing, opening, text
from tests.live.llama import slots_idle
from tests.serving import Served, serving, upstream
from tests.tools import venv_python

pytestmark = pytest.mark.needs("terminal")

WEATHER = '''
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"
'''


def llm(folder: Path, *arguments: str) -> AbstractAsyncContextManager[Program]:
    """Run it with a folder of its own for settings and logs, and nobody's key."""
    environ = {"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "unused", "PYTHONUNBUFFERED": "1"}
    return program(venv_python("terminal").with_name("llm"), *arguments, quiet=True, environ=environ)


def endpoint(folder: Path, served: Served, *arguments: str) -> AbstractAsyncContextManager[Program]:
    return llm(folder, "openai", "endpoint", f"{served.url}/v1", *arguments)


async def test_it_shows_each_word_when_it_is_said(served: Served, provider: Provider, tmp_path: Path) -> None:
    gate = Gate()
    provider.script(opening(), text("one"), gate, text(" two"), closing())
    async with endpoint(tmp_path, served, "-m", "fake", "speak") as shown:
        await shown.shows("one")
        gate.open()
        assert await shown.ended() == 0
    assert shown.text == "one two\n"


async def test_it_may_ask_for_responses(served: Served, tmp_path: Path) -> None:
    async with endpoint(tmp_path, served, "-m", "fake", "--responses", "Hello") as shown:
        assert await shown.ended() == 0
    assert shown.text == "You said: Hello\n"
    assert [handle.route for handle in served.runs.by_id.values()] == ["/v1/responses"]


async def test_it_finds_the_models(served: Served, tmp_path: Path) -> None:
    async with endpoint(tmp_path, served, "--models") as shown:
        assert await shown.ended() == 0
    assert "fake" in shown.text.splitlines()


async def test_it_runs_a_tool_and_tells_the_model_what_came_of_it(served: Served, tmp_path: Path) -> None:
    question = "What is the weather in 'Köln'?"
    async with endpoint(tmp_path, served, "-m", "fake", "--functions", WEATHER, question) as shown:
        assert await shown.ended() == 0
    assert shown.text == "The tool said: Sunny in Köln\n"


async def test_it_gets_the_object_it_described(served: Served, tmp_path: Path) -> None:
    question = "The city 'Ulm' has 128928 people"
    async with endpoint(tmp_path, served, "-m", "fake", "--schema", "name, people int", question) as shown:
        assert await shown.ended() == 0
    assert json.loads(shown.text) == {"name": "Ulm", "people": 128928}


async def test_an_upstream_that_dies_in_mid_answer_is_an_error(
    served: Served, provider: Provider, tmp_path: Path
) -> None:
    provider.script(opening(), text("half an ans"), Cut())
    async with endpoint(tmp_path, served, "-m", "fake", "speak") as shown:
        assert await shown.ended() == 1
    assert shown.text.startswith("half an ans")
    assert "ended the stream before the answer was complete" in shown.complaint


async def test_a_refusal_is_an_error_with_its_words(served: Served, provider: Provider, tmp_path: Path) -> None:
    provider.script(Reply(status=400, body={"error": {"message": "no such thing"}}))
    async with endpoint(tmp_path, served, "-m", "fake", "speak") as shown:
        assert await shown.ended() == 1
    assert "no such thing" in shown.complaint


async def test_a_settings_file_makes_penstock_one_of_its_models(served: Served, tmp_path: Path) -> None:
    settings = f"- model_id: penstock\n  model_name: fake\n  api_base: {served.url}/v1\n"
    (tmp_path / "extra-openai-models.yaml").write_text(settings)
    async with llm(tmp_path, "-m", "penstock", "Hello") as shown:
        assert await shown.ended() == 0
    assert shown.text == "You said: Hello\n"


@pytest.mark.needs("llama")
async def test_it_reads_a_real_model(llama_server: str, tmp_path: Path) -> None:
    async with serving(upstream(llama_server)) as served:
        async with endpoint(tmp_path, served, "-m", "fake", "-o", "max_tokens", "20", "hello") as shown:
            assert await shown.ended() == 0
        said = "".join(part.text for part in served.only.log.snapshot().parts)
    assert shown.text == said + "\n"
    await slots_idle(llama_server)
