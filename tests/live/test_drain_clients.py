"""SIGTERM and SIGKILL in the middle of answers, as clients of others see it: a retryable error or a cut, never a good end."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from websockets.exceptions import ConnectionClosed

from tests.cli import serving as process
from tests.live.node_clients import NodeClient, node_client
from tests.live.test_curl import LINES, PARTIAL_FILE, curl
from tests.server.reading import Messages, websocket
from tests.waiting import CEILING

SOURCE = """
import asyncio


async def answer(request):
    yield "half"
    await asyncio.Event().wait()
"""
ASKED: dict[str, Any] = {"model": "source:answer", "messages": [{"role": "user", "content": "x"}]}
QUESTION = ("-d", '{"prompt": "x"}')


@contextmanager
def half(folder: Path, *, port: int = 0, code: int = 0) -> Iterator[process.Served]:
    """A server whose answers say `half` and never end, and which tells its runs at once when it goes."""
    (folder / "source.py").write_text(SOURCE)
    config = "[server]\nretry_ms = 1\n[models.half]\ntargets = ['source:answer']\n"
    environ = {"PYTHONPATH": str(folder), "PENSTOCK_PORT": str(port)}
    with process.starting(folder, config=config, environ=environ, code=code) as served:
        yield served


class Reading:
    """An answer read with openai-python, from its first word on."""

    def __init__(self, chunks: AsyncIterator[ChatCompletionChunk]) -> None:
        self._chunks = chunks
        self.text = ""
        self.reasons: list[str] = []

    def take(self, chunk: ChatCompletionChunk) -> None:
        for choice in chunk.choices:
            self.text += choice.delta.content or ""
            self.reasons += [choice.finish_reason] if choice.finish_reason else []

    async def first(self) -> None:
        """Wait for the first word."""
        while not self.text:
            self.take(await anext(self._chunks))

    async def rest(self) -> None:
        """Read to the end."""
        async for chunk in self._chunks:
            self.take(chunk)


@asynccontextmanager
async def with_openai(url: str) -> AsyncIterator[Reading]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=CEILING) as client:
        chunks = await client.chat.completions.create(
            model="half", messages=[{"role": "user", "content": "x"}], stream=True
        )
        reading = Reading(aiter(chunks))
        await reading.first()
        yield reading


async def spoken(node: NodeClient) -> None:
    """Wait until the EventSource has heard a word."""
    while json.loads((await node.next_line()).get("data", "{}")).get("type") != "delta":
        pass


async def close_code(socket: Messages) -> int | None:
    with pytest.raises(ConnectionClosed) as ended:
        await socket.next()
    return int(ended.value.rcvd.code) if ended.value.rcvd else None


@pytest.mark.needs("curl", "node")
async def test_sigterm_tells_every_client_that_the_answer_was_interrupted(tmp_path: Path) -> None:
    with half(tmp_path) as served:
        await served.ready()
        chat = f"{served.url}/v1/chat/chunked"
        async with (
            with_openai(served.url) as reading,
            node_client(
                "eventsource", f"{served.url}/v1/streams", method="POST", body=ASKED | {"model": "half"}
            ) as node,
            curl(chat, *QUESTION) as text,
            curl(chat, *QUESTION, *LINES) as lines,
            websocket(served.url.replace("http", "ws") + "/v1/chat/ws") as socket,
        ):
            await spoken(node)
            await text.shows("half")
            await lines.shows('"half"')
            await socket.ask(type="start", ref="1", request={"prompt": "x"})
            await socket.until("delta")
            served.process.send_signal(signal.SIGTERM)

            with pytest.raises(openai.APIError) as problem:
                await reading.rest()
            assert (type(problem.value), problem.value.code) == (openai.APIError, "interrupted")
            assert (reading.text, reading.reasons) == ("half", [])

            heard = await node.until_end()
            last = json.loads(heard[-2]["data"])
            assert (last["type"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "interrupted", True)

            assert (await text.ended(), text.text) == (PARTIAL_FILE, "half")
            assert await lines.ended() == 0
            assert json.loads(lines.text.splitlines()[-1])["error"]["code"] == "interrupted"

            told = await socket.until("failed")
            assert [message["type"] for message in told] == ["goaway", "closed", "failed"]
            assert await close_code(socket) == 1012
            assert await asyncio.to_thread(served.process.wait, CEILING) == 0


@pytest.mark.needs("curl", "node")
async def test_sigkill_is_a_cut_for_every_client_and_an_old_cursor_is_of_no_run(tmp_path: Path) -> None:
    with half(tmp_path, code=-signal.SIGKILL) as served:
        await served.ready()
        async with (
            with_openai(served.url) as reading,
            node_client("eventsource", f"{served.url}/v1/chat/stream?prompt=x&model=half&dialect=native") as node,
            curl(f"{served.url}/v1/chat/chunked", *QUESTION) as text,
            curl(f"{served.url}/v1/chat/chunked", *QUESTION, *LINES) as lines,
            websocket(served.url.replace("http", "ws") + "/v1/chat/ws") as socket,
        ):
            await spoken(node)
            await text.shows("half")
            await lines.shows('"half"')
            await socket.ask(type="start", ref="1", request={"prompt": "x"})
            await socket.until("delta")
            served.process.kill()
            await asyncio.to_thread(served.process.wait, CEILING)
            with half(tmp_path, port=served.port) as again:
                await again.ready()
                # It came back by itself with its cursor, perhaps more than once, and was told for good that there is no such run.
                heard = await node.until_end()
                assert (heard[-1]["end"], heard[-1]["status"]) == ("closed", 404)
                assert [line for line in heard if "data" in line and "finished" in line["data"]] == []
                assert again.found("run started") == []

            with pytest.raises(openai.APIConnectionError):
                await reading.rest()
            assert (reading.text, reading.reasons) == ("half", [])
            assert (await text.ended(), text.text) == (PARTIAL_FILE, "half")
            assert await lines.ended() == PARTIAL_FILE
            assert await close_code(socket) is None
