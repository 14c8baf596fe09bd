"""@anthropic-ai/sdk for Node against `/v1/messages`: streams, its helper, tools, thinking, error classes, retries and abort."""

import pytest

from tests.fakes.model import THOUGHT
from tests.fakes.provider import Provider
from tests.fakes.script import Cut, Event, Gate, Reply, closing, opening, text
from tests.live.llama import slots_idle
from tests.live.node_sdk import ANTHROPIC
from tests.server.keyed import with_keys
from tests.serving import Served, serving, upstream

pytestmark = pytest.mark.needs("node")

WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


question, answered = ANTHROPIC.question, ANTHROPIC.answered


async def test_it_hears_each_word_when_it_is_said(served: Served, provider: Provider) -> None:
    gates = [Gate(), Gate()]
    provider.script(opening(), text("one"), gates[0], text(" two"), gates[1], text(" three"), closing())
    said, kinds = [], []
    async for line in ANTHROPIC.lines(question(served, "stream")):
        if "event" not in line:
            break
        kinds.append(line["event"]["type"])
        if kinds[-1] == "content_block_delta":
            said.append(line["event"]["delta"]["text"])
            if gates:
                gates.pop(0).open()
    assert said == ["one", " two", " three"]
    assert [kinds[0], *kinds[-2:]] == ["message_start", "message_delta", "message_stop"]
    assert line == {"end": "complete"}


async def test_the_stream_helper_puts_the_message_together(served: Served) -> None:
    *pieces, last, end = await answered(question(served, "helper"))
    answer = last["answer"]
    assert "".join(line["text"] for line in pieces) == "You said: Hello"
    assert [(block["type"], block["text"]) for block in answer["content"]] == [("text", "You said: Hello")]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"], end) == ("end_turn", 3, {"end": "complete"})


async def test_a_call_has_its_input_and_what_came_of_it_goes_back(served: Served, provider: Provider) -> None:
    asked = question(served, "helper", "What is the weather in 'Köln'?", tools=[WEATHER])
    called, last, _ = await answered(asked)
    (block,) = last["answer"]["content"]
    assert (called, block["name"], last["answer"]["stop_reason"]) == (
        {"input": {"city": "Köln"}},
        "weather",
        "tool_use",
    )
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "Sunny in Köln"}
    asked["request"]["messages"] += [
        {"role": "assistant", "content": last["answer"]["content"]},
        {"role": "user", "content": [result]},
    ]
    *_, last, end = await answered(asked)
    assert (last["answer"]["content"][0]["text"], end) == ("The tool said: Sunny in Köln", {"end": "complete"})
    assert [message["role"] for message in provider.requests[-1].json["messages"]] == ["user", "assistant", "tool"]


async def test_thinking_is_a_block_of_its_own(served: Served, provider: Provider) -> None:
    provider.script(
        opening(),
        [Event({"choices": [{"index": 0, "delta": {"reasoning_content": each}}]}) for each in THOUGHT.split(" ")],
        text("So."),
        closing(),
    )
    *pieces, last, _ = await answered(question(served, "helper"))
    assert "".join(line.get("thinking", "") for line in pieces) == THOUGHT.replace(" ", "")
    assert [block["type"] for block in last["answer"]["content"]] == ["thinking", "text"]


async def test_it_reads_a_whole_answer(served: Served) -> None:
    line, end = await answered(question(served, "whole"))
    assert (line["answer"]["content"][0]["text"], end) == ("You said: Hello", {"end": "complete"})


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "BadRequestError", "invalid_request_error"),
        (404, "NotFoundError", "not_found_error"),
        (429, "RateLimitError", "rate_limit_error"),
        (500, "InternalServerError", "api_error"),
        (503, "OverloadedError", "overloaded_error"),
    ],
)
async def test_what_the_provider_refuses_is_its_proper_class(
    served: Served, provider: Provider, status: int, error: str, kind: str
) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "no"}}))
    (line,) = await answered(question(served, "stream"))
    assert (line["error"], line["type"]) == (error, kind)
    assert line["request"].startswith("req_")


async def test_a_wrong_key_is_its_own_class() -> None:
    async with serving(with_keys()) as served:
        (line,) = await answered(question(served, "stream", model="scripted"))
    assert (line["error"], line["status"], line["type"]) == ("AuthenticationError", 401, "authentication_error")


@pytest.mark.parametrize("how", ["stream", "helper"])
async def test_an_upstream_that_dies_in_mid_answer_is_an_error_and_no_end(
    served: Served, provider: Provider, how: str
) -> None:
    provider.script(opening(), text("half an ans"), Cut())
    *_, end = await answered(question(served, how))
    assert end["error"] == "APIError"
    assert "ended the stream before the answer was complete" in end["message"]


@pytest.mark.needs("llama")
async def test_it_reads_a_real_model(llama_server: str) -> None:
    async with serving(upstream(llama_server)) as served:
        *_, last, end = await answered(question(served, "helper"))
        said = "".join(part.text for part in served.only.log.snapshot().parts)
    assert ("".join(block["text"] for block in last["answer"]["content"]), end) == (said, {"end": "complete"})
    await slots_idle(llama_server)
