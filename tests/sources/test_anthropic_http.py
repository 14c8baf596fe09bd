"""The Anthropic source against a provider on a real socket: what it asks, what it hears, and how it fails."""

import asyncio
import gzip
from collections.abc import AsyncGenerator

import msgspec
import pytest

from penstock.core.events import Closed, Delta, Finished, Note, Opened, Started, Usage
from penstock.sources.anthropic_http import AnthropicProvider
from penstock.sources.provider import HttpSource
from penstock.testing.sources import check_source
from tests.fakes.provider import Provider
from tests.fakes.script import EVENT_STREAM, Body, Cut, End, Gate, Hang, Head, Reply, Reset, Trickle
from tests.sources.asking import SECRET, ask, failure, heard, question
from tests.sources.asking import text as text_of
from tests.sources.recordings import FOLDER

RECORDED = (FOLDER / "anthropic_text.sse").read_bytes()
HALF = RECORDED[: RECORDED.index(b"event: content_block_stop")]
SAID = "Hello! A penstock is a gated pipe – wie ein Fallrohr 🚰."


@pytest.fixture
async def source(provider: Provider, client: str) -> AsyncGenerator[HttpSource]:
    source = AnthropicProvider(provider.base_url, api_key=SECRET).source("claude-test")
    yield source
    await source.close()


async def test_an_answer_is_counted_early_said_closed_counted_and_finished(
    source: HttpSource, provider: Provider
) -> None:
    provider.script(Head(), Body(RECORDED), End())
    events, broken = await heard(ask(source))
    assert broken is None
    assert (events[:3], events[-3:]) == (
        [
            Started("st_solo", "claude-test", 1_700_000_000),
            Usage(3097, 1, "reported", cached=2048, cache_written=1024),
            Opened(0, "text"),
        ],
        [Closed(0), Usage(3097, 17, "reported", cached=2048, cache_written=1024), Finished("stop")],
    )
    assert text_of(events) == SAID


async def test_the_provider_is_asked_in_its_own_words(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Body(RECORDED), End())
    await heard(ask(source, question("hi", temperature=0.5, stop="END")))
    request = await provider.next_request()
    assert request.path == "/v1/messages"
    assert request.json == {
        "model": "claude-test",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "stream": True,
    }
    names = ("x-api-key", "anthropic-version", "accept", "accept-encoding", "content-type")
    assert {name: request.headers[name] for name in names} == {
        "x-api-key": SECRET,
        "anthropic-version": "2023-06-01",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    assert not {"authorization", "anthropic-beta"} & request.headers.keys()


async def test_version_and_betas_of_the_client_are_passed_on_and_nothing_else(
    source: HttpSource, provider: Provider
) -> None:
    headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "files-api-2025-04-14", "x-other": "1"}
    provider.script(Head(), Body(RECORDED), End())
    await heard(ask(source, msgspec.structs.replace(question(), headers=headers)))
    asked = (await provider.next_request()).headers
    assert (asked["anthropic-version"], asked["anthropic-beta"]) == ("2024-01-01", "files-api-2025-04-14")
    assert "x-other" not in asked


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/gateway/anthropic", "/gateway/anthropic/v1"])
async def test_a_base_url_is_taken_with_and_without_v1(path: str, provider: Provider) -> None:
    root = provider.base_url.removesuffix("/v1")
    anthropic = AnthropicProvider(root + path)
    await heard(ask(anthropic.source("m")))
    await anthropic.close()
    assert [request.path for request in provider.requests] == [path.rstrip("/").removesuffix("/v1") + "/v1/messages"]


async def test_what_had_to_be_left_out_is_told_after_the_start(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Body(RECORDED), End())
    events, _ = await heard(ask(source, question(store=True, prompt_cache_key="k")))
    assert events[1] == Note("left_out", {"fields": ["store", "prompt_cache_key"]})


async def test_what_cannot_be_carried_is_refused_before_anything_is_asked(
    source: HttpSource, provider: Provider
) -> None:
    _, broken = await heard(ask(source, question(seed=7)))
    assert broken is not None
    assert (broken.fault.code, broken.fault.param) == ("not_carried", "seed")
    assert provider.requests == []


