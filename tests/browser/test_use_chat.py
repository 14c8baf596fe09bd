"""`useChat` of the AI SDK on a React page in Chromium: `examples/use_chat.jsx`, bundled as it stands, on the origin of the server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.config.units import Seconds
from penstock.core.events import Cancelled, Closed, Delta, Finished, Opened, Started, ToolReturned
from tests.browser.chromium import Chromium, chromium_page
from tests.serving import Served, Telling, configured, serving
from tests.tools import NODE_CLIENTS, ROOT

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("node")]

PAGE = """<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>chat</title>
<div id=chat></div><script type=module>%s</script>"""
WORDS = ["One ", "two ", "three."]


async def bundle() -> str:
    """The example and all it imports as one script."""
    command = ["node_modules/.bin/esbuild", "--bundle", "--format=esm", "--jsx=automatic", "--loader=jsx", "--minify"]
    command.append('--define:process.env.NODE_ENV="production"')
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=NODE_CLIENTS, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await process.communicate((ROOT / "examples" / "use_chat.jsx").read_bytes())
    assert process.returncode == 0, err.decode()
    return out.decode()


class Chat:
    """The page, and the server it speaks to."""

    def __init__(self, served: Served, page: "Page") -> None:
        self.served = served
        self.page = page
        self.asked = 0

    async def ask(self, text: str) -> Telling:
        await self.page.fill("input", text)
        await self.page.click("text=Ask")
        self.asked += 1
        return await self.served.telling(self.asked - 1)

    async def shows(self, selector: str, *texts: str) -> None:
        """Wait until these and no other texts stand in what the selector finds."""
        script = "([selector, wanted]) => JSON.stringify([...document.querySelectorAll(selector)].map(it => it.textContent)) === wanted"
        wanted = json.dumps(texts, separators=(",", ":"), ensure_ascii=False)
        await self.page.wait_for_function(script, arg=[selector, wanted])

    async def speaks(self, telling: Telling, before: str = "") -> None:
        """The source says one word after the other, each when the page shows the last."""
        for number in range(len(WORDS)):
            telling.speak(WORDS[number])
            await self.shows("article:last-of-type .text", before + "".join(WORDS[: number + 1]))


@asynccontextmanager
async def chatting(browser: Chromium) -> AsyncGenerator[Chat]:
    config = configured(model="scripted", heartbeat=Seconds(3600))
    async with serving(config) as served, chromium_page(browser, []) as page:
        html = PAGE % (await bundle()).replace("</script", "<\\/script")

        async def answer(route: "Route") -> None:
            await route.fulfill(body=html, content_type="text/html")

        await page.route(f"{served.url}/chat", answer)
        await page.goto(f"{served.url}/chat")
        yield Chat(served, page)


async def test_the_page_streams_reloads_stops_and_shows_tools_reasoning_and_failures(browser: Chromium) -> None:
    """One browser for all of it, since starting one costs more than the rest."""
    async with chatting(browser) as chat:
        await streams_word_by_word(chat)
        await is_reloaded_in_the_middle_and_resumes(chat)
        await shows_reasoning_and_tools(chat)
        await stops_the_run_at_its_source(chat)
        await shows_a_failure_as_one(chat)


async def streams_word_by_word(chat: Chat) -> None:
    telling = await chat.ask("first")
    await chat.speaks(telling)
    await chat.shows("output", "streaming")
    telling.finish()
    await chat.shows("output", "ready")
    await chat.shows(".text", "first", "One two three.")


async def is_reloaded_in_the_middle_and_resumes(chat: Chat) -> None:
    telling = await chat.ask("second")
    await chat.speaks(telling)
    await chat.page.reload()
    await chat.shows(".text", "first", "One two three.", "second", "One two three.")
    await chat.served.attended(1, telling.run.id)
    await chat.speaks(telling, "One two three.")
    telling.finish()
    await chat.shows("output", "ready")
    twice = "One two three.One two three."
    await chat.shows(".text", "first", "One two three.", "second", twice)
    await chat.page.reload()  # nothing runs any more: nothing is told again
    await chat.shows("output", "ready")
    await chat.shows(".text", "first", "One two three.", "second", twice)
    assert len(chat.served.source.tellings) == 2


async def shows_reasoning_and_tools(chat: Chat) -> None:
    telling = await chat.ask("third")
    run = telling.run
    telling.say(Started(run.id, "scripted", run.created), Opened(0, "reasoning"), Delta(0, "I should look."))
    await chat.shows("details", "thinkingI should look.")
    telling.say(Closed(0), Opened(1, "tool_call", name="weather", call_id="c1"), Delta(1, '{"city":"Os'))
    await chat.shows("pre", 'weather input-streaming {"city":"Os"}')
    await chat.page.reload()  # in the middle of an argument
    await chat.shows("details", "thinkingI should look.")
    await chat.shows("pre", 'weather input-streaming {"city":"Os"}')
    telling.say(Delta(1, 'lo"}'), Closed(1))
    await chat.shows("pre", 'weather input-available {"city":"Oslo"}')
    telling.say(ToolReturned("c1", {"celsius": 17}), Opened(2, "text"), Delta(2, "17 °C."))
    await chat.shows("pre", 'weather output-available {"city":"Oslo"} {"celsius":17}')
    telling.say(Closed(2), Finished())
    await chat.shows("output", "ready")
    await chat.shows("article:last-of-type .text", "17 °C.")
    following = await chat.ask("fourth")
    roles = [message["role"] for message in following.request.messages]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant", "tool", "assistant", "user"]
    assert following.request.messages[6] == {"role": "tool", "tool_call_id": "c1", "content": '{"celsius":17}'}
    following.speak("So it is.")
    following.finish()
    await chat.shows("output", "ready")


async def stops_the_run_at_its_source(chat: Chat) -> None:
    telling = await chat.ask("fifth")
    telling.speak("Words ")
    await chat.shows("article:last-of-type .text", "Words ")
    await chat.page.click("text=Stop")
    await telling.closed.wait()
    assert chat.served.run(telling.run.id).pump.terminal == Cancelled("client")
    await chat.shows("output", "ready")
    await chat.shows("article:last-of-type .text", "Words ")


async def shows_a_failure_as_one(chat: Chat) -> None:
    telling = await chat.ask("sixth")
    telling.speak("Half an ")
    await chat.shows("article:last-of-type .text", "Half an ")
    telling.fail("provider_error", "the provider gave up")
    await chat.shows("[role=alert]", "the provider gave up")
    await chat.shows("output", "error")
    await chat.shows("article:last-of-type .text", "Half an ")
