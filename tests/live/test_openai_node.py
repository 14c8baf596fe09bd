"""openai-node against `/v1/chat/completions` and `/v1/responses`: streams, helpers, a loop of tools, error classes, retries, abort."""

import pytest

from tests.fakes.provider import Provider
from tests.fakes.script import Cut, Event, Gate, Reply, closing, opening, text
from tests.live.llama import slots_idle
from tests.live.node_sdk import OPENAI
from tests.serving import Served, serving, upstream

pytestmark = pytest.mark.needs("node")


question, answered = OPENAI.question, OPENAI.answered


async def test_it_hears_each_word_when_it_is_said(served: Served, provider: Provider) -> None:
    gates = [Gate(), Gate()]
    provider.script(opening(), text("one"), gates[0], text(" two"), gates[1], text(" three"), closing())
    said = []
    async for line in OPENAI.lines(question(served, "stream")):
        if "chunk" not in line:
            break
        if words := line["chunk"]["choices"][0]["delta"].get("content"):
            said.append(words)
            if gates:
                gates.pop(0).open()
    assert said == ["one", " two", " three"]
    assert line == {"end": "complete"}


async def test_the_stream_helper_puts_the_answer_together(served: Served) -> None:
    *pieces, last, end = await answered(question(served, "helper", stream_options={"include_usage": True}))
    answer = last["answer"]
    assert "".join(line["text"] for line in pieces) == "You said: Hello"
    assert answer["choices"][0]["message"]["content"] == "You said: Hello"
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("stop", 3)
    assert end == {"end": "complete"}


async def test_it_reads_a_whole_answer(served: Served) -> None:
    line, end = await answered(question(served, "whole"))
    assert line["answer"]["choices"][0]["message"]["content"] == "You said: Hello"
    assert end == {"end": "complete"}


async def test_the_helper_of_responses_puts_the_response_together(served: Served) -> None:
    *pieces, last, end = await answered(question(served, "responses"))
    assert "".join(line["text"] for line in pieces) == "You said: Hello"
    (message,) = last["answer"]["output"]
    assert (message["content"][0]["text"], last["answer"]["status"]) == ("You said: Hello", "completed")
    assert end == {"end": "complete"}


async def test_a_response_that_breaks_off_has_failed(served: Served, provider: Provider) -> None:
    """This SDK does not throw for it, at OpenAI neither: its users look at the status."""
    provider.script(opening(), text("half an ans"), Cut())
    first, last, _ = await answered(question(served, "responses"))
    assert (first, last["answer"]["status"]) == ({"text": "half an ans"}, "failed")
    assert last["answer"]["error"]["reason"] == "provider_truncated"


async def test_it_runs_a_tool_and_tells_the_model_what_came_of_it(served: Served, provider: Provider) -> None:
    lines = await answered(question(served, "tools", "What is the weather in 'Köln'?"))
    assert lines == [{"called": "Köln"}, {"text": "The tool said: Sunny in Köln"}, {"end": "complete"}]
    called, returned = provider.requests[-1].json["messages"][-2:]
    assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Köln"}'}
    assert (returned["role"], returned["tool_call_id"]) == ("tool", called["tool_calls"][0]["id"])


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, "BadRequestError", "provider_refused"),
        (401, "InternalServerError", "provider_auth"),
        (404, "NotFoundError", "provider_model_unknown"),
        (429, "RateLimitError", "provider_rate_limited"),
        (500, "InternalServerError", "provider_error"),
        (503, "InternalServerError", "provider_overloaded"),
    ],
)
async def test_what_the_provider_refuses_is_its_proper_class(
    served: Served, provider: Provider, status: int, error: str, code: str
) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "no"}}, headers={"Retry-After": "7"}))
    (line,) = await answered(question(served, "stream"))
    assert (line["error"], line["code"]) == (error, code)
    assert line["request"].startswith("req_")


async def test_a_model_nobody_knows_is_its_own_class(served: Served) -> None:
    (line,) = await answered(question(served, "stream", model="fak"))
    assert (line["error"], line["status"], line["code"]) == ("NotFoundError", 404, "unknown_model")


@pytest.mark.parametrize("death", [Cut(), Event({"error": {"message": "out of memory", "code": 500}})])
async def test_an_upstream_that_dies_in_mid_answer_is_an_error_and_no_end(
    served: Served, provider: Provider, death: Cut | Event
) -> None:
    provider.script(opening(), text("half an ans"), death, *([] if isinstance(death, Cut) else closing()))
    *lines, end = await answered(question(served, "stream"))
    assert "".join(line["chunk"]["choices"][0]["delta"].get("content", "") for line in lines) == "half an ans"
    assert end["error"] == "APIError"
    assert end["code"] == ("provider_truncated" if isinstance(death, Cut) else "provider_error")


@pytest.mark.parametrize("status", [400, 401])
async def test_it_tries_no_second_time_what_would_fail_again(served: Served, provider: Provider, status: int) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "no"}}))
    (line,) = await answered(question(served, "stream", retries=3))
    assert line["error"] == ("BadRequestError" if status == 400 else "InternalServerError")
    assert len(provider.requests) == 1


@pytest.mark.needs("llama")
async def test_it_reads_a_real_model(llama_server: str) -> None:
    async with serving(upstream(llama_server)) as served:
        *_, last, end = await answered(question(served, "helper", stream_options={"include_usage": True}))
        text = "".join(part.text for part in served.only.log.snapshot().parts)
    assert last["answer"]["choices"][0]["message"]["content"] == text
    assert (last["answer"]["usage"]["completion_tokens"] > 0, end) == (True, {"end": "complete"})
    await slots_idle(llama_server)
