"""openai-python 2.x and 3.x against `/v1/responses`: events, helpers, structured answers, tools, errors, and ends that are none."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.core.events import Closed, Delta, Finished, Opened, Started
from tests.clients.openai_sdk import BOTH_VERSIONS, Version
from tests.clients.reader import reader
from tests.contract.transcripts import SITUATIONS
from tests.fakes.cutting_proxy import CuttingProxy, Plan
from tests.fakes.provider import USUAL, Provider
from tests.fakes.script import Cut, Event, Gate, Reply, answer, chunk, closing, opening, text, tool_call, usage_of
from tests.live.llama import slots_idle
from tests.server.keyed import with_keys
from tests.serving import MODEL, Served, configured, serving
from tests.tools import venv_python
from tests.waiting import until

SCRIPT = Path(__file__).parents[1] / "clients" / "openai_responses_reader.py"
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
both_versions = pytest.mark.parametrize("version", BOTH_VERSIONS)


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    config = Config(models={"fake": ModelConfig(targets=(f"{provider.base_url}#fake",))})
    async with serving(configured(config)) as server:
        yield server


async def ask(version: Version, url: str, do: str, *, city: bool = False, **asked: Any) -> list[dict[str, Any]]:
    """Everything the SDK handed to its user, in order; the last line says how it ended."""
    python = sys.executable if version == "3" else str(venv_python("openai2"))
    if do not in ("retrieve", "resume", "reopen", "cancel"):
        asked = {"model": "fake", "input": "hello", **asked}
    question = {"base_url": f"{url}/v1", "do": do, "asked": asked, "city": city}
    return [line async for line in reader(python, SCRIPT).lines(question)]


def types(lines: list[dict[str, Any]]) -> list[str]:
    return [line["type"].removeprefix("response.") for line in lines if "type" in line]


@both_versions
async def test_it_reads_every_event_of_an_answer_in_order(served: Served, version: Version) -> None:
    *events, end = await ask(version, served.url, "create", instructions="Be brief.")
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * len(USUAL),
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["delta"] for event in events if "delta" in event] == list(USUAL)
    assert events[-1]["response"]["usage"]["total_tokens"] == 7
    assert events[0]["response"]["instructions"] == "Be brief."
    assert end == {"end": "complete"}


@both_versions
async def test_its_helper_puts_the_answer_together(served: Served, provider: Provider, version: Version) -> None:
    *events, final, end = await ask(version, served.url, "stream")
    assert (final["text"], final["response"]["status"]) == ("".join(USUAL), "completed")
    assert "".join(event["delta"] for event in events if "delta" in event) == final["text"]
    assert end == {"end": "complete"}
    assert provider.requests[0].json["messages"] == [{"role": "user", "content": "hello"}]


@both_versions
@pytest.mark.parametrize("do", ["stream", "parse"])
async def test_a_structured_answer_is_parsed(served: Served, provider: Provider, version: Version, do: str) -> None:
    provider.script(answer('{"name":"Ulm",', '"people":129000}'))
    *_, final, _ = await ask(version, served.url, do, city=True)
    assert final["parsed"] == {"name": "Ulm", "people": 129_000}
    wanted = provider.requests[0].json["response_format"]["json_schema"]
    assert (wanted["name"], wanted["strict"], wanted["schema"]["required"]) == ("City", True, ["name", "people"])


@both_versions
async def test_two_calls_at_once_are_made_and_answered(served: Served, provider: Provider, version: Version) -> None:
    pieces = [
        tool_call(0, "", call_id="call_1", name="weather"),
        tool_call(0, '{"city":'),
        tool_call(1, '{"ci', call_id="call_2", name="weather"),
        tool_call(0, '"Ulm"}'),
        tool_call(1, 'ty":"Köln"}'),
    ]
    provider.script(opening(), pieces, closing(finish="tool_calls"))
    *_, final, _ = await ask(version, served.url, "stream", tools=[WEATHER])
    calls = final["response"]["output"]
    assert [(c["type"], c["call_id"], json.loads(c["arguments"])) for c in calls] == [
        ("function_call", "call_1", {"city": "Ulm"}),
        ("function_call", "call_2", {"city": "Köln"}),
    ]
    sent = [{name: call[name] for name in ("type", "id", "call_id", "name", "arguments", "status")} for call in calls]
    results = [{"type": "function_call_output", "call_id": c["call_id"], "output": "sunny"} for c in calls]
    asked = [{"role": "user", "content": "hello"}, *sent, *results]
    *_, final, _ = await ask(version, served.url, "whole", tools=[WEATHER], input=asked)
    assert final["text"] == "".join(USUAL)
    (_, turn, *returned) = provider.requests[1].json["messages"]
    assert [call["id"] for call in turn["tool_calls"]] == ["call_1", "call_2"]
    assert [message["tool_call_id"] for message in returned] == ["call_1", "call_2"]
    assert provider.requests[0].json["tools"][0]["function"]["strict"] is True


@both_versions
async def test_reasoning_is_told_as_a_summary_before_the_answer(
    served: Served, provider: Provider, version: Version
) -> None:
    thoughts = [Event(chunk({"reasoning_content": piece})) for piece in ("Let me ", "think.")]
    provider.script(opening(), thoughts, text("4"), closing(usage=usage_of(3, 4)))
    *events, final, _ = await ask(version, served.url, "stream", reasoning={"effort": "low", "summary": "auto"})
    said = [event["delta"] for event in events if event["type"] == "response.reasoning_summary_text.delta"]
    assert said == ["Let me ", "think."]
    thought, message = final["response"]["output"]
    assert (thought["type"], thought["summary"][0]["text"]) == ("reasoning", "Let me think.")
    assert (message["type"], final["text"]) == ("message", "4")
    assert provider.requests[0].json["reasoning_effort"] == "low"
    assert "openai-responses" not in provider.requests[0].json


@both_versions
async def test_an_answer_that_is_not_streamed_is_one_response(served: Served, version: Version) -> None:
    final, end = await ask(version, served.url, "whole")
    assert (final["text"], final["response"]["status"], end) == ("".join(USUAL), "completed", {"end": "complete"})
    assert final["response"]["usage"]["total_tokens"] == 7


@both_versions
async def test_an_answer_that_was_too_long_is_incomplete(served: Served, provider: Provider, version: Version) -> None:
    provider.script(answer("half an", finish="length"))
    final, _ = await ask(version, served.url, "whole", max_output_tokens=2)
    assert final["response"]["status"] == "incomplete"
    assert final["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert provider.requests[0].json["max_completion_tokens"] == 2


@both_versions
@pytest.mark.parametrize(
    ("asked", "error", "status", "param"),
    [
        ({"model": "fak"}, "NotFoundError", 404, None),
        ({"temperature": 7}, "BadRequestError", 400, "temperature"),
        ({"input": [{"role": "robot", "content": "x"}]}, "BadRequestError", 400, "input[0].role"),
        ({"tools": [{"type": "web_search"}]}, "BadRequestError", 400, "tools[0]"),
        ({"previous_response_id": "resp_of_nobody"}, "BadRequestError", 400, "previous_response_id"),
    ],
    ids=["model", "range", "role", "hosted", "previous"],
)
async def test_a_request_that_cannot_be_served_raises_the_proper_class(
    served: Served, version: Version, asked: Any, error: str, status: int, param: str | None
) -> None:
    for do in ("create", "whole"):
        (line,) = await ask(version, served.url, do, **asked)
        assert (line["error"], line["status_code"], line.get("param")) == (error, status, param or line.get("param"))


@both_versions
async def test_without_a_key_it_is_not_authenticated(version: Version) -> None:
    async with serving(with_keys()) as server:
        (line,) = await ask(version, server.url, "create")
    assert (line["error"], line["status_code"]) == ("AuthenticationError", 401)


@both_versions
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=429, body={"error": {"message": "slow down"}}), "RateLimitError"),
        (Reply(status=500, body={"error": {"message": "out of order"}}), "InternalServerError"),
    ],
)
async def test_a_provider_that_fails_before_its_first_word_raises(
    served: Served, provider: Provider, version: Version, reply: Reply, error: str
) -> None:
    provider.script(reply)
    (line,) = await ask(version, served.url, "create")
    assert line["error"] == error


@both_versions
async def test_a_provider_that_dies_in_mid_answer_is_a_failure_and_no_end(
    served: Served, provider: Provider, version: Version
) -> None:
    provider.script(opening(), text("half an ans"), Cut())
    *events, _ = await ask(version, served.url, "create")
    assert types(events)[-1] == "failed"
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]["code"], failed["error"]["reason"]) == (
        "failed",
        "server_error",
        "provider_truncated",
    )
    provider.script(opening(), text("half an ans"), Cut())
    lines = await ask(version, served.url, "stream")
    assert (lines[-1]["error"], "response.completed" in lines[-1]["message"]) == ("RuntimeError", True)
    provider.script(opening(), text("half an ans"), Cut())
    (line,) = await ask(version, served.url, "whole")
    assert (line["error"], line["code"]) == ("InternalServerError", "provider_truncated")


@both_versions
async def test_a_line_that_is_cut_is_never_a_complete_answer(
    served: Served, provider: Provider, version: Version
) -> None:
    provider.script(answer(*(f"{number} " for number in range(200))))
    async with CuttingProxy(served.port, plans=[Plan(20_000, "fin")]).listening() as proxy:
        lines = await ask(version, proxy.url, "stream")
    assert "error" in lines[-1]
    assert "completed" not in types(lines)


@both_versions
async def test_an_answer_in_the_background_is_taken_up_again_by_number(served: Served, version: Version) -> None:
    *events, _ = await ask(version, served.url, "create", background=True)
    assert types(events)[:3] == ["created", "queued", "in_progress"]
    answered = events[0]["response"]["id"]
    for number in (0, 4, len(events) - 2):
        *rest, _ = await ask(version, served.url, "resume", response_id=answered, starting_after=number)
        assert rest == events[number + 1 :]
    final, _ = await ask(version, served.url, "retrieve", response_id=answered)
    assert (final["text"], final["response"]["status"]) == ("".join(USUAL), "completed")


@both_versions
async def test_its_helper_reads_an_answer_that_is_opened_again_where_an_item_was_done(
    served: Served, version: Version
) -> None:
    begun, _ = await ask(version, served.url, "whole", model=MODEL, background=True)
    telling = await served.telling(0)
    telling.say(
        *(Started(telling.run.id, "m", 0), Opened(0, "reasoning"), Delta(0, "hm"), Closed(0)),
        *(Opened(1, "tool_call", name="weather", call_id="c"), Opened(2, "text"), Delta(2, "Hel"), Delta(1, "{")),
    )
    await until("it was said", lambda: telling.yielded == 8)
    held = await ask(version, served.url, "retrieve", response_id=begun["response"]["id"])
    assert held[0]["text"] == "Hel"
    reading = asyncio.ensure_future(
        ask(version, served.url, "reopen", response_id=begun["response"]["id"], starting_after=13)
    )
    await served.attended(1)
    telling.say(Delta(2, "lo"), Delta(1, "}"), Closed(1), Closed(2), Finished("stop"))
    *events, final, end = await reading
    assert [event["delta"] for event in events if event.get("type") == "response.output_text.delta"] == ["lo"]
    assert [event["snapshot"] for event in events if event.get("type") == "response.output_text.delta"] == ["Hello"]
    assert (final["text"], end) == ("Hello", {"end": "complete"})


@both_versions
async def test_an_answer_in_the_background_can_be_stopped(served: Served, provider: Provider, version: Version) -> None:
    gate = Gate()
    provider.script(opening(), text("half"), gate, closing())
    begun, _ = await ask(version, served.url, "whole", background=True)
    assert begun["response"]["status"] in ("queued", "in_progress")
    await gate.reached.wait()
    answered = begun["response"]["id"]
    await ask(version, served.url, "cancel", response_id=answered)
    await until("it has ended", lambda: bool(served.seen.ended))
    stopped, _ = await ask(version, served.url, "retrieve", response_id=answered)
    assert (stopped["response"]["status"], stopped["text"]) == ("cancelled", "half")
    *_, failed, _ = await ask(version, served.url, "resume", response_id=answered)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "cancelled")


@both_versions
async def test_a_question_goes_on_from_the_answer_before(served: Served, provider: Provider, version: Version) -> None:
    first, _ = await ask(version, served.url, "whole", instructions="Be brief.")
    *_, final, _ = await ask(version, served.url, "stream", input="go on", previous_response_id=first["response"]["id"])
    assert final["response"]["previous_response_id"] == first["response"]["id"]
    assert provider.requests[1].json["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "".join(USUAL)},
        {"role": "user", "content": "go on"},
    ]


@pytest.mark.needs("llama")
@both_versions
async def test_it_reads_a_real_model(llama_server: str, version: Version) -> None:
    config = Config(models={"fake": ModelConfig(targets=(f"{llama_server}#fake",))})
    async with serving(configured(config)) as served:
        *_, final, end = await ask(version, served.url, "stream")
        (run,) = served.runs.by_id.values()
        assert final["text"] == "".join(part.text for part in run.log.snapshot().parts)
    assert end == {"end": "complete"}
    assert final["response"]["usage"]["output_tokens"] > 0
    await slots_idle(llama_server)


def test_every_event_and_every_response_is_what_the_sdk_declares() -> None:
    """Against the types of 3.x, which its client does not check itself."""
    events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    told = 0
    for folder in SITUATIONS:
        for line in (folder / "out" / "openai-responses.ndjson").read_bytes().splitlines():
            event = msgspec.json.decode(line)
            events.validate_python(event)
            if "response" in event:
                Response.model_validate(event["response"])
            told += 1
    assert told > 100
