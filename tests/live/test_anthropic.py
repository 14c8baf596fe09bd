"""anthropic-python against `/v1/messages`: streams, its helper, tools, thinking, and an exception of its own for every failure."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic, AsyncMessageStream, AsyncStream
from anthropic._exceptions import OverloadedError
from anthropic.types import RawMessageStreamEvent, TextBlock, ThinkingBlock, ToolUseBlock

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.core.carried import BLOCK
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Note, Opened, Started, Usage
from tests.fakes.cutting_proxy import CuttingProxy, Plan
from tests.fakes.provider import USUAL, Provider
from tests.fakes.script import closing, opening, text, tool_call
from tests.loopback import http_client
from tests.server.keyed import ALICE, keyed
from tests.server.reading import event_stream
from tests.serving import Served, configured, serving
from tests.waiting import until

ASKED: dict[str, Any] = {"model": "scripted", "max_tokens": 64, "messages": [{"role": "user", "content": "speak"}]}
Helper = AsyncMessageStream[None]
TOOLS: list[Any] = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {}}}}]


@asynccontextmanager
async def calling(base_url: str, *, api_key: str = "any") -> AsyncGenerator[AsyncAnthropic]:
    """The SDK as it is, but that it asks once and finds no proxy."""
    http = http_client()
    async with AsyncAnthropic(base_url=base_url, api_key=api_key, max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def sdk(served: Served) -> AsyncGenerator[AsyncAnthropic]:
    async with calling(served.url) as client:
        yield client


async def told(served: Served, *events: Event, number: int = 0) -> None:
    """The source says all of this at once, as soon as it is asked."""
    telling = await served.telling(number)
    telling.say(Started(telling.run.id, "scripted", telling.run.created), *events)


@asynccontextmanager
async def helped(served: Served, sdk: AsyncAnthropic, *events: Event, **fields: Any) -> AsyncGenerator[Helper]:
    """The SDK's helper, over a stream that begins with these events: it waits for the first that says something."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(told(served, *events))
        async with sdk.messages.stream(**ASKED, **fields) as stream:
            yield stream


async def test_events_come_one_by_one_and_in_order(served: Served, sdk: AsyncAnthropic) -> None:
    asking = asyncio.ensure_future(sdk.messages.create(**ASKED, stream=True))
    telling = await served.telling()
    telling.speak("Hel")
    kinds = []
    async with await asking as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "content_block_delta":
                assert event.delta.type == "text_delta"
                if event.delta.text == "Hel":
                    telling.speak("lo")
                    telling.finish()
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_helper_has_the_words_as_they_come_and_the_message_in_the_end(
    served: Served, sdk: AsyncAnthropic
) -> None:
    async with helped(served, sdk, Opened(0, "text"), Delta(0, "Hel")) as stream:
        words = stream.text_stream
        said = [await anext(words)]
        telling = await served.telling()
        usage = Usage(100, 5, "reported", cached=60, cache_written=30)
        telling.say(Delta(0, "lo"), Closed(0), usage, Note("stop", {"stop_sequence": "END"}), Finished())
        said += [word async for word in words]
        message = await stream.get_final_message()
        assert stream.request_id == stream.response.headers["x-request-id"]
    assert said == ["Hel", "lo"]
    assert (message.role, message.model, message.stop_reason) == ("assistant", "scripted", "stop_sequence")
    assert message.stop_sequence == "END"
    assert message.id == "msg_" + telling.run.id.removeprefix("st_")
    spent = message.usage
    assert (spent.input_tokens, spent.cache_read_input_tokens, spent.cache_creation_input_tokens) == (10, 60, 30)
    assert spent.output_tokens == 5


async def test_thinking_tools_and_blocks_of_its_own_are_put_together(served: Served, sdk: AsyncAnthropic) -> None:
    hidden = b'{"type":"redacted_thinking","data":"eA=="}'
    said: list[Event] = [
        *(Opened(0, "reasoning"), Delta(0, "h"), Delta(0, "m"), Closed(0, {"signature": "c2ln"})),
        *(Opened(1, "binary", media_type=BLOCK % "anthropic"), Chunk(1, hidden), Closed(1)),
        *(Opened(2, "tool_call", name="weather", call_id="a"), Delta(2, '{"city":'), Delta(2, '"Ulm"}')),
        *(Opened(3, "tool_call", name="weather", call_id="b"), Delta(3, '{"city":"Köln"}')),
        *(Closed(2), Closed(3), Finished("tool_calls")),
    ]
    async with helped(served, sdk, *said, tools=TOOLS) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        message = await stream.get_final_message()
    assert pieces == ['{"city":', '"Ulm"}', '{"city":"Köln"}']
    thought, closed, *calls = message.content
    assert isinstance(thought, ThinkingBlock)
    assert (thought.thinking, thought.signature) == ("hm", "c2ln")
    assert closed.to_dict() == {"type": "redacted_thinking", "data": "eA=="}
    assert [(call.id, call.input) for call in calls if isinstance(call, ToolUseBlock)] == [
        ("a", {"city": "Ulm"}),
        ("b", {"city": "Köln"}),
    ]
    assert message.stop_reason == "tool_use"


