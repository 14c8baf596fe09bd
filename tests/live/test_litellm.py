"""litellm on a real llama.cpp server, in a server of its own that has litellm installed: streamed, cancelled and refused."""

from collections.abc import Iterator, Mapping

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from tests.cli.serving import Served, starting
from tests.fakes.gemini import COUNTS, gemini
from tests.live.answering import WAYS, Told, Way, answering
from tests.live.llama import ENDLESS, processing, slots_idle
from tests.loopback import http_client
from tests.serving import serving
from tests.tools import venv_python

MODEL = "litellm/openai/tiny"
ASKED: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "hello world"}]}
# `ignore_eos` is a word of llama.cpp's own, which litellm passes on.
SHORT: Mapping[str, object] = {**ASKED, "max_tokens": 40, "ignore_eos": True}
WAY_OUT = "pip install 'penstock[litellm]'"
with_litellm = pytest.mark.needs("litellm", "llama")


@pytest.fixture(scope="module")
def _started(llama_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests here, since the import of litellm takes seconds. Its own warnings are not ours to mend."""
    command = (str(venv_python("litellm")), "-m", "penstock")
    with gemini() as elsewhere:
        environ = {
            "OPENAI_API_BASE": llama_server,
            "OPENAI_API_KEY": "sk-unused",
            "ANTHROPIC_API_KEY": "",
            "GEMINI_API_BASE": elsewhere,
            "GEMINI_API_KEY": "unused",
        }
        with starting(tmp_path_factory.mktemp("litellm"), environ=environ, penstock=command) as served:
            yield served


@pytest.fixture
async def served(_started: Served) -> Served:
    await _started.ready()
    return _started


async def refusal(served: Served, **request: object) -> tuple[int, dict[str, str]]:
    """Status and error of a request that is refused."""
    async with http_client(served.url) as client:
        answer = await client.post("/v1/chat/completions", json={**ASKED, "stream": True, **request})
    error: dict[str, str] = answer.json()["error"]
    return answer.status_code, error


@with_litellm
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_streams_to_its_end(served: Served, way: Way) -> None:
    async with answering(served.url, way, SHORT) as answer:
        told = await answer.rest()
        state = await answer.snapshot()
    (part,) = state["snapshot"]["parts"]
    assert told == Told(part["text"], "finished")
    assert len(told.text) > 10
    assert (state["end"]["reason"], state["snapshot"]["usage"]["output"]) == ("length", 40)


@with_litellm
@pytest.mark.parametrize("way", WAYS)
async def test_a_cancel_stops_the_model(served: Served, llama_server: str, way: Way) -> None:
    async with answering(served.url, way, {**ASKED, **ENDLESS}) as answer:
        await answer.first()
        assert await processing(llama_server) == 1
        await answer.cancel()
        await slots_idle(llama_server)
        told = await answer.rest()
    assert told.end == ("cut" if way == "text" else "cancelled")


@with_litellm
async def test_a_client_that_leaves_stops_the_model(served: Served, llama_server: str) -> None:
    async with answering(served.url, "text", {**ASKED, **ENDLESS}) as answer:
        await answer.first()
        assert await processing(llama_server) == 1
    await slots_idle(llama_server)
    await served.logged("run ended", stream=answer.stream, kind="cancelled", by="disconnect")


@with_litellm
async def test_a_whole_answer_without_a_stream(served: Served) -> None:
    async with http_client(served.url) as client:
        answer = (await client.post("/v1/chat/completions", json={**SHORT, "stream": False})).json()
    assert len(answer["choices"][0]["message"]["content"]) > 10
    assert answer["usage"]["completion_tokens"] == 40


@with_litellm
async def test_gemini_thinks_speaks_and_calls(served: Served) -> None:
    asked = {**ASKED, "model": "litellm/gemini/gemini-2.5-flash", "reasoning_effort": "low"}
    async with answering(served.url, "ndjson", asked) as answer:
        assert (await answer.rest()).end == "finished"
        state = await answer.snapshot()
    parts = [(part["kind"], part["text"]) for part in state["snapshot"]["parts"]]
    assert parts == [("reasoning", "Look it up."), ("text", "One moment."), ("tool_call", '{"city": "Bern"}')]
    usage = state["snapshot"]["usage"]
    assert state["end"] == {"type": "finished", "reason": "tool_calls", "usage": usage}
    assert (usage["input"], usage["output"] - usage["reasoning"], usage["reasoning"]) == tuple(COUNTS.values())[:3]


@with_litellm
async def test_a_prompt_that_does_not_fit_is_refused_with_its_own_status(served: Served) -> None:
    status, error = await refusal(served, messages=[{"role": "user", "content": "hello world " * 1000}])
    assert (status, error["code"]) == (400, "context_too_long")
    assert error["message"].startswith("openai (through litellm)")


@with_litellm
async def test_a_key_that_is_missing_is_the_operators_to_set(served: Served) -> None:
    status, error = await refusal(served, model="litellm/anthropic/some-model")
    assert (status, error["code"]) == (502, "provider_auth")
    assert "anthropic (through litellm)" in error["message"]


@with_litellm
async def test_a_provider_litellm_does_not_know_is_refused(served: Served) -> None:
    status, error = await refusal(served, model="litellm/nobody/some-model")
    assert (status, error["code"]) == (400, "provider_refused")


@with_litellm
async def test_a_refusal_over_a_websocket_is_a_typed_error(served: Served) -> None:
    request = {**ASKED, "messages": [{"role": "user", "content": "hello world " * 1000}]}
    async with answering(served.url, "ws", request) as answer:
        assert await answer.rest() == Told("", "context_too_long")


async def test_without_the_extra_a_request_is_told_the_one_command_that_brings_it() -> None:
    config = Config(models={"fast": ModelConfig(targets=(MODEL,))})
    async with serving(config) as served, served.client() as client:
        answer = await client.post("/v1/chat/completions", json={**ASKED, "model": "fast", "stream": True})
    assert answer.status_code == 501
    assert answer.json()["error"]["code"] == "extra_missing"
    assert WAY_OUT in answer.json()["error"]["message"]
