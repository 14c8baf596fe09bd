"""openai-python's older `completions.create`, unmodified, against a server: streamed, whole, cut short and refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import openai
import pytest

from penstock.core.events import Closed, Finished, Usage
from tests.serving import MODEL, Served, serving


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving() as server:
        yield server


@pytest.fixture
async def sdk(served: Served) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def test_a_completion_streams_word_by_word(served: Served, sdk: openai.AsyncOpenAI) -> None:
    asking = asyncio.ensure_future(
        sdk.completions.create(
            model=MODEL, prompt="Say: ", echo=True, stream=True, stream_options={"include_usage": True}
        )
    )
    telling = await served.telling()
    telling.begin()
    stream = await asking
    assert (await anext(stream)).choices[0].text == "Say: "
    for word in ("Hel", "lo"):
        telling.speak(word)
        assert (await anext(stream)).choices[0].text == word  # each is there before the next is said
    telling.say(Closed(0, {"finish_reason": "length"}), Usage(3, 2, "reported"), Finished("length"))
    rest = [chunk async for chunk in stream]
    assert [choice.finish_reason for chunk in rest for choice in chunk.choices] == ["length"]
    assert rest[-1].usage is not None
    assert rest[-1].usage.total_tokens == 5
    assert telling.request.messages == ({"role": "user", "content": "Say: "},)


async def test_a_whole_completion_is_one_object(served: Served, sdk: openai.AsyncOpenAI) -> None:
    asking = asyncio.ensure_future(sdk.completions.create(model=MODEL, prompt=["Hi"], max_tokens=4, stop="."))
    telling = await served.telling()
    telling.speak("Hello")
    telling.finish()
    answer = await asking
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "Hello",
        "stop",
    )
    assert telling.request.params == {"max_tokens": 4, "stop": "."}


async def test_a_completion_that_breaks_off_raises(served: Served, sdk: openai.AsyncOpenAI) -> None:
    asking = asyncio.ensure_future(sdk.completions.create(model=MODEL, prompt="Hi", stream=True))
    telling = await served.telling()
    telling.speak("Hel")
    stream = await asking
    assert (await anext(stream)).choices[0].text == "Hel"
    telling.fail("provider_truncated")
    with pytest.raises(openai.APIError):
        await anext(stream)


async def test_what_a_chat_cannot_do_is_a_bad_request_that_names_it(sdk: openai.AsyncOpenAI) -> None:
    for fields, param in ({"suffix": "."}, "suffix"), ({"best_of": 2}, "best_of"):
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.completions.create(model=MODEL, prompt="Hi", extra_body=fields)
        assert refused.value.param == param
    with pytest.raises(openai.BadRequestError, match="token numbers"):
        await sdk.completions.create(model=MODEL, prompt=[1, 2, 3])