async def test_pings_in_mid_answer_are_passed_over(served: Served, sdk: AsyncAnthropic) -> None:
    async with helped(served, sdk, Opened(0, "text"), Delta(0, "Hel")) as stream, served.client() as client:
        telling = await served.telling()
        path = f"/v1/streams/{telling.run.id}/events?dialect=anthropic"
        async with event_stream(client, "GET", path) as watching:
            while (await watching.value())["type"] != "content_block_delta":
                pass
            for _ in range(3):
                served.tick(15)
            telling.say(Delta(0, "lo"), Closed(0), Finished())
            await watching.rest()
        message = await stream.get_final_message()
    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert block.text == "Hello"
    assert watching.raw.count(b'event: ping\ndata: {"type":"ping"}\n\n') >= 1


async def test_a_whole_message(served: Served, sdk: AsyncAnthropic) -> None:
    asking = asyncio.ensure_future(sdk.messages.create(**ASKED))
    await told(served, Opened(0, "text"), Delta(0, "Hello"), Closed(0), Finished("length"))
    message = await asking
    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert (block.text, message.stop_reason) == ("Hello", "max_tokens")
    assert message._request_id is not None


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_base_url_is_written_in_any_way(served: Served, suffix: str) -> None:
    async with calling(served.url + suffix) as sdk:
        asking = asyncio.ensure_future(sdk.messages.create(**ASKED))
        await told(served, Finished())
        assert (await asking).stop_reason == "end_turn"


BEGINNING = ("message_start", "content_block_start", "content_block_delta")


async def gather(stream: AsyncStream[RawMessageStreamEvent], events: list[RawMessageStreamEvent]) -> None:
    """Every event as long as they come."""
    async for event in stream:
        events.append(event)


async def refusal(sdk: AsyncAnthropic, **fields: Any) -> anthropic.APIStatusError:
    """What the SDK raises."""
    with pytest.raises(anthropic.APIStatusError) as raised:
        await sdk.messages.create(**{**ASKED, **fields})
    assert raised.value.request_id is not None
    return raised.value


async def test_what_is_wrong_with_a_request_is_named(sdk: AsyncAnthropic) -> None:
    error = await refusal(sdk, messages=[{"role": "user", "content": [{"type": "image", "source": {}}]}])
    assert (type(error), error.type) == (anthropic.BadRequestError, "invalid_request_error")
    assert error.error_code == "invalid_request"
    assert error.api_message == "messages.0.content.0.source.type: field required"


async def test_a_model_nobody_knows(sdk: AsyncAnthropic) -> None:
    error = await refusal(sdk, model="nobody")
    assert (type(error), error.type) == (anthropic.NotFoundError, "not_found_error")


async def test_a_request_that_is_too_large(sdk: AsyncAnthropic) -> None:
    error = await refusal(sdk, messages=[{"role": "user", "content": "x" * 17 * 2**20}])
    assert (type(error), error.type) == (anthropic.ContentTooLargeError, "request_too_large")


async def test_a_key_is_taken_from_either_header_and_a_wrong_one_refused() -> None:
    async with keyed() as (served, _):
        async with calling(served.url, api_key="psk_wrong") as sdk:
            error = await refusal(sdk)
            assert (type(error), error.type) == (anthropic.AuthenticationError, "authentication_error")
        async with calling(served.url, api_key=ALICE) as sdk:
            asking = asyncio.ensure_future(sdk.messages.create(**ASKED))
            await told(served, Finished())
            assert (await asking).content == []
        bearer = AsyncAnthropic(base_url=served.url, auth_token=ALICE, http_client=http_client())
        async with bearer:
            asking = asyncio.ensure_future(bearer.messages.create(**ASKED))
            await told(served, Finished(), number=1)
            assert (await asking).content == []


