"""httpie with `--stream`, as people type it: piece by piece, NDJSON and events, refusals, an answer that broke off, and leaving."""

import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from penstock.core.events import Cancelled
from tests.clients.eventsource_parser import parse_event_stream
from tests.clients.program import Program, program
from tests.live.llama import slots_idle
from tests.serving import Served, serving, upstream
from tests.tools import venv_python
from tests.waiting import until

pytestmark = pytest.mark.needs("terminal")

BROKEN_OFF, CLIENT_ERROR = 1, 4
"""Exit codes, as httpie's manual lists them; 4 with `--check-status`."""


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A folder without anybody's settings."""
    return str(tmp_path)


def http(config: str, *arguments: str) -> AbstractAsyncContextManager[Program]:
    return program(
        venv_python("terminal").with_name("http"),
        *("--stream", "--body", "--pretty=none", "--ignore-stdin", "--check-status", *arguments),
        quiet=True,
        environ={"HTTPIE_CONFIG_DIR": config},
    )


async def test_bare_text_is_shown_word_by_word(served: Served, config: str) -> None:
    async with http(config, f"{served.url}/v1/chat/chunked", "prompt=speak") as shown:
        telling = await served.telling()
        assert telling.request.prompt == "speak"
        for word in ("one", " zwö", " 三\n", " 👋🏽"):
            telling.speak(word)
            await shown.shows(word)
        telling.finish()
        assert await shown.ended() == 0
    assert shown.text == "one zwö 三\n 👋🏽"


async def test_events_of_a_chat_completion_are_shown_one_by_one(served: Served, config: str) -> None:
    body = ("model=scripted", "stream:=true", 'messages:=[{"role": "user", "content": "speak"}]')
    async with http(config, f"{served.url}/v1/chat/completions", *body) as shown:
        telling = await served.telling()
        for word in ("one", " two"):
            telling.speak(word)
            await shown.shows(json.dumps(word))
        telling.finish()
        assert await shown.ended() == 0
    events = [event.data for event in parse_event_stream(shown.text.encode())]
    deltas = [json.loads(data)["choices"][0]["delta"] for data in events[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two"
    assert events[-1] == "[DONE]"


async def test_lines_tell_a_failure_in_words(served: Served, config: str) -> None:
    lines = "Accept:application/x-ndjson"
    async with http(config, f"{served.url}/v1/chat/chunked", lines, "prompt=speak") as shown:
        telling = await served.telling()
        telling.speak("one")
        await shown.shows('"one"')
        telling.fail("provider_truncated")
        assert await shown.ended() == 0
    told = [json.loads(line) for line in shown.text.splitlines()]
    assert [line["type"] for line in told] == ["started", "opened", "delta", "closed", "failed"]


async def test_bare_text_that_broke_off_is_an_error(served: Served, config: str) -> None:
    async with http(config, f"{served.url}/v1/chat/chunked", "prompt=speak") as shown:
        telling = await served.telling()
        telling.speak("half an ans")
        await shown.shows("half an ans")
        telling.fail("provider_truncated")
        assert await shown.ended() == BROKEN_OFF
    assert shown.text == "half an ans"


async def test_a_refusal_is_an_error_with_its_words(served: Served, config: str) -> None:
    async with http(config, f"{served.url}/v1/chat/completions", "model=nobody", "messages:=[]") as shown:
        assert await shown.ended() == CLIENT_ERROR
    assert json.loads(shown.text)["error"]["type"] == "invalid_request_error"


async def test_stopping_it_stops_the_run(served: Served, config: str) -> None:
    async with http(config, f"{served.url}/v1/chat/chunked", "prompt=speak") as shown:
        telling = await served.telling()
        telling.speak("one")
        await shown.shows("one")
        shown.process.terminate()
        await telling.closed.wait()
    await until("the run has ended", lambda: served.seen.ended == {served.only.id: Cancelled("disconnect")})


@pytest.mark.needs("llama")
async def test_it_shows_a_real_model(llama_server: str, config: str) -> None:
    async with serving(upstream(llama_server)) as served:
        body = ("model=fake", "max_tokens:=20", "prompt=hello")
        async with http(config, f"{served.url}/v1/chat/chunked", *body) as shown:
            assert await shown.ended() == 0
        assert shown.text == "".join(part.text for part in served.only.log.snapshot().parts)
    await slots_idle(llama_server)
