"""The browser's own EventSource: it streams, is cut, comes back by itself without loss or repeat, and stops for good at the end."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from penstock.config.bounds import Bounds
from penstock.config.model import Config
from penstock.config.units import Bytes
from penstock.core.cursor import parse_cursor
from tests.browser.chromium import complained, go_to_origin
from tests.fakes.cutting_proxy import CuttingProxy, How, Plan
from tests.server.reading import detached
from tests.serving import Served, configured, serving
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

LISTEN = """(url, name) => {
    window.heard = []
    window.opened = 0
    window.source = new EventSource(url)
    source.onopen = () => window.opened++
    source.addEventListener(name, ({data, lastEventId}) => window.heard.push([lastEventId, data]))
}"""
CLOSED = "source.readyState === EventSource.CLOSED"
ASK = "/v1/chat/stream?model=scripted&prompt=speak"
WORDS = [f"{number} grüße, 世界 👋🏽\n" for number in range(250)]
CUT = {
    "rst": "Failed to load resource: net::ERR_CONNECTION_RESET",
    "fin": "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",
}


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    """Quick to be found again; and every delta a frame of its own, so that every cut finds bytes to cut."""
    unmerged = Config(bounds=Bounds(merge_above=Bytes(1_000_000)))
    async with serving(configured(unmerged, retry_ms=20)) as server:
        yield server


async def listen(page: "Page", url: str, name: str = "message") -> None:
    """Open an EventSource in the page; what it hears is kept there."""
    await page.evaluate(f"([url, name]) => ({LISTEN})(url, name)", [url, name])


async def heard(page: "Page") -> list[tuple[str, Any]]:
    """Everything it has heard: the id in force and the JSON, event by event."""
    return [(cursor, json.loads(data)) for cursor, data in await page.evaluate("window.heard")]


def content(events: list[tuple[str, Any]]) -> str:
    """The text of OpenAI chunks."""
    return "".join(choice["delta"].get("content", "") for _, chunk in events for choice in chunk["choices"])


@pytest.mark.parametrize(
    "plans",
    [
        pytest.param((), id="never"),
        pytest.param((Plan(700), Plan(5_000, "fin"), Plan(20_000), Plan(9_999, "fin")), id="four-times"),
    ],
)
async def test_a_question_in_the_url_is_answered_whole_however_often_the_line_is_cut(
    served: Served, page: "Page", console_errors: list[str], plans: Sequence[Plan]
) -> None:
    async with CuttingProxy(served.port, plans=plans).listening() as proxy:
        await go_to_origin(page, proxy.url)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        await listen(page, f"{ASK}&key=one")
        telling = await served.telling()
        telling.speak(*WORDS)
        telling.finish()
        await page.wait_for_function(CLOSED)
        events = await heard(page)
    assert content(events) == "".join(WORDS)
    assert events[-1][1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1][0] == f"{served.only.id}:a1:{served.only.log.last}"
    assert len(served.source.tellings) == 1
    # One request for each cut, and the one that was answered with 204.
    assert len(requests) == len(plans) + 2
    await complained(console_errors, *(CUT[plan.how] for plan in plans))


@pytest.mark.parametrize("name", ["message", "penstock.delta"])
async def test_the_events_of_a_run_are_heard_once_each_and_in_order(
    served: Served, page: "Page", console_errors: list[str], name: str
) -> None:
    plans = (Plan(900, "fin"), Plan(4_000), Plan(1_500, "fin"), Plan(5_000))
    async with served.client() as client:
        run = await detached(client)
    telling = await served.telling()
    telling.speak(*WORDS)
    telling.finish()
    async with CuttingProxy(served.port, plans=plans).listening() as proxy:
        await go_to_origin(page, proxy.url)
        named = "?event_names=1" if name != "message" else ""
        await listen(page, f"/v1/streams/{run}/events{named}", name)
        await page.wait_for_function(CLOSED)
        events = await heard(page)
    assert "".join(event["text"] for _, event in events if event["type"] == "delta") == "".join(WORDS)
    offsets = [parse_cursor(cursor).offset for cursor, _ in events]
    assert offsets == sorted(set(offsets))
    if name == "message":
        assert [events[0][1]["type"], events[-1][1]["type"]] == ["started", "finished"]
    await complained(console_errors, *(CUT[plan.how] for plan in plans))


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_before_the_first_token_begins_no_second_run(
    served: Served, page: "Page", console_errors: list[str], how: How
) -> None:
    async with CuttingProxy(served.port).listening() as proxy:
        await go_to_origin(page, proxy.url)
        # What a reset throws away may be the position itself; then the key in the URL finds the run again.
        await listen(page, ASK if how == "fin" else f"{ASK}&key=one")
        await page.wait_for_function("window.opened === 1")
        telling = await served.telling()
        await proxy.links[0].cut(how)
        await page.wait_for_function("window.opened === 2")
        telling.speak("one", " two")
        telling.finish()
        await page.wait_for_function(CLOSED)
        events = await heard(page)
    assert content(events) == "one two"
    assert len(served.source.tellings) == 1
    await complained(console_errors, CUT[how])


async def test_tokens_are_heard_one_by_one(served: Served, page: "Page") -> None:
    await go_to_origin(page, served.url)
    await listen(page, ASK)
    telling = await served.telling()
    for count, word in enumerate(("one", " two", " three"), start=1):
        telling.speak(word)
        # The first delta of the dialect is empty.
        await page.wait_for_function("count => window.heard.length === count + 1", arg=count)
        assert (await heard(page))[-1][1]["choices"][0]["delta"] == {"content": word}
    telling.finish()
    await page.wait_for_function(CLOSED)


async def test_a_provider_that_refuses_is_heard_and_not_asked_again(served: Served, page: "Page") -> None:
    await go_to_origin(page, served.url)
    await listen(page, ASK)
    (await served.telling()).fail("provider_rate_limited", "slow down", retry_after=7)
    await page.wait_for_function(CLOSED)
    ((cursor, message),) = await heard(page)
    assert (message["error"]["code"], message["error"]["message"]) == ("provider_rate_limited", "slow down")
    assert parse_cursor(cursor).run == served.only.id
    assert len(served.source.tellings) == 1


async def test_a_page_that_closes_its_source_leaves_the_run(served: Served, page: "Page") -> None:
    await go_to_origin(page, served.url)
    await listen(page, ASK)
    telling = await served.telling()
    telling.speak("one")
    await served.attended(1)
    await page.wait_for_function("window.heard.length === 2")
    await page.evaluate("source.close()")
    await served.attended(0)
    telling.finish()
    await telling.closed.wait()
    assert served.seen.left == [(served.only.id, "left")]


async def test_several_runs_share_one_connection_and_resume_together(
    served: Served, page: "Page", console_errors: list[str]
) -> None:
    plans = (Plan(2_000, "fin"), Plan(15_000), Plan(10_000, "fin"))
    runs = []
    async with served.client() as client:
        for number in range(3):
            runs.append(await detached(client))
            telling = await served.telling(number)
            telling.speak(*(f"{number}:{word}" for word in WORDS))
            telling.finish()
    async with CuttingProxy(served.port, plans=plans).listening() as proxy:
        await go_to_origin(page, proxy.url)
        await listen(page, f"/v1/streams/events?streams={','.join(runs)}")
        await page.wait_for_function(CLOSED)
        events = [event for _, event in await heard(page)]
    for number, run in enumerate(runs):
        text = "".join(event["text"] for event in events if event["type"] == "delta" and event["stream"] == run)
        assert text == "".join(f"{number}:{word}" for word in WORDS)
    assert sorted(event["stream"] for event in events if event["type"] == "finished") == sorted(runs)
    await complained(console_errors, *(CUT[plan.how] for plan in plans))
    await until("nobody reads any more", lambda: not any(served.run(run).log.readers for run in runs))


async def test_the_question_is_one_a_form_could_send(served: Served, page: "Page") -> None:
    """Whatever a browser's URLSearchParams makes of a text arrives as that text."""
    prompt = 'a+b & c=d % é 世界 👋🏽 "quoted" <tag> ~*\'()'
    await go_to_origin(page, served.url)
    query = await page.evaluate("prompt => String(new URLSearchParams({model: 'scripted', prompt}))", prompt)
    await listen(page, f"/v1/chat/stream?{query}")
    telling = await served.telling()
    assert telling.request.messages == ({"role": "user", "content": prompt},)
    telling.finish()
    await page.wait_for_function(CLOSED)