async def test_every_piece_comes_as_it_is_said(source: HttpSource, provider: Provider) -> None:
    rest, gate = RECORDED[len(HALF) :], Gate()
    provider.script(Head(), Body(HALF), gate, Body(rest), End())
    stream = ask(source)
    said = ""
    async for event in stream:
        if isinstance(event, Delta):
            said += event.text
        if said == SAID and not gate.opened.is_set():
            await gate.reached.wait()
            gate.open()
    assert said == SAID


async def test_a_trickle_of_single_bytes_says_the_same(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Trickle(RECORDED, asyncio.Semaphore(len(RECORDED))), End())
    events, broken = await heard(ask(source))
    assert (text_of(events), broken) == (SAID, None)


def refusal(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "kind", "message", "code"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", "provider_refused"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_too_long"),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000",
            "context_too_long",
        ),
        (401, "authentication_error", "invalid x-api-key sk-secret", "provider_auth"),
        (403, "permission_error", "Your API key may not use this", "provider_auth"),
        (404, "not_found_error", "model: claude-nope", "provider_model_unknown"),
        (413, "request_too_large", "Request exceeds the maximum size", "provider_refused"),
        (429, "rate_limit_error", "Number of requests has exceeded", "provider_rate_limited"),
        (500, "api_error", "Internal server error", "provider_error"),
        (529, "overloaded_error", "Overloaded", "provider_overloaded"),
    ],
)
async def test_a_refusal_becomes_an_error_of_the_table(
    status: int, kind: str, message: str, code: str, source: HttpSource, provider: Provider
) -> None:
    provider.script(Reply(status=status, body=refusal(kind, message)))
    assert await failure(source) == ("", code)


async def test_how_long_to_wait_is_passed_on(source: HttpSource, provider: Provider) -> None:
    provider.script(Reply(status=429, body=refusal("rate_limit_error", "slow down"), headers={"Retry-After": "7"}))
    _, broken = await heard(ask(source))
    assert broken is not None
    assert (broken.fault.code, broken.fault.retry_after) == ("provider_rate_limited", 7.0)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(body=b"<html>", headers={"Content-Type": "text/html"}), "provider_garbled"),
        (Reply(body=refusal("overloaded_error", "Overloaded")), "provider_overloaded"),
        (Reply(body=b'{"type":"message"}'), "provider_garbled"),
        (Reply(body=gzip.compress(RECORDED), headers={**EVENT_STREAM, "Content-Encoding": "gzip"}), "provider_garbled"),
        (Reply(status=502, body=b"<html>Bad Gateway", headers={"Content-Type": "text/html"}), "provider_error"),
    ],
)
async def test_what_is_no_stream_is_no_answer(reply: Reply, code: str, source: HttpSource, provider: Provider) -> None:
    provider.script(reply)
    assert await failure(source) == ("", code)


@pytest.mark.parametrize("ending", [End(), Cut(), Reset()])
async def test_an_end_without_message_stop_is_truncated(
    ending: End | Cut | Reset, source: HttpSource, provider: Provider
) -> None:
    gate = Gate()
    provider.script(Head(), Body(HALF), gate, ending)
    stream = ask(source)
    said = ""
    async for event in stream:
        if isinstance(event, Delta):
            said += event.text
        if said == SAID:
            gate.open()
            break
    _, broken = await heard(stream)
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


async def test_an_error_in_the_middle_comes_after_what_was_said(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Body((FOLDER / "anthropic_error_midway.sse").read_bytes()), End())
    assert await failure(source) == ("Half an ans", "provider_overloaded")


async def test_the_law_of_sources_holds(source: HttpSource, provider: Provider) -> None:
    recording = (FOLDER / "anthropic_web_search.sse").read_bytes()
    for _ in range(64):
        provider.script(Head(), Body(recording), End())
    await check_source(source, question())


async def test_leaving_closes_the_connection_at_once(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Body(HALF), Hang())
    stream = ask(source)
    async for event in stream:
        if isinstance(event, Delta):
            break
    await stream.aclose()
    await provider.connections[0].peer_gone.wait()
    assert provider.connections[0].left_by in ("eof", "reset")


async def test_a_finished_answer_leaves_its_connection_for_the_next(source: HttpSource, provider: Provider) -> None:
    for _ in range(2):
        provider.script(Head(), Body(RECORDED), End())
        await heard(ask(source))
    assert len(provider.connections) == 1
