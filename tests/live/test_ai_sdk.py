"""The AI SDK under Node: its own reader of UI message streams, and `streamText` and `generateObject` over three protocols."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.config.units import Seconds
from penstock.core.errors import Broken
from penstock.core.events import Closed, Delta, Event, Finished, Note, Opened, Started, ToolReturned, Usage
from penstock.core.request import ChatRequest, Run
from tests.contract.transcripts import PROTOCOLS, SITUATIONS, entries, situation
from tests.fakes.cutting_proxy import CuttingProxy
from tests.serving import configured, serving
from tests.tools import NODE_CLIENTS

pytestmark = pytest.mark.needs("node")

OSLO = '{"city":"Oslo","celsius":17}'


class Sdk:
    """The script `node/ai_sdk.mjs`, which does one thing after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, do: str, **options: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **options}).encode() + b"\n")
        await self._process.stdin.drain()

    async def line(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise EOFError((await self._process.stderr.read()).decode())
        return json.loads(line)

    async def do(self, do: str, **options: Any) -> Any:
        """What it has in the end."""
        await self.begin(do, **options)
        while "end" not in (line := await self.line()):
            pass
        return line["end"]


@asynccontextmanager
async def ai_sdk() -> AsyncGenerator[Sdk]:
    pipe = asyncio.subprocess.PIPE
    script = str(NODE_CLIENTS / "ai_sdk.mjs")
    process = await asyncio.create_subprocess_exec("node", script, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 24)
    try:
        yield Sdk(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.communicate()


@pytest.fixture
async def sdk() -> AsyncGenerator[Sdk]:
    async with ai_sdk() as script:
        yield script


async def oracle(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    """A model that answers by what it is asked."""
    prompt = request.prompt
    tools: Any = request.params.get("tools", ())
    name = str(tools[0]["function"]["name"]) if tools else ""
    if prompt == "refuse":
        raise Broken("provider_rate_limited", "slow down", retry_after=1)
    yield Started(run.id, "oracle", run.created)
    yield Note("progress", {"step": 1})
    if name and request.messages[-1]["role"] != "tool":
        yield Opened(0, "reasoning")
        yield Delta(0, "I should look.")
        yield Closed(0)
        yield Opened(1, "tool_call", name=name, call_id="call_1")
        for piece in ('{"ci', 'ty":"Oslo"}') if name == "weather" else (OSLO[:9], OSLO[9:]):
            yield Delta(1, piece)
        yield Closed(1)
        if prompt == "server tool":
            yield ToolReturned("call_1", {"celsius": 17})
        else:
            yield Usage(10, 5, "reported")
            yield Finished("tool_calls")
            return
    yield Opened(2, "text")
    said = ("It is ", "17 °C ", "in Oslo.") if name or "response_format" not in request.params else (OSLO[:9], OSLO[9:])
    for number, piece in enumerate(said):
        if prompt == "fail" and number == 2:
            raise Broken("provider_truncated", "it broke off")
        yield Delta(2, piece)
    yield Closed(2, {"citations": [{"url": "https://weather.example/oslo", "title": "Oslo"}]})
    yield Usage(20, 7, "reported", cached=4)
    yield Finished()


async def test_its_own_reader_takes_every_stored_transcript_and_has_the_words_of_it(sdk: Sdk) -> None:
    """`DefaultChatTransport` holds every chunk against the schema of the SDK, `readUIMessageStream` throws at an illegal order."""
    folders = [folder for folder in SITUATIONS if situation(folder).after is None]
    files = {folder: str(PROTOCOLS / "transcripts" / folder.name / "out" / "ai-sdk.sse") for folder in folders}
    found = await sdk.do("read", files=list(files.values()))
    assert len(found) == len(folders) > 10
    for folder, file in files.items():
        reading = found[file]
        said = [entry.event for entry in entries(folder)]
        shown = {
            event.part for event in said if isinstance(event, Opened) and event.kind == "text" and not event.choice
        }
        words = "".join(event.text for event in said if isinstance(event, Delta) and event.part in shown)
        parts = reading["message"]["parts"]
        assert "".join(part["text"] for part in parts if part["type"] == "text") == words, folder.name
        assert [part["type"] for part in parts if part.get("state") in ("streaming", "input-streaming")] == [], (
            folder.name
        )
        last = said[-1]
        match reading["types"][-1]:
            case "finish":
                assert (isinstance(last, Finished), reading["errors"]) == (True, [])
            case "abort":
                assert type(last).__name__ == "Cancelled"
            case "error":
                assert type(last).__name__ == "Failed"
                assert len(reading["errors"]) == 1
            case other:
                raise AssertionError(f"{folder.name} ends with {other}")


async def test_a_page_and_its_server_side_agree_about_a_message_that_comes_back(sdk: Sdk) -> None:
    """What a reader of ours has is sent back, and means to us what the SDK's own `convertToModelMessages` makes of it."""
    question = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "server tool"}]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    heard: list[ChatRequest] = []

    async def listening(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        heard.append(request)
        async for event in oracle(request, run):
            yield event

    async with serving(configured(heartbeat=Seconds(3600)), sources={"oracle": listening}) as served:
        url = served.url
        first = await sdk.do("chat", url=url, body={"messages": [question], "body": {"tools": tools}})
        assert first["errors"] == []
        message = first["message"]
        kinds = ["step-start", "data-progress", "reasoning", "tool-weather", "step-start", "text", "source-url"]
        assert [part["type"] for part in message["parts"]] == kinds
        assert message["metadata"]["usage"]["totalTokens"] == 27
        again = {"id": "m2", "role": "user", "parts": [{"type": "text", "text": "fail"}]}
        second = await sdk.do("chat", url=url, body={"messages": [question, message, again]})
        assert (second["types"][-1], second["errors"][0]["message"]) == ("error", "it broke off")
        assert second["message"]["parts"][-1]["text"] == "It is 17 °C "
        refused = await sdk.do(
            "chat", url=url, body={"messages": [{**question, "parts": [{"type": "text", "text": "refuse"}]}]}
        )
        assert json.loads(refused["errors"][0]["message"])["error"]["code"] == "provider_rate_limited"
        theirs = await sdk.do("convert", messages=[question, message, again])
    ours: Any = heard[1].messages
    assert [told["role"] for told in theirs] == [mine["role"] for mine in ours]
    (called,) = [part for part in theirs[1]["content"] if part["type"] == "tool-call"]
    (call,), result = ours[1]["tool_calls"], ours[2]
    assert (call["id"], call["function"]["name"]) == (called["toolCallId"], called["toolName"])
    assert json.loads(call["function"]["arguments"]) == called["input"]
    assert {"type": "json", "value": json.loads(result["content"])} == theirs[2]["content"][0]["output"]


async def test_a_page_that_runs_its_tools_has_one_message_for_the_call_and_what_came_of_it(sdk: Sdk) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with serving(configured(heartbeat=Seconds(3600)), sources={"oracle": oracle}) as served:
        page = await sdk.do("page", url=served.url, text="look", tools=tools)
    assert (page["status"], page["errors"]) == ("ready", [])
    asked, answer = page["messages"]
    assert (asked["role"], answer["role"]) == ("user", "assistant")
    step = ["step-start", "data-progress"]
    kinds = [*step, "reasoning", "tool-weather", *step, "text", "source-url"]
    assert [part["type"] for part in answer["parts"]] == kinds
    assert answer["parts"][6]["text"] == "It is 17 °C in Oslo."


async def test_a_page_that_is_loaded_again_keeps_the_call_that_the_answer_goes_on_from(sdk: Sdk) -> None:
    question = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "look"}]}
    call = {"type": "tool-weather", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 17}
    messages = [question, {"id": "theirs", "role": "assistant", "parts": [{"type": "step-start"}, call]}]
    config = configured(model="scripted", heartbeat=Seconds(3600), routes={"/v1/chat/ui": {"header_hold": Seconds(0)}})
    async with (
        serving(config) as served,
        served.client() as client,
        client.stream("POST", "/v1/chat/ui", json={"id": "chat-1", "messages": messages}),
    ):
        telling = await served.telling()
        telling.speak("17 °C.")
        await sdk.begin("resume", url=served.url, messages=messages)
        await served.attended(2)
        telling.finish()
        resumed = (await sdk.line())["end"]
    (asked, answer), told = resumed["messages"], {"type": "text", "text": "17 °C.", "state": "done"}
    assert (asked, answer["id"], resumed["status"]) == (question, "theirs", "ready")
    assert answer["parts"] == [{"type": "step-start"}, call, {"type": "step-start"}, told]


