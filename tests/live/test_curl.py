"""curl, as people type it: piece by piece, the exit code of an answer that broke off, old HTTP, and coming back for the rest."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

import pytest

from penstock.core.events import Cancelled
from tests.clients.eventsource_parser import parse_event_stream
from tests.clients.program import Program, program
from tests.server.reading import detached
from tests.serving import Served, serving
from tests.waiting import until

pytestmark = pytest.mark.needs("curl")

QUESTION = ("-d", '{"prompt": "speak"}')
LINES = ("-H", "Accept: application/x-ndjson")
PARTIAL_FILE, RECEIVE_ERROR, HTTP_ERROR = 18, 56, 22
"""Exit codes, as curl(1) lists them."""


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving() as server:
        yield server


def curl(*arguments: str) -> AbstractAsyncContextManager[Program]:
    """Run `curl -N` with these arguments, without anybody's ~/.curlrc or proxy."""
    return program("curl", "-q", "--noproxy", "*", "-sN", *arguments)


async def spoken(served: Served, *words: str) -> str:
    """A run that has said these words and ended well; its id."""
    async with served.client() as client:
        run = await detached(client)
    telling = await served.telling(len(served.source.tellings) - 1)
    telling.speak(*words)
    telling.finish()
    await until("the run has ended", lambda: run in served.seen.ended)
    return run


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_bare_text_is_shown_word_by_word(served: Served, version: str) -> None:
    async with curl(version, f"{served.url}/v1/chat/chunked", *QUESTION) as shown:
        telling = await served.telling()
        assert telling.request.prompt == "speak"
        for word in ("one", " zwö", " 三\n", " 👋🏽"):
            telling.speak(word)
            await shown.shows(word)
        telling.finish()
        assert await shown.ended() == 0
    assert shown.text == "one zwö 三\n 👋🏽"


@pytest.mark.parametrize(
    ("version", "code"), [("--http1.1", PARTIAL_FILE), ("--http1.0", RECEIVE_ERROR)], ids=["http1.1", "http1.0"]
)
@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_bare_text_that_broke_off_is_an_error_of_curl(served: Served, how: str, version: str, code: int) -> None:
    async with curl(version, f"{served.url}/v1/chat/chunked", *QUESTION) as shown:
        telling = await served.telling()
        telling.speak("half an ans")
        await shown.shows("half an ans")
        if how == "failed":
            telling.speak("wer")
            telling.fail("provider_truncated")
        else:
            async with curl("-X", "DELETE", f"{served.url}/v1/streams/{served.only.id}") as deleting:
                assert await deleting.ended() == 0
            assert json.loads(deleting.text)["end"] == {"type": "cancelled", "by": "client"}
        assert await shown.ended() == code
    assert shown.text == ("half an answer" if how == "failed" else "half an ans")


async def test_lines_are_shown_one_by_one_and_tell_a_failure_in_words(served: Served) -> None:
    async with curl(f"{served.url}/v1/chat/chunked", *LINES, *QUESTION) as shown:
        telling = await served.telling()
        telling.speak("one")
        await shown.shows('"one"')
        telling.fail("provider_truncated")
        assert await shown.ended() == 0
    lines = [json.loads(line) for line in shown.text.splitlines()]
    assert [line["type"] for line in lines] == ["started", "opened", "delta", "closed", "failed"]
    assert lines[-1]["error"]["code"] == "provider_truncated"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_events_are_shown_one_by_one(served: Served, method: str) -> None:
    body = ("-d", '{"messages": [{"role": "user", "content": "speak"}]}')
    asked = ("?prompt=speak",) if method == "GET" else ("", *body)
    async with curl(f"{served.url}/v1/chat/stream{asked[0]}", *asked[1:]) as shown:
        telling = await served.telling()
        for word in ("one", " two"):
            telling.speak(word)
            await shown.shows(json.dumps(word))
        telling.finish()
        assert await shown.ended() == 0
    chunks = [event.data for event in parse_event_stream(shown.text.encode())]
    assert (chunks[-1] == "[DONE]") is (method == "POST")
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks if chunk != "[DONE]"]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two"


