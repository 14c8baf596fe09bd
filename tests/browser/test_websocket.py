"""The browser's own WebSocket: it streams, steers, cancels, comes back after a cut, and takes binary parts as they are."""

import hashlib
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

from penstock.core.events import Cancelled, Chunk, Closed, Finished, Opened, Started
from tests.browser.chromium import go_to_origin
from tests.fakes.cutting_proxy import CuttingProxy
from tests.server.reading import PROMPT, detached
from tests.server.test_websocket import echo
from tests.serving import Served, serving
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

CONNECT = """(url) => new Promise((resolve, reject) => {
    window.messages = []
    window.binary = []
    window.ended = null
    window.socket = new WebSocket(url, 'penstock.v1')
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => resolve(socket.protocol)
    socket.onerror = () => reject(new Error('the WebSocket failed'))
    socket.onclose = ({code, wasClean}) => window.ended = {code, wasClean}
    socket.onmessage = ({data}) => (typeof data === 'string' ? messages.push(JSON.parse(data)) : binary.push(data))
    window.command = (body) => socket.send(JSON.stringify(body))
    window.text = () => messages.filter(({type}) => type === 'delta').map(({text}) => text).join('')
    window.last = (type) => messages.findLast((message) => message.type === type)
})"""
UNPACK = """async () => {
    const read = (frame) => {
        const length = new DataView(frame).getUint16(0)
        const header = JSON.parse(new TextDecoder().decode(new Uint8Array(frame, 2, length)))
        return {header, data: new Uint8Array(frame, 2 + length)}
    }
    const frames = binary.map(read)
    const whole = new Uint8Array(await new Blob(frames.map(({data}) => data)).arrayBuffer())
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', whole))
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
    return {size: whole.length, hex, headers: frames.map(({header}) => header)}
}"""
PICTURE = bytes(range(256)) * 400


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    """The scripted model, and one that says what it is told."""
    async with serving(sources={"echo": echo}) as server:
        yield server


async def connect(page: "Page", served: Served, url: str = "") -> None:
    await go_to_origin(page, url or served.url)
    where = (url or served.url).replace("http", "ws", 1) + "/v1/chat/ws"
    assert await page.evaluate(CONNECT, where) == "penstock.v1"


async def command(page: "Page", **body: Any) -> None:
    await page.evaluate("body => command(body)", body)


async def start(page: "Page", request: dict[str, Any]) -> str:
    """Begin a run; returns its id."""
    await command(page, type="start", ref="1", request=request)
    answer = await page.wait_for_function("messages.find(({ref}) => ref === '1')")
    started: dict[str, str] = await answer.json_value()
    assert started["type"] == "started"
    return started["stream"]


async def test_it_steers_a_run_in_the_middle_and_cancels_it(served: Served, page: "Page") -> None:
    await connect(page, served)
    run = await start(page, {**PROMPT, "model": "echo"})
    await page.wait_for_function("last('opened')")
    for ref, body in (("2", "left"), ("3", {"turn": [1, 2]})):
        await command(page, type="input", ref=ref, stream=run, body=body)
        await page.wait_for_function("said => text().endsWith(said)", arg=json.dumps(body))
        assert (await page.evaluate("last('note')"))["body"] == body
    await command(page, type="cancel", ref="4", stream=run)
    await page.wait_for_function("last('cancelled')")
    assert (await page.evaluate("messages.at(-1)"))["by"] == "client"
    assert served.seen.ended == {run: Cancelled("client")}
    answers = await page.evaluate("messages.filter(({ref}) => ref > '1').map(({ref, type}) => [ref, type])")
    assert answers == [["2", "ok"], ["3", "ok"], ["4", "ok"]]
    assert await page.evaluate("socket.readyState") == 1


async def test_tokens_arrive_one_by_one(served: Served, page: "Page") -> None:
    await connect(page, served)
    await start(page, PROMPT)
    telling = await served.telling()
    whole = ""
    for word in ("one", " zwö", " 三\n", " 👋🏽"):
        telling.speak(word)
        whole += word
        await page.wait_for_function("whole => text() === whole", arg=whole)
    telling.finish()
    await page.wait_for_function("last('finished')")


