"""What openai-python 2.x and 3.x add to the wire: tools, structured output, the stream helper, error classes and retries."""

from typing import Any

import pytest

from tests.clients.openai_sdk import BOTH_VERSIONS, Version, content, read_with_openai
from tests.fakes.provider import Provider
from tests.fakes.script import Reply
from tests.server.keyed import with_keys
from tests.serving import Served, serving

pytestmark = pytest.mark.parametrize("version", BOTH_VERSIONS)

CITY = {"name": "Ulm", "people": 128928}
ABOUT_ULM = ("--prompt", "The city 'Ulm' has 128928 people")


async def read(version: Version, served: Served, *flags: str) -> list[dict[str, Any]]:
    return await read_with_openai(version, f"{served.url}/v1", "--model", "fake", *flags)


async def test_a_described_object_comes_as_one(served: Served, provider: Provider, version: Version) -> None:
    assert await read(version, served, "--parse", "--no-stream", *ABOUT_ULM) == [{"parsed": CITY}, {"end": "complete"}]
    asked = provider.requests[-1].json["response_format"]
    assert (asked["type"], asked["json_schema"]["name"], asked["json_schema"]["strict"]) == (
        "json_schema",
        "City",
        True,
    )


async def test_a_described_object_is_seen_growing(served: Served, version: Version) -> None:
    *events, answer, parsed, end = await read(version, served, "--parse", *ABOUT_ULM)
    assert "".join(event["text"] for event in events) == answer["answer"]["choices"][0]["message"]["content"]
    assert (parsed, end) == ({"parsed": CITY}, {"end": "complete"})


async def test_the_stream_helper_tells_of_each_call_when_it_is_whole(served: Served, version: Version) -> None:
    called, answer, end = await read(version, served, "--helper", "--tools", "--prompt", "The weather in 'Köln'?")
    assert called == {
        "event": "tool_calls.function.arguments.done",
        "name": "weather",
        "arguments": '{"city":"Köln"}',
    }
    choice = answer["answer"]["choices"][0]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"]), end) == (
        "tool_calls",
        1,
        {"end": "complete"},
    )


async def test_the_stream_helper_puts_text_together(served: Served, version: Version) -> None:
    *events, answer, end = await read(version, served, "--helper", "--usage")
    assert "".join(event["text"] for event in events) == "You said: hello"
    assert answer["answer"]["choices"][0]["message"]["content"] == "You said: hello"
    assert (answer["answer"]["usage"]["completion_tokens"], end) == (3, {"end": "complete"})


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, "BadRequestError", "provider_refused"),
        (401, "InternalServerError", "provider_auth"),
        (404, "NotFoundError", "provider_model_unknown"),
        (500, "InternalServerError", "provider_error"),
        (503, "InternalServerError", "provider_overloaded"),
    ],
)
async def test_what_the_provider_refuses_is_its_proper_class(
    served: Served, provider: Provider, version: Version, status: int, error: str, code: str
) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "no"}}))
    (line,) = await read(version, served)
    assert (line["error"], line["code"]) == (error, code)
    assert line["request"].startswith("req_")


async def test_a_wrong_key_is_its_own_class(version: Version) -> None:
    async with serving(with_keys()) as served:
        (line,) = await read(version, served, "--key", "nobody's")
        assert (line["error"], line["status"], line["code"]) == ("AuthenticationError", 401, "unauthenticated")


async def test_it_tries_again_what_may_be_tried_again(served: Served, provider: Provider, version: Version) -> None:
    provider.script(Reply(status=503, body={"error": {"message": "busy"}}, headers={"Retry-After": "0.01"}))
    lines = await read(version, served, "--retries", "1")
    assert (content(lines), lines[-1]) == ("You said: hello", {"end": "complete"})
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [400, 401])
async def test_it_tries_no_second_time_what_would_fail_again(
    served: Served, provider: Provider, version: Version, status: int
) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "no"}}))
    (line,) = await read(version, served, "--retries", "3")
    assert line["error"] == ("BadRequestError" if status == 400 else "InternalServerError")
    assert len(provider.requests) == 1
