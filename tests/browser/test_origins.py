"""In Chromium: a page of another site tries every path and the socket and gets nothing; with keys, EventSource has its URL."""

import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.browser.chromium import complained, go_to_origin
from tests.browser.test_eventsource import CLOSED, CUT, WORDS, heard, listen
from tests.fakes.cutting_proxy import CuttingProxy, Plan
from tests.server.keyed import ALICE, BODIES, bearer, operations, subprotocol, with_keys
from tests.server.reading import PROMPT
from tests.serving import Served, configured, serving
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

EVIL = "http://evil.example"
FRIEND = "http://chat.example"
RUN = "st_" + "a" * 26

TRY = """async ([base, socket, requests]) => {
    const got = []
    for (const [method, path, body] of requests) {
        for (const mode of ['cors', 'no-cors']) {
            const options = { method, mode }
            if (method === 'DELETE' && mode === 'no-cors') continue
            if (body) options.body = body
            if (body && mode === 'cors') options.headers = { 'content-type': 'application/json' }
            try {
                const answer = await fetch(base + path, options)
                const text = await answer.text()
                if (answer.type !== 'opaque' || text) got.push([method, path, mode, answer.status, text])
            } catch {}
        }
        if (method === 'GET') await new Promise((done) => {
            const source = new EventSource(base + path)
            source.onopen = source.onmessage = ({type}) => { got.push([path, type]); source.close(); done() }
            source.onerror = () => { source.close(); done() }
        })
    }
    await new Promise((done) => {
        const opened = new WebSocket(socket)
        opened.onopen = () => { got.push('a socket'); opened.close(); done() }
        opened.onerror = () => done()
    })
    return got
}"""


def attempts() -> list[list[str | None]]:
    """Every method and path, with a body that would begin a run where one can."""
    tried: list[list[str | None]] = [["GET", "/v1/chat/stream?prompt=steal", None], ["GET", "/nothing", None]]
    for method, path in operations():
        if path not in ("/healthz", "/readyz"):
            body = json.dumps(BODIES.get(path, PROMPT)) if method == "POST" else None
            tried.append([method, path.replace("{stream}", RUN), body])
    return tried


async def tries(page: "Page", served: Served, origin: str) -> list[Any]:
    await go_to_origin(page, origin)
    got: list[Any] = await page.evaluate(TRY, [served.url, served.ws_url, attempts()])
    return got


@pytest.mark.parametrize("keys", [False, True], ids=["open", "keys"])
async def test_a_page_of_another_site_gets_nothing_and_begins_nothing(
    page: "Page", console_errors: list[str], keys: bool
) -> None:
    async with serving(with_keys() if keys else configured()) as served:
        assert await tries(page, served, EVIL) == []
        assert (served.runs.by_id, served.source.tellings) == ({}, [])
    words = ("CORS", "Failed to load resource", "WebSocket connection", "Access to fetch", "EventSource")
    assert [complaint for complaint in console_errors if not any(word in complaint for word in words)] == []
    assert len(console_errors) >= len(attempts())
    console_errors.clear()


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(with_keys(server={"origins": (FRIEND,), "retry_ms": 20})) as server:
        yield server


async def created(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/v1/streams", json=PROMPT, headers={**bearer(ALICE), "accept": "application/json"})
    body: dict[str, Any] = answer.json()
    return body


async def test_an_eventsource_reads_by_its_url_across_a_cut_and_comes_back(
    served: Served, page: "Page", console_errors: list[str]
) -> None:
    plans = (Plan(900, "fin"), Plan(4_000))
    async with served.client() as client:
        body = await created(client)
    telling = await served.telling()
    async with CuttingProxy(served.port, plans=plans).listening() as proxy:
        await go_to_origin(page, proxy.url)
        await listen(page, body["events_url"])
        telling.speak(*WORDS)
        telling.finish()
        await page.wait_for_function(CLOSED)
        events = await heard(page)
    assert "".join(event["text"] for _, event in events if event["type"] == "delta") == "".join(WORDS)
    await complained(console_errors, *(CUT[plan.how] for plan in plans))


async def test_a_stolen_url_is_good_for_its_own_run_alone(
    served: Served, page: "Page", console_errors: list[str]
) -> None:
    async with served.client() as client:
        mine, other = await created(client), await created(client)
    await go_to_origin(page, served.url)
    token = mine["events_url"].partition("?")[2]
    for url, status in (
        (f"{other['url']}/events?{token}", 404),
        (f"{other['url']}/events", 401),
        (f"/v1/chat/stream?prompt=Hi&{token}", 401),
    ):
        await listen(page, url)
        await page.wait_for_function(CLOSED)
        assert await heard(page) == []
        reason = {404: "Not Found", 401: "Unauthorized"}[status]
        await complained(
            console_errors, f"Failed to load resource: the server responded with a status of {status} ({reason})"
        )
    assert len(served.source.tellings) <= 2


async def test_a_page_that_is_listed_reads_with_fetch_eventsource_and_socket(served: Served, page: "Page") -> None:
    await go_to_origin(page, FRIEND)
    body = await page.evaluate(
        """async ([base, key, request]) => {
            const headers = { authorization: `Bearer ${key}`, accept: 'application/json', 'content-type': 'application/json' }
            const answer = await fetch(`${base}/v1/streams`, { method: 'POST', headers, body: JSON.stringify(request) })
            return { stream: answer.headers.get('penstock-stream-id'), ...await answer.json() }
        }""",
        [served.url, ALICE, PROMPT],
    )
    assert body["stream"] == body["id"]
    await listen(page, served.url + body["events_url"])
    telling = await served.telling()
    telling.speak("over the hedge")
    await until("it was heard", lambda: page.evaluate("window.heard.length === 3"))
    answer = await page.evaluate(
        """([url, key, stream]) => new Promise((done, failed) => {
            const socket = new WebSocket(url, ['penstock.v1', key])
            socket.onerror = failed
            socket.onopen = () => socket.send(JSON.stringify({ type: 'cancel', stream, ref: socket.protocol }))
            socket.onmessage = ({ data }) => { done(JSON.parse(data)); socket.close() }
        })""",
        [served.ws_url, subprotocol(ALICE), body["id"]],
    )
    assert answer == {"type": "ok", "ref": "penstock.v1", "stream": body["id"]}
    await page.wait_for_function("window.heard.length === 5")
    assert (await heard(page))[-1][1]["type"] == "cancelled"
    await page.wait_for_function(CLOSED)
