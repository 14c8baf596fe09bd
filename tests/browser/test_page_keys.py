"""The page at `/` of a server that wants keys: it opens without one, asks for one, and streams with it over all three transports."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.test_page import DEMO, columns, status
from tests.cli.serving import starting
from tests.server.keyed import ALICE, KEYS

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

REFUSED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"


async def test_a_key_that_is_typed_in_is_used_by_all_three_and_stands_in_no_url(
    page: "Page", console_errors: list[str], tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with starting(tmp_path, config=DEMO, environ={"PENSTOCK_API_KEYS": KEYS}) as served:
        await served.ready()
        await page.goto(f"{served.url}/")
        await page.wait_for_selector("#key-status:has-text('this server wants a key')")
        await page.click("button:text('Ask')")
        await status(page, "ws", "this server wants a key")
        await page.fill("#key", "not-a-key-of-this-server")
        await page.dispatch_event("#key", "change")
        await page.wait_for_selector("#key-status:has-text('does not know this key')")
        await page.fill("#key", ALICE)
        await page.dispatch_event("#key", "change")
        await page.wait_for_selector("#model option", state="attached")
        await page.fill("#prompt", "Say hello")
        await page.click("button:text('Ask')")
        await status(page, "sse", "finished: stop")
        await status(page, "ws", "finished: stop")
        await status(page, "http", "complete")
        sse, ws, http = await columns(page)
    assert sse == ws == http != ""
    assert [url for url in asked if ALICE in url] == []
    assert len([url for url in asked if "access=r." in url]) >= 1
    assert set(console_errors) == {REFUSED}
    console_errors.clear()
