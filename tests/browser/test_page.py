"""The page at `/` of a real server: one answer in three columns, steered, dropped and cancelled with its own buttons."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import complained
from tests.cli.serving import Served, starting

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium")

DEMO = """
[demo]
rate = 60
tokens = 120
"""
# A column can only fall behind for ever if the tokens come faster than a busy machine shows them.
ENDLESS = """
[demo]
rate = 10
tokens = 100000
"""
COLUMNS = ("sse", "ws", "http")


@pytest.fixture
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Served]:
    with starting(tmp_path, config=request.param) as server:
        await server.ready()
        yield server


async def ask(page: "Page", served: Served, prompt: str) -> None:
    await page.goto(f"{served.url}/")
    await page.wait_for_selector("#model option", state="attached")
    await page.fill("#prompt", prompt)
    await page.click("button:text('Ask')")


async def columns(page: "Page") -> list[str]:
    return [await page.inner_text(f"#{column}") for column in COLUMNS]


async def status(page: "Page", column: str, wanted: str) -> None:
    """Wait until a column says how it stands."""
    await page.wait_for_selector(f"#{column}-status:has-text('{wanted}')")


@pytest.mark.parametrize("served", [DEMO], indirect=True, ids=["short"])
async def test_three_columns_show_the_same_answer(page: "Page", served: Served) -> None:
    await ask(page, served, "Say <b>hello</b>")
    for column in ("sse", "ws"):
        await status(page, column, "finished: stop, ")
        await status(page, column, " tokens")
    await status(page, "http", "complete")
    sse, ws, http = await columns(page)
    assert sse.startswith("You said: **Say <b>hello</b>**.")
    assert (ws, http) == (sse, sse)
    assert await page.inner_text("#shell") == (
        f"""curl -N {served.url}/v1/chat/chunked -d '{{"prompt": "Hello"}}'\n"""
        f"curl -N '{served.url}/v1/chat/stream?prompt=Hello'"
    )


@pytest.mark.parametrize("served", [ENDLESS], indirect=True, ids=["endless"])
async def test_its_buttons_steer_drop_resume_and_cancel(
    page: "Page", served: Served, console_errors: list[str]
) -> None:
    await ask(page, served, "Hello")
    await page.wait_for_selector("#ws:has-text('Hello')")
    await page.click("#drop")
    await status(page, "sse", "dropped")
    await page.click("#steer")
    for column in COLUMNS:
        await page.wait_for_selector(f"#{column}:has-text('> steered: in French')")
    await page.click("#cancel")
    await status(page, "sse", "cancelled by client")
    await status(page, "ws", "cancelled by client")
    await status(page, "http", "cut: the answer is not complete")
    sse, ws, http = await columns(page)
    assert sse == ws
    # A browser may drop what arrived just before a cut, so of the bare text only the beginning is certain.
    assert ws.startswith(http)
    assert "> steered: in French" in http
    await complained(console_errors, "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING")
