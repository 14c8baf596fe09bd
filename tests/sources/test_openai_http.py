"""The source against a provider on a real socket: what it asks, what it hears, and the connections it keeps (U11)."""

import asyncio

import pytest

from penstock.core.events import Closed, Delta, Finished, Opened, Started, Usage
from penstock.sources.openai_http import OpenAIProvider
from penstock.sources.provider import HttpSource
from penstock.testing.sources import SoloRun, check_source
from tests.fakes.provider import Connection, Provider
from tests.fakes.script import Gate, Hang, answer, opening, text
from tests.sources.asking import ask, heard, question
from tests.sources.asking import text as text_of
from tests.waiting import until


async def test_an_answer_is_started_opened_said_closed_counted_and_finished(source: HttpSource) -> None:
    events, broken = await heard(ask(source))
    assert broken is None
    assert events == [
        Started("st_solo", "upstream-model", 1_700_000_000),
        Opened(0, "text"),
        *(Delta(0, piece) for piece in ("Hello", ", ", "world", "!")),
        Closed(0, {"finish_reason": "stop"}),
        Usage(3, 4, "reported"),
        Finished("stop"),
    ]


async def test_the_provider_is_asked_with_the_clients_parameters_streamed_and_counted(
    source: HttpSource, provider: Provider
) -> None:
    await heard(
        ask(
            source,
            question("hi", temperature=0.5, model="other", stream=False, stream_options={"include_obfuscation": False}),
        )
    )
    request = await provider.next_request()
    assert request.json == {
        "model": "upstream-model",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["accept"] == "text/event-stream"


async def test_without_a_key_no_credentials_are_sent_and_own_headers_are(provider: Provider) -> None:
    source = OpenAIProvider(provider.base_url, headers={"X-Team": "blue", "User-Agent": "mine"}).source("m")
    await heard(ask(source))
    await source.close()
    headers = (await provider.next_request()).headers
    assert "authorization" not in headers
    assert (headers["x-team"], headers["user-agent"]) == ("blue", "mine")


@pytest.mark.parametrize(
    ("key", "headers"), [("sk-secret\n", {}), ("sk", {"X-Team": "a\r\nb"}), ("sk", {"X Team": "a"})]
)
def test_a_key_or_a_header_that_cannot_be_sent_is_refused_when_the_source_is_made(
    key: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="header") as refused:
        OpenAIProvider("https://api.test", api_key=key, headers=headers)
    assert key.strip() not in str(refused.value)


async def test_models_of_one_provider_share_a_warm_connection(provider: Provider) -> None:
    shared = OpenAIProvider(provider.base_url)
    for model in ("a", "b", "a"):
        await heard(ask(shared.source(model)))
    assert [request.json["model"] for request in provider.requests] == ["a", "b", "a"]
    assert len(provider.connections) == 1
    await shared.close()
    await provider.connections[0].peer_gone.wait()


async def test_a_body_that_ends_after_the_answer_still_leaves_the_connection_warm(
    source: HttpSource, provider: Provider
) -> None:
    gate = Gate()
    *steps, end = answer("Hi")
    provider.script(*steps, gate, end)
    stream = ask(source)
    events = [await anext(stream) for _ in range(5)]
    assert events[-1] == Finished("stop")
    await gate.reached.wait()
    closing_stream = asyncio.ensure_future(stream.aclose())
    gate.open()
    await closing_stream
    await heard(ask(source))
    assert len(provider.connections) == 1


async def test_a_body_that_does_not_end_after_the_answer_is_left(source: HttpSource, provider: Provider) -> None:
    *steps, _end = answer("Hi")
    provider.script(*steps, Hang())
    events, broken = await heard(ask(source))
    assert (events[-1], broken) == (Finished("stop"), None)
    await provider.connections[0].peer_gone.wait()


async def test_a_provider_that_was_warmed_is_asked_over_the_connection_that_is_there(provider: Provider) -> None:
    upstream = OpenAIProvider(provider.base_url)
    await upstream.warm()
    (connection,) = await connected(provider)
    assert connection.requests == []
    async for _ in upstream.source("fake")(question(), SoloRun()):
        pass
    assert (len(provider.connections), len(connection.requests)) == (1, 1)
    await upstream.close()


async def connected(provider: Provider) -> list[Connection]:
    """The connections of a provider, as soon as there is one."""
    await until("somebody has connected", lambda: bool(provider.connections))
    return provider.connections


async def test_after_closing_the_next_run_makes_a_new_pool(source: HttpSource, provider: Provider) -> None:
    await heard(ask(source))
    await source.close()
    events, broken = await heard(ask(source))
    assert (text_of(events), broken) == ("Hello, world!", None)
    assert len(provider.connections) == 2


async def test_closing_between_two_events_hangs_up_at_once(source: HttpSource, provider: Provider) -> None:
    provider.script(opening(), text("Hel"), Hang())
    stream = ask(source)
    assert [type(await anext(stream)) for _ in range(3)] == [Started, Opened, Delta]
    await stream.aclose()
    await provider.connections[0].peer_gone.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelling_a_wait_hangs_up_at_once(source: HttpSource, provider: Provider, begun: bool) -> None:
    provider.script(*([*opening(), text("Hel")] if begun else []), Hang())
    stream = ask(source)
    waiting = asyncio.ensure_future(heard(stream))
    await provider.next_request()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await provider.connections[0].peer_gone.wait()


async def test_it_keeps_the_law_of_sources_and_leaves_no_connection_behind(
    source: HttpSource, provider: Provider
) -> None:
    def idle() -> bool:
        return sum(not connection.closed.is_set() for connection in provider.connections) <= 1

    events, broken = await check_source(
        source, question(), at_rest=lambda: until("at most the idle connection is open", idle)
    )
    assert (text_of(events), broken) == ("Hello, world!", None)