async def test_the_rest_of_a_text_is_asked_for_by_the_bytes_one_has(served: Served) -> None:
    run = await spoken(served, "one zwö", " 三\n", " 👋🏽", " four")
    whole = "one zwö 三\n 👋🏽 four".encode()
    url, text = f"{served.url}/v1/streams/{run}/events", ("-H", "Accept: text/plain")
    for have in (0, 3, 7, len(whole) - 1):
        # A count may fall into the middle of a character: curl passes on bytes, and the file is whole in the end.
        process = await asyncio.create_subprocess_exec(
            *("curl", "-q", "--noproxy", "*", "-sN", *text, f"{url}?after=bytes={have}"), stdout=asyncio.subprocess.PIPE
        )
        rest, _ = await process.communicate()
        assert (process.returncode, whole[:have] + rest) == (0, whole)
    async with curl(*text, "-w", "%{http_code}", f"{url}?after=bytes={len(whole)}") as shown:
        assert (await shown.ended(), shown.text) == (0, "204")
    async with curl(*text, "--fail-with-body", f"{url}?after=bytes={len(whole) + 1}") as shown:
        assert await shown.ended() == HTTP_ERROR
    assert json.loads(shown.text)["error"]["code"] == "cursor_ahead"


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_the_rest_is_asked_for_with_the_last_id(served: Served, accept: str) -> None:
    run = await spoken(served, "one", " two", " three")
    url, headers = f"{served.url}/v1/streams/{run}/events", ("-H", f"Accept: {accept}")
    async with curl(*headers, "-H", f"Last-Event-ID: {run}:a1:3", url) as shown:
        assert await shown.ended() == 0
    async with curl(*headers, f"{url}?after={run}:a1:3") as again:
        assert await again.ended() == 0
    assert again.text == shown.text
    if accept == "application/x-ndjson":
        events = [json.loads(line) for line in shown.text.splitlines()]
    else:
        events = [json.loads(event.data) for event in parse_event_stream(shown.text.encode())]
    assert [event.get("text", event["type"]) for event in events] == [" two", " three", "closed", "finished"]


async def test_a_refusal_is_an_error_of_curl_with_its_words(served: Served) -> None:
    async with curl("--fail-with-body", f"{served.url}/v1/chat/chunked", "-d", "{") as shown:
        assert await shown.ended() == HTTP_ERROR
    assert json.loads(shown.text)["error"]["code"] == "invalid_json"


async def test_a_question_asked_with_curls_own_content_type_or_compression_is_answered_in_the_clear(
    served: Served,
) -> None:
    async with curl("-i", "--compressed", f"{served.url}/v1/chat/chunked", *QUESTION) as shown:
        telling = await served.telling()
        telling.speak("one")
        telling.finish()
        assert await shown.ended() == 0
    head, _, said = shown.text.replace("\r", "").partition("\n\n")
    assert (said, "content-encoding" in head.lower()) == ("one", False)


async def test_a_client_of_old_http_gets_no_chunks_and_the_end_of_the_connection_as_the_end(served: Served) -> None:
    async with curl("-i", "--raw", "--http1.0", f"{served.url}/v1/chat/chunked", *LINES, *QUESTION) as shown:
        telling = await served.telling()
        telling.speak("one", " two")
        telling.finish()
        assert await shown.ended() == 0
    head, _, body = shown.text.replace("\r", "").partition("\n\n")
    assert "transfer-encoding" not in head.lower()
    assert "connection: close" in head.lower()
    assert [json.loads(line)["type"] for line in body.splitlines()][-2:] == ["closed", "finished"]


async def test_stopping_curl_stops_the_run(served: Served) -> None:
    async with curl(f"{served.url}/v1/chat/chunked", *QUESTION) as shown:
        telling = await served.telling()
        telling.speak("one")
        await shown.shows("one")
        shown.process.terminate()
        await telling.closed.wait()
    await until("the run has ended", lambda: served.seen.ended == {served.only.id: Cancelled("disconnect")})
