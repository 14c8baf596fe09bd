"""The browser's fetch: chunked bodies read piece by piece, a failure that cannot be taken for an end, binary parts as base64."""

import hashlib
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

from penstock.core.events import Cancelled, Chunk, Closed, Finished, Opened, Started
from tests.browser.chromium import complained, go_to_origin
from tests.server.reading import PROMPT, TEXT
from tests.serving import Served, serving
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

READ = """([path, accept, body]) => {
    window.text = ''
    window.code = 0
    window.ended = ''
    window.stop = new AbortController()
    const read = async () => {
        const headers = {accept, 'content-type': 'application/json'}
        const response = await fetch(path, {method: 'POST', headers, body: JSON.stringify(body), signal: stop.signal})
        window.code = response.status
        window.run = response.headers.get('penstock-stream-id')
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) text += piece.value
    }
    read().then(() => (ended = 'complete'), (error) => (ended = error.name))
}"""
BASE64_DIGEST = """async (pieces) => {
    const bytes = pieces.map((piece) => Uint8Array.from(atob(piece), (character) => character.charCodeAt(0)))
    const whole = await new Blob(bytes).arrayBuffer()
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', whole))
    return [whole.byteLength, [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')]
}"""
EVENT_SOURCE = """(url) => new Promise((resolve) => {
    const heard = []
    const source = new EventSource(url)
    source.onmessage = ({data}) => heard.push(JSON.parse(data))
    source.onerror = () => source.readyState === EventSource.CLOSED && resolve(heard)
})"""
PICTURE = bytes(range(256)) * 400


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving() as server:
        yield server


async def fetch(page: "Page", served: Served, accept: str) -> None:
    """Begin to read an answer; what has come stands in the page."""
    await go_to_origin(page, served.url)
    await page.evaluate(READ, ["/v1/chat/chunked", accept, PROMPT])


async def test_bare_text_is_read_piece_by_piece(served: Served, page: "Page") -> None:
    await fetch(page, served, "*/*")
    telling = await served.telling()
    whole = ""
    for word in ("one", " zwö", " 三\n", " 👋🏽"):
        telling.speak(word)
        whole += word
        await page.wait_for_function("whole => text === whole", arg=whole)
    assert await page.evaluate("[code, ended, run]") == [200, "", served.only.id]
    telling.finish()
    await page.wait_for_function("ended === 'complete'")
    assert await page.evaluate("text") == whole


async def test_lines_are_read_one_by_one(served: Served, page: "Page") -> None:
    await fetch(page, served, TEXT["ndjson"])
    telling = await served.telling()
    telling.speak("one")
    await page.wait_for_function("text.includes('one') && text.endsWith('\\n')")
    telling.finish()
    await page.wait_for_function("ended === 'complete'")
    lines = [json.loads(line) for line in (await page.evaluate("text")).splitlines()]
    assert [line["type"] for line in lines] == ["started", "opened", "delta", "closed", "finished"]


async def test_bare_text_that_broke_off_is_an_error_and_no_end(
    served: Served, page: "Page", console_errors: list[str]
) -> None:
    await fetch(page, served, "*/*")
    telling = await served.telling()
    telling.speak("half an ans")
    await page.wait_for_function("text")  # the browser throws away what nobody has read when the line is cut
    telling.fail("provider_truncated")
    await page.wait_for_function("ended")
    assert await page.evaluate("[text, ended]") == ["half an ans", "TypeError"]
    await complained(console_errors, "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING")


async def test_an_abort_stops_the_run(served: Served, page: "Page") -> None:
    await fetch(page, served, "*/*")
    telling = await served.telling()
    telling.speak("one")
    await page.wait_for_function("text === 'one'")
    await page.evaluate("stop.abort()")
    await telling.closed.wait()
    await until("the run has ended", lambda: served.seen.ended == {served.only.id: Cancelled("disconnect")})
    await page.wait_for_function("ended === 'AbortError'")


async def test_a_binary_part_arrives_as_it_was_in_lines_and_in_events(served: Served, page: "Page") -> None:
    await fetch(page, served, TEXT["ndjson"])
    telling = await served.telling()
    run = served.only.id
    telling.say(Started(run, "scripted", 1), Opened(0, "binary", media_type="application/octet-stream"))
    telling.say(Chunk(0, PICTURE[at : at + 9_999]) for at in range(0, len(PICTURE), 9_999))
    telling.say(Closed(0), Finished("stop"))
    await page.wait_for_function("ended === 'complete'")
    lines: list[dict[str, Any]] = [json.loads(line) for line in (await page.evaluate("text")).splitlines()]
    events: list[dict[str, Any]] = await page.evaluate(EVENT_SOURCE, f"/v1/streams/{run}/events")
    intact = [len(PICTURE), hashlib.sha256(PICTURE).hexdigest()]
    for told in (lines, events):
        pieces = [event["data"] for event in told if event["type"] == "chunk"]
        assert len(pieces) > 1
        assert await page.evaluate(BASE64_DIGEST, pieces) == intact