@pytest.mark.parametrize("provider", ["openai-compatible", "anthropic"])
async def test_its_providers_stream_use_tools_and_make_objects(sdk: Sdk, provider: str) -> None:
    async with serving(configured(heartbeat=Seconds(3600)), sources={"oracle": oracle}) as served:
        how = {"provider": provider, "url": served.url}
        plain = await sdk.do("stream", **how, prompt="hi")
        assert (plain["text"], plain["finishReason"], plain["errors"]) == ("It is 17 °C in Oslo.", "stop", [])
        assert (plain["usage"]["inputTokens"], plain["usage"]["outputTokens"]) == (20, 7)
        tools = await sdk.do("stream", **how, prompt="look", tools=True)
        assert tools["steps"] == [
            {"call": "weather", "input": {"city": "Oslo"}},
            {"result": {"city": "Oslo", "celsius": 17}},
        ]
        assert (tools["reasoning"], tools["text"]) == ("I should look.", "It is 17 °C in Oslo.")
        assert (tools["finishReason"], tools["errors"]) == ("stop", [])
        assert await sdk.do("object", **how, prompt="where") == json.loads(OSLO)
        whole = await sdk.do("text", **how, prompt="hi")
        assert (whole["text"], whole["finishReason"]) == ("It is 17 °C in Oslo.", "stop")
        refused = await sdk.do("text", **how, prompt="refuse")
        assert (refused["errors"][0]["name"], refused["errors"][0]["status"]) == ("AI_APICallError", 429)
        failed = await sdk.do("stream", **how, prompt="fail")
        assert (failed["text"], failed["finishReason"], len(failed["errors"])) == ("It is 17 °C ", "error", 1)
        assert "it broke off" in failed["errors"][0]["message"]


@pytest.mark.parametrize("provider", ["openai-compatible", "anthropic"])
async def test_each_word_comes_when_it_is_said_and_a_cut_line_is_an_error(sdk: Sdk, provider: str) -> None:
    async with serving(configured(heartbeat=Seconds(3600))) as served, CuttingProxy(served.port).listening() as proxy:
        await sdk.begin("stream", provider=provider, url=proxy.url, name="scripted", prompt="hi")
        telling = await served.telling()
        for word in ("One ", "two "):
            telling.speak(word)
            assert await sdk.line() == {"delta": word}
        (link,) = proxy.links
        await link.cut()
        end = (await sdk.line())["end"]
    assert (end["text"], end.get("finishReason"), len(end["errors"])) == ("One two ", None, 1)
