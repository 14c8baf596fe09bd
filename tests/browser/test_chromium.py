"""The page is real, it stands on the server's origin, and its complaints fail a test."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import Chromium, chromium_page, go_to_origin
from tests.fakes.provider import Provider
from tests.fakes.script import Gate, Reset, closing, opening, text

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

READ = """async (path) => {
    const answer = await fetch(path, {method: "POST", body: JSON.stringify({stream: true})})
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    window.pieces = []
    for (;;) {
        const {done, value} = await reader.read()
        if (done) return window.pieces.join("")
        window.pieces.push(value)
    }
}"""


async def test_the_page_stands_on_the_origin_of_the_server(page: "Page", provider: Provider) -> None:
    origin = provider.base_url.removesuffix("/v1")
    await go_to_origin(page, origin)
    models = await page.evaluate("fetch('/v1/models').then(answer => answer.json())")
    assert await page.evaluate("location.origin") == origin
    assert [model["id"] for model in models["data"]] == ["fake"]
    assert [request.path for request in provider.requests] == ["/v1/models"]


async def test_fetch_reads_a_stream_piece_by_piece(page: "Page", provider: Provider) -> None:
    gate = Gate()
    provider.script(*opening(), text("one"), gate, text("two"), *closing())
    await go_to_origin(page, provider.base_url)
    await page.evaluate(f"window.whole = ({READ})('/v1/chat/completions'); 0")
    await page.wait_for_function("window.pieces && window.pieces.join('').includes('one')")
    assert "two" not in await page.evaluate("window.pieces.join('')")
    gate.open()
    assert "two" in await page.evaluate("window.whole")


async def test_console_errors_and_exceptions_are_collected(page: "Page", console_errors: list[str]) -> None:
    async with page.expect_event("pageerror"):
        await page.evaluate("console.error('said'); console.log('quiet'); setTimeout(() => {throw Error('thrown')}); 0")
    assert console_errors == ["said", "thrown"]
    console_errors.clear()


async def test_a_console_error_fails_the_test_that_let_it_happen(browser: Chromium) -> None:
    with pytest.raises(AssertionError, match="nobody looked"):
        async with chromium_page(browser, []) as page:
            await page.evaluate("console.error('nobody looked')")


async def test_a_reset_stream_is_a_complaint(page: "Page", provider: Provider, console_errors: list[str]) -> None:
    provider.script(*opening(), Reset())
    await go_to_origin(page, provider.base_url)
    async with page.expect_event("console"):
        assert await page.evaluate(f"({READ})('/v1/chat/completions').catch(error => error.name)") == "TypeError"
    assert console_errors == ["Failed to load resource: net::ERR_CONNECTION_RESET"]
    console_errors.clear()