async def test_a_binary_part_arrives_as_it_was(served: Served, page: "Page") -> None:
    await connect(page, served)
    run = await start(page, PROMPT)
    telling = await served.telling()
    telling.say(Started(run, "scripted", 1), Opened(0, "binary", media_type="application/octet-stream", name="all"))
    telling.say(Chunk(0, PICTURE[at : at + 9_999]) for at in range(0, len(PICTURE), 9_999))
    telling.say(Closed(0), Finished("stop"))
    await page.wait_for_function("last('finished')")
    received = await page.evaluate(UNPACK)
    assert (received["size"], received["hex"]) == (len(PICTURE), hashlib.sha256(PICTURE).hexdigest())
    assert {(header["stream"], header["part"]) for header in received["headers"]} == {(run, 0)}
    assert (await page.evaluate("last('opened')"))["media_type"] == "application/octet-stream"


async def test_two_runs_share_one_socket(served: Served, page: "Page") -> None:
    await connect(page, served)
    for number in (0, 1):
        await command(page, type="start", ref=f"run {number}", request=PROMPT)
    tellings = [await served.telling(number) for number in (0, 1)]
    for word in ("a", "b", "c"):
        for number, telling in enumerate(tellings):
            telling.speak(f"{number}{word}")
    for telling in tellings:
        telling.finish()
    await page.wait_for_function("messages.filter(({type}) => type === 'finished').length === 2")
    said = await page.evaluate(
        """Object.values(Object.groupBy(messages.filter(({type}) => type === 'delta'), ({stream}) => stream))
            .map((deltas) => deltas.map(({text}) => text).join(''))"""
    )
    assert sorted(said) == ["0a0b0c", "1a1b1c"]


async def test_a_cut_socket_is_followed_by_another_that_gets_the_rest(served: Served, page: "Page") -> None:
    async with CuttingProxy(served.port).listening() as proxy:
        await connect(page, served, proxy.url)
        run = await start(page, PROMPT)
        telling = await served.telling()
        telling.speak("one", " two")
        await page.wait_for_function("text() === 'one two'")
        after = (await page.evaluate("messages.at(-1)"))["id"]
        for link in proxy.links:
            await link.cut()
        await page.wait_for_function("ended")
        assert await page.evaluate("ended") == {"code": 1006, "wasClean": False}
        await served.attended(0)
        telling.speak(" three")
        assert await page.evaluate(CONNECT, proxy.url.replace("http", "ws", 1) + "/v1/chat/ws") == "penstock.v1"
        await command(page, type="attach", ref="1", stream=run, after=after)
        telling.speak(" four")
        telling.finish()
        await page.wait_for_function("last('finished')")
        assert await page.evaluate("text()") == " three four"
    assert len(served.source.tellings) == 1


async def test_a_closed_socket_leaves_its_run_to_others(served: Served, page: "Page") -> None:
    async with served.client() as client:
        run = await detached(client)
    telling = await served.telling()
    telling.speak("one")
    await connect(page, served)
    await command(page, type="attach", ref="1", stream=run)
    await page.wait_for_function("text() === 'one'")
    await page.evaluate("socket.close(1000)")
    await page.wait_for_function("ended")
    assert await page.evaluate("ended") == {"code": 1000, "wasClean": True}
    await served.attended(0)
    telling.finish()
    await until("the run has ended", lambda: served.seen.ended == {run: Finished("stop")})


async def test_what_is_no_command_gets_a_typed_error_and_the_socket_lives(served: Served, page: "Page") -> None:
    await connect(page, served)
    for garbage in ("{", "[]", '{"type":"dance"}', '{"type":"cancel","stream":"st_unknown"}'):
        await page.evaluate("garbage => socket.send(garbage)", garbage)
    await page.wait_for_function("messages.length === 4")
    assert await page.evaluate("messages.map(({code}) => code)") == [
        "invalid_json",
        "invalid_request",
        "unknown_command",
        "stream_not_found",
    ]
    await command(page, type="ping", ref="still here")
    await page.wait_for_function("last('pong')?.ref === 'still here'")
