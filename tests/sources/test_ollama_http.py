"""The Ollama source against a provider on a real socket: what it asks, what it hears, and how it fails."""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from penstock.core.events import Closed, Delta, Event, Failed, Finished, Opened, Started, Usage
from penstock.sources.line_splitter import LineSplitter
from penstock.sources.ollama_http import OllamaChat, OllamaProvider
from penstock.sources.provider import HttpSource
from penstock.sources.sse_splitter import LIMIT
from penstock.testing.sources import check_source
from tests.fakes.provider import Provider
from tests.fakes.script import Body, Cut, End, Gate, Hang, Head, Reply, Reset, Trickle
from tests.sources.asking import SECRET, ask, failure, heard, question
from tests.sources.asking import text as text_of
from tests.sources.recordings import FOLDER
from tests.sources.recordings import parsed as read

RECORDED = (FOLDER / "ollama_text.ndjson").read_bytes()
SAID = "The sky is blue, heißt es 🚰."
LINES = Head(headers={"Content-Type": "application/x-ndjson"})


@pytest.fixture
async def source(provider: Provider) -> AsyncGenerator[HttpSource]:
    source = OllamaProvider(provider.base_url, api_key=SECRET).source("qwen3")
    yield source
    await source.close()


async def test_an_answer_is_started_opened_said_closed_counted_and_finished(
    source: HttpSource, provider: Provider
) -> None:
    provider.script(LINES, Body(RECORDED), End())
    events, broken = await heard(ask(source))
    assert (broken, text_of(events)) == (None, SAID)
    assert (events[:2], events[-3:]) == (
        [Started("st_solo", "qwen3", 1_700_000_000), Opened(0, "text")],
        [Closed(0), Usage(26, 282, "reported"), Finished("stop")],
    )


async def test_the_provider_is_asked_in_its_own_words(source: HttpSource, provider: Provider) -> None:
    provider.script(LINES, Body(RECORDED), End())
    await heard(ask(source, question("hi", temperature=0.5, keep_alive="5m")))
    request = await provider.next_request()
    assert (request.path, request.headers["authorization"]) == ("/api/chat", "Bearer sk-secret")
    assert request.headers["accept"] == "application/x-ndjson"
    assert request.json == {
        "model": "qwen3",
        "messages": [{"role": "user", "content": "hi"}],
        "keep_alive": "5m",
        "options": {"temperature": 0.5},
        "stream": True,
    }


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/ollama", "/ollama/v1"])
async def test_a_base_url_is_taken_with_and_without_v1(path: str, provider: Provider) -> None:
    ollama = OllamaProvider(provider.base_url.removesuffix("/v1") + path)
    await heard(ask(ollama.source("m")))
    await ollama.close()
    assert [request.path for request in provider.requests] == [path.rstrip("/").removesuffix("/v1") + "/api/chat"]


async def test_every_piece_comes_as_it_is_said(source: HttpSource, provider: Provider) -> None:
    first, _, rest = RECORDED.partition(b"\n")
    gate = Gate()
    provider.script(LINES, Body(first + b"\n"), gate, Body(rest), End())
    said = ""
    async for event in ask(source):
        if isinstance(event, Delta):
            said += event.text
        if said == "The" and not gate.opened.is_set():
            await gate.reached.wait()
            gate.open()
    assert said == SAID


async def test_a_trickle_of_single_bytes_says_the_same(source: HttpSource, provider: Provider) -> None:
    provider.script(LINES, Trickle(RECORDED, asyncio.Semaphore(len(RECORDED))), End())
    events, broken = await heard(ask(source))
    assert (text_of(events), broken) == (SAID, None)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, '"qwen3" does not support thinking', "provider_refused"),
        (401, "unauthorized", "provider_auth"),
        (404, "model 'qwen3' not found", "provider_model_unknown"),
        (429, "too many", "provider_rate_limited"),
        (500, "llama runner process has terminated", "provider_error"),
        (503, "server busy, please try again. maximum pending requests exceeded", "provider_overloaded"),
    ],
)
async def test_a_refusal_becomes_an_error_of_the_table(
    status: int, message: str, code: str, source: HttpSource, provider: Provider
) -> None:
    provider.script(Reply(status=status, body={"error": message}))
    assert await failure(source) == ("", code)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>", headers={"Content-Type": "text/html"}),
        Reply(body=RECORDED, headers={"Content-Type": "text/event-stream"}),
        Reply(body=b"Ollama is running", headers={"Content-Type": "text/plain"}),
    ],
)
async def test_what_is_no_stream_is_no_answer(reply: Reply, source: HttpSource, provider: Provider) -> None:
    provider.script(reply)
    assert await failure(source) == ("", "provider_garbled")