@pytest.mark.parametrize(
    ("code", "raised", "kind"),
    [
        ("provider_refused", anthropic.BadRequestError, "invalid_request_error"),
        ("provider_rate_limited", anthropic.RateLimitError, "rate_limit_error"),
        ("provider_overloaded", OverloadedError, "overloaded_error"),
        ("providers_exhausted", anthropic.ServiceUnavailableError, "overloaded_error"),
        ("forbidden", anthropic.PermissionDeniedError, "permission_error"),
        ("cancelled", anthropic.ConflictError, "invalid_request_error"),
        ("first_token_timeout", anthropic.GatewayTimeoutError, "timeout_error"),
        ("provider_error", anthropic.InternalServerError, "api_error"),
    ],
)
async def test_a_failure_before_the_first_token_is_an_exception_of_its_own(
    served: Served, sdk: AsyncAnthropic, code: str, raised: type[Exception], kind: str
) -> None:
    asking = asyncio.ensure_future(refusal(sdk, stream=True))
    (await served.telling()).fail(code, "what the provider said", retry_after=7)
    error = await asking
    assert (type(error), error.type, error.error_code) == (raised, kind, code)
    assert (error.api_message, error.response.headers["retry-after"]) == ("what the provider said", "7")


async def test_a_failure_in_mid_answer_is_raised_and_what_was_said_is_kept(served: Served, sdk: AsyncAnthropic) -> None:
    async with helped(served, sdk, Opened(0, "text"), Delta(0, "half an ans")) as stream:
        (await served.telling()).fail("provider_overloaded", "busy")
        with pytest.raises(anthropic.APIStatusError) as raised:
            await stream.get_final_message()
        (block,) = stream.current_message_snapshot.content
    assert isinstance(block, TextBlock)
    assert (block.text, raised.value.type) == ("half an ans", "overloaded_error")


async def test_a_line_that_is_cut_is_not_the_end_of_a_message(served: Served) -> None:
    async with (
        CuttingProxy(served.port, plans=lambda _: Plan(cut_after=1200)).listening() as proxy,
        calling(proxy.url) as sdk,
    ):
        asking = asyncio.ensure_future(sdk.messages.create(**ASKED, stream=True))
        telling = await served.telling()
        telling.flood("word ", 100)
        events: list[RawMessageStreamEvent] = []
        stream = await asking
        with pytest.raises(httpx2.HTTPError):
            await gather(stream, events)
        assert {"message_start"} <= {event.type for event in events} <= {*BEGINNING}
        await until("the run is given up", telling.closed.is_set)


async def test_a_new_parser_goes_on_in_the_middle_of_a_block(served: Served, sdk: AsyncAnthropic) -> None:
    """Begun in one request, gone on with in another: the helper is given the open block again, and the words it lacks."""
    answer = await sdk.post(
        "/v1/streams?dialect=anthropic",
        body={**ASKED, "stream": True},
        cast_to=httpx2.Response,
        options={"headers": {"Accept": "application/json"}},
    )
    telling = await served.telling()
    telling.speak("never ", "twice")
    run = answer.json()["id"]
    await until("both words are said", lambda: served.run(run).log.last == 4)
    raw = await sdk.get(
        f"/v1/streams/{run}/events?dialect=anthropic&reopen=1",
        cast_to=Any,
        options={
            "headers": {"Accept": "text/event-stream", "Last-Event-ID": f"{run}:{served.run(run).log.epoch}:3"},
        },
        stream=True,
        stream_cls=AsyncStream[RawMessageStreamEvent],
    )
    telling.finish()
    async with AsyncMessageStream(raw, output_format=anthropic.NOT_GIVEN) as stream:
        message = await stream.get_final_message()
    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert (block.text, message.stop_reason) == ("twice", "end_turn")


async def test_an_upstream_that_speaks_openai_is_asked_and_answers_in_translation(provider: Provider) -> None:
    config = Config(models={"fake": ModelConfig(targets=(f"{provider.base_url}#fake",))})
    pieces = [tool_call(0, "", call_id="call_1", name="weather"), tool_call(0, '{"city":"Ulm"}')]
    provider.script(opening(), text("Let me see."), pieces, closing(finish="tool_calls"))
    async with serving(configured(config)) as served, calling(served.url) as sdk:
        first = await sdk.messages.create(
            model="fake",
            max_tokens=64,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": "Weather?"}],
            tools=TOOLS,
            tool_choice={"type": "any"},
            stop_sequences=["END"],
        )
        use = first.content[1]
        assert isinstance(use, ToolUseBlock)
        assert (first.stop_reason, use.input) == ("tool_use", {"city": "Ulm"})
        second = await sdk.messages.create(
            model="fake",
            max_tokens=64,
            messages=[
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": first.content},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": use.id, "content": "no such city", "is_error": True}
                    ],
                },
            ],
            tools=TOOLS,
        )
    (said,) = second.content
    assert isinstance(said, TextBlock)
    assert said.text == "".join(USUAL)
    asked, again = (request.json for request in provider.requests)
    assert asked["messages"][0] == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert asked["tools"][0]["function"] == {"name": "weather", "parameters": TOOLS[0]["input_schema"]}
    assert (asked["tool_choice"], asked["stop"], asked["max_tokens"]) == ("required", ["END"], 64)
    assert again["messages"][1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Ulm"}'}
    assert again["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "no such city"}
