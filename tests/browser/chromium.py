"""The system's Chromium under Playwright, as a page on the origin of whatever server is under test.

One browser serves every test of a session, since starting one costs more than most tests; each gets a context of its own, which
shares neither cookies nor storage nor connections with another's. What the page complains about in its console, and every uncaught
exception, fails the test that let it happen.
"""

import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tools import chromium
from tests.waiting import CEILING, until

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Error, Page, Route

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-startup-window",
    # A page nobody looks at is a page of the tests.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
    # A page that Playwright makes up comes from no address, so Chromium would not let it open a WebSocket to this machine.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
)
EMPTY_PAGE = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>test</title>"


class Chromium:
    """The one browser, and where Playwright speaks to it."""

    def __init__(self, profile: Path) -> None:
        self._told = profile / "DevToolsActivePort"

    async def address(self) -> str:
        """Where it listens; waits until it does."""
        await until("Chromium listens", lambda: self._told.exists() and self._told.read_text().count("\n") == 1)
        port, path = self._told.read_text().split()
        return f"ws://127.0.0.1:{port}{path}"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    profile = tmp_path_factory.mktemp("chromium")
    command = [str(chromium()), *FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield Chromium(profile)
    process.terminate()
    process.wait()


@asynccontextmanager
async def chromium_page(browser: Chromium, console_errors: list[str]) -> AsyncGenerator["Page"]:
    """A fresh page. Raises AssertionError at the end if `console_errors` holds any then."""
    from playwright.async_api import async_playwright  # not installed where only the units run

    def heard(message: "ConsoleMessage") -> None:
        if message.type == "error":
            console_errors.append(message.text)

    def thrown(error: "Error") -> None:
        console_errors.append(error.message)

    async with (
        async_playwright() as playwright,
        await playwright.chromium.connect_over_cdp(await browser.address(), timeout=1000 * CEILING) as connected,
        await connected.new_context() as context,
    ):
        page = await context.new_page()
        page.set_default_timeout(1000 * CEILING)
        page.on("console", heard)
        page.on("pageerror", thrown)
        yield page
    if console_errors:
        raise AssertionError("the page complained: " + "; ".join(console_errors))


async def go_to_origin(page: "Page", base_url: str) -> None:
    """Load an empty page that belongs to the origin of `base_url`, without asking the server for one."""
    blank = f"{base_url.rstrip('/')}/blank-page-of-the-test"

    async def answer(route: "Route") -> None:
        await route.fulfill(body=EMPTY_PAGE, content_type="text/html")

    await page.route(blank, answer)
    await page.goto(blank)
    await page.unroute(blank)


async def complained(console_errors: list[str], *expected: str) -> None:
    """Wait for so many complaints, which must be these, in any order; then forget them."""
    await until(f"the page has complained {len(expected)} times", lambda: len(console_errors) >= len(expected))
    assert sorted(console_errors) == sorted(expected)
    console_errors.clear()


@pytest.fixture
def console_errors() -> list[str]:
    """What the page complained about so far. A test that expects a complaint compares it, then clears the list."""
    return []


@pytest.fixture
async def page(browser: Chromium, console_errors: list[str]) -> AsyncGenerator["Page"]:
    async with chromium_page(browser, console_errors) as opened:
        yield opened
