"""The page of `examples/browser.html`: it survives a dropped connection and a reload, and it can stop the answer."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import chromium_page
from tests.examples.hosting import asking, example, hosted
from tests.fakes.cutting_proxy import CuttingProxy

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

QUESTION = "a b c"
PARROTED = "".join(f"{time}. a b c\n " for time in range(1, 11))


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
async def test_the_page_shows_the_whole_answer_although_the_line_is_cut_twice(
    over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("browser")
    monkeypatch.setattr(module, "BEAT", 0.005)
    complaints: list[str] = []
    async with (
        hosted(module.app) as url,
        CuttingProxy(int(url.rpartition(":")[2])).listening() as proxy,
        chromium_page(complaints) as page,
    ):
        await page.goto(proxy.url)
        await asked(page, over)
        for _ in range(2):
            said = len(await answer(page))
            await page.wait_for_function(
                "said => document.getElementById('answer').textContent.length > said", arg=said
            )
            await cut_all(proxy)
        await status(page, "complete")
        assert await answer(page) == PARROTED
        # What a cut line makes a browser say of it is no fault of the page.
        assert [text for text in complaints if "net::ERR" not in text and "WebSocket connection" not in text] == []
        complaints.clear()


@pytest.mark.parametrize("over", ["EventSource", "WebSocket"])
async def test_the_page_drops_reloads_and_stops(over: str) -> None:
    module = example("browser")
    async with hosted(module.app) as url, chromium_page([]) as page:
        await page.goto(url)
        await asked(page, over)
        await page.wait_for_function("document.getElementById('answer').textContent.includes('1. a')")
        await page.click("#drop")
        await page.wait_for_function("document.getElementById('answer').textContent.includes('1. a b c')")
        await page.reload()
        await page.wait_for_function("document.getElementById('answer').textContent.includes('2. a')")
        assert (await answer(page)).startswith("1. a b c\n 2. a")
        await page.click("#stop")
        await status(page, "stopped")
        async with asking(url) as client:
            (run,) = (await client.get("/v1/streams")).json()["streams"]
    assert run["end"] == {"type": "cancelled", "by": "client"}


async def asked(page: "Page", over: str) -> None:
    await page.fill("#question", QUESTION)
    await page.select_option("#over", over)
    await page.click("text=Ask")
    await page.wait_for_function("document.getElementById('answer').textContent.length > 0")


async def answer(page: "Page") -> str:
    return await page.text_content("#answer") or ""


async def status(page: "Page", text: str) -> None:
    await page.wait_for_function("text => document.getElementById('status').textContent === text", arg=text)


async def cut_all(proxy: CuttingProxy) -> None:
    """Cut every line there is, from both ends."""
    for link in list(proxy.links):
        await link.cut()
