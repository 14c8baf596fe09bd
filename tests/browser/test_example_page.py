"""The page of `examples/browser.html`: it survives a dropped connection and a reload, and it can stop the answer."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import Chromium, chromium_page
from tests.examples.hosting import Beats, asking, example, hosted
from tests.fakes.cutting_proxy import CuttingProxy

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

QUESTION = "a b c"
WORDS = [word for time in range(1, 11) for word in (f"{time}. ", "a ", "b ", "c\n ")]


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
async def test_the_page_shows_the_whole_answer_although_the_line_is_cut_twice(
    browser: Chromium, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, beats, complaints = example("browser"), Beats(), list[str]()
    monkeypatch.setattr(module, "asyncio", beats)
    async with (
        hosted(module.app) as url,
        CuttingProxy(int(url.rpartition(":")[2])).listening() as proxy,
        chromium_page(browser, complaints) as page,
    ):
        await page.goto(proxy.url)
        await ask(page, over)
        await shows(page, WORDS[:1])
        for said in (11, 21):
            beats.give(10)
            await shows(page, WORDS[:said])
            await cut_all(proxy)
        beats.give(len(WORDS) - 20)
        await status(page, "complete")
        await shows(page, WORDS)
        # What a cut line makes a browser say of it is no fault of the page.
        assert [text for text in complaints if "net::ERR" not in text and "WebSocket connection" not in text] == []
        complaints.clear()


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
async def test_the_page_drops_reloads_and_stops(browser: Chromium, over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, beats = example("browser"), Beats()
    monkeypatch.setattr(module, "asyncio", beats)
    async with hosted(module.app) as url, chromium_page(browser, []) as page:
        await page.goto(url)
        await ask(page, over)
        await shows(page, WORDS[:1])
        await page.click("#drop")
        beats.give(3)
        await shows(page, WORDS[:4])
        await page.reload()
        await shows(page, WORDS[:4])
        beats.give(2)
        await shows(page, WORDS[:6])
        await page.click("#stop")
        await status(page, "stopped")
        async with asking(url) as client:
            (run,) = (await client.get("/v1/streams")).json()["streams"]
    assert run["end"] == {"type": "cancelled", "by": "client"}


async def ask(page: "Page", over: str) -> None:
    await page.fill("#question", QUESTION)
    await page.select_option("#over", over)
    await page.click("text=Ask")


async def shows(page: "Page", words: list[str]) -> None:
    """Wait until these and no other words are the answer on the page."""
    await page.wait_for_function("text => document.getElementById('answer').textContent === text", arg="".join(words))


async def status(page: "Page", text: str) -> None:
    await page.wait_for_function("text => document.getElementById('status').textContent === text", arg=text)


async def cut_all(proxy: CuttingProxy) -> None:
    """Cut every line there is, from both ends."""
    for link in list(proxy.links):
        await link.cut()
