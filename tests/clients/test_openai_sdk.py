"""Both openai versions read the fake provider, and their reader reports what they make of it."""

import pytest

from tests.clients.openai_sdk import BOTH_VERSIONS, Version, content, read_with_openai
from tests.fakes.provider import Provider
from tests.fakes.script import Body, Cut, Event, Reply, closing, opening, text, tool_call, usage_of

pytestmark = pytest.mark.parametrize("version", BOTH_VERSIONS)


async def test_it_streams_with_usage(provider: Provider, version: Version) -> None:
    lines = await read_with_openai(version, provider.base_url, "--usage")
    assert content(lines) == "Hello, world!"
    assert lines[-2]["usage"] == usage_of(3, 4)
    assert lines[-1] == {"end": "complete"}
    assert provider.requests[0].headers["x-stainless-package-version"].split(".")[0] == version


async def test_it_reads_a_whole_answer(provider: Provider, version: Version) -> None:
    lines = await read_with_openai(version, provider.base_url, "--no-stream")
    assert lines[0]["choices"][0]["message"]["content"] == "Hello, world!"
    assert lines[-1] == {"end": "complete"}


async def test_it_reads_tool_calls(provider: Provider, version: Version) -> None:
    calls = [tool_call(0, "", call_id="call_1", name="weather"), tool_call(0, '{"city":"Ulm"}')]
    provider.script(*opening(), *calls, *closing(finish="tool_calls"))
    lines = await read_with_openai(version, provider.base_url, "--tools")
    fragments = [call for line in lines[1:3] for call in line["choices"][0]["delta"]["tool_calls"]]
    assert [fragment["function"] for fragment in fragments] == [
        {"arguments": "", "name": "weather"},
        {"arguments": '{"city":"Ulm"}'},
    ]
    assert provider.requests[0].json["tools"][0]["function"]["name"] == "weather"


async def test_an_error_object_in_the_stream_is_an_error(provider: Provider, version: Version) -> None:
    failed = {"error": {"message": "upstream died", "type": "server_error", "code": "upstream_closed"}}
    provider.script(*opening(), text("Hel"), Event(failed), *closing())
    lines = await read_with_openai(version, provider.base_url)
    assert content(lines) == "Hel"
    assert (lines[-1]["error"], lines[-1]["message"], lines[-1]["code"]) == (
        "APIError",
        "upstream died",
        "upstream_closed",
    )


async def test_a_refusal_keeps_its_status(provider: Provider, version: Version) -> None:
    provider.script(Reply(status=429, body={"error": {"message": "slow down", "code": "rate_limited"}}))
    lines = await read_with_openai(version, provider.base_url)
    assert (lines[-1]["error"], lines[-1]["status"], lines[-1]["code"]) == ("RateLimitError", 429, "rate_limited")
    assert len(provider.requests) == 1


async def test_a_cut_line_is_an_error(provider: Provider, version: Version) -> None:
    provider.script(*opening(), text("Hel"), Cut())
    lines = await read_with_openai(version, provider.base_url)
    assert content(lines) == "Hel"
    assert "error" in lines[-1]


async def test_a_block_without_data_is_what_breaks_it(provider: Provider, version: Version) -> None:
    provider.script(*opening(), Body(b"id: 7\n\n"), *closing())
    lines = await read_with_openai(version, provider.base_url)
    assert lines[-1]["error"] == "JSONDecodeError"