@pytest.mark.parametrize("ending", [End(), Cut(), Reset()])
async def test_an_end_before_it_is_done_is_truncated(
    ending: End | Cut | Reset, source: HttpSource, provider: Provider
) -> None:
    half, gate = b"".join(RECORDED.splitlines(keepends=True)[:2]), Gate()
    provider.script(LINES, Body(half), gate, ending)
    stream = ask(source)
    said = ""
    async for event in stream:
        if isinstance(event, Delta):
            said += event.text
        if said == "The sky":
            gate.open()
            break
    _, broken = await heard(stream)
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


async def test_an_error_in_the_middle_comes_after_what_was_said(source: HttpSource, provider: Provider) -> None:
    provider.script(LINES, Body((FOLDER / "ollama_error.ndjson").read_bytes()), End())
    assert await failure(source) == ("Half an answer", "provider_error")


async def test_the_law_of_sources_holds(source: HttpSource, provider: Provider) -> None:
    recording = (FOLDER / "ollama_tools.ndjson").read_bytes()
    for _ in range(64):
        provider.script(LINES, Body(recording), End())
    await check_source(source, question())


async def test_leaving_closes_the_connection_at_once(source: HttpSource, provider: Provider) -> None:
    provider.script(LINES, Body(RECORDED.splitlines(keepends=True)[0]), Hang())
    stream = ask(source)
    async for event in stream:
        if isinstance(event, Delta):
            break
    await stream.aclose()
    await provider.connections[0].peer_gone.wait()
    assert provider.connections[0].left_by in ("eof", "reset")


# -- lines -----------------------------------------------------------------------------------------------------------


def parsed(*lines: object) -> list[Event]:
    stream = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return read(OllamaChat().parser("provider.test", secret=None), stream)


def code(events: list[Event]) -> str:
    last = events[-1]
    assert isinstance(last, Failed)
    return last.error.code


DONE = {"done": True}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"nonsense",
        b"[" * 100_000,
        {"message": 7},
        {"message": {"content": 7}},
        {"message": {"tool_calls": [7]}},
        {"message": {"tool_calls": [{"function": {"name": None}}]}},
        {"done": "yes"},
    ],
)
def test_a_line_that_is_no_answer_is_garbled(line: object) -> None:
    assert code(parsed(line, DONE)) == "provider_garbled"


def test_half_of_a_surrogate_pair_is_marked() -> None:
    events = parsed(b'{"message": {"content": "a\\ud83d"}, "done": true}')
    assert (text_of(events), events[-1]) == ("a\ufffd", Finished("stop"))


@pytest.mark.parametrize("count", [-1, "7", None, 2**60, True, 1.0])
def test_a_count_that_is_none_is_not_believed(count: object) -> None:
    events = parsed({**DONE, "prompt_eval_count": 3, "eval_count": count})
    assert [(event.input, event.output) for event in events if isinstance(event, Usage)] == [
        (3, 1 if count in (True, 1.0) else 0)
    ]


def test_a_reason_of_its_own_is_kept() -> None:
    assert parsed({**DONE, "done_reason": "load"}) == [Finished("load")]


def test_what_follows_the_end_is_ignored() -> None:
    assert parsed(DONE, {"message": {"content": "late"}}) == [Finished("stop")]


def test_a_line_that_never_ends_is_garbled() -> None:
    parser = OllamaChat().parser("provider.test", secret=None)
    pieces = [b"x" * (LIMIT // 2)] * 3
    assert code(read(parser, *pieces)) == "provider_garbled"


def test_blank_lines_say_nothing_and_a_rest_is_kept() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"\n\r\n{}\r\n\n1") == [b"{}\r"]
    assert splitter.feed(b"2") == []
    assert splitter.rest() == b"12"
    assert splitter.feed(b"\n") == [b"12"]
    assert splitter.rest() == b""
