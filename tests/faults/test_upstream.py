"""What a provider may do wrong, from its socket to the reader's on every transport: one end each, never a good one that was not.

The rows are those of `docs/explanation/reliability.md`; the provider is scripted to the byte.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Iterator
from itertools import cycle
from typing import Any

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.config.units import Seconds
from penstock.core.events import Failed, Finished
from tests.chaos import CHAOS
from tests.fakes.provider import Provider
from tests.fakes.script import (
    EVENT_STREAM,
    Body,
    Cut,
    End,
    Event,
    Flood,
    Gate,
    HalfClose,
    Hang,
    Head,
    Raw,
    Reply,
    Reset,
    Step,
    Trickle,
    chunk,
    closing,
    event_bytes,
    opening,
    text,
    tool_call,
)
from tests.faults.reading import SMALL, Reader, line, unwatched
from tests.live.answering import WAYS, Told, Way, answering
from tests.server.reading import PROMPT
from tests.serving import Served, configured, serving
from tests.waiting import until

ASKED: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "stream": True}
SMILE = event_bytes(chunk({"content": "a😀é"}))
MIDDLE = SMILE.index("😀".encode()) + 2
FINISHED = "finished"
TRUNCATED = "provider_truncated"
GARBLED = "provider_garbled"
ODD: dict[str, tuple[list[Step], Told]] = {
    "a character split between two reads": (
        [Head(), Body(SMILE[:MIDDLE]), Body(SMILE[MIDDLE:]), *closing()], Told("a😀é", FINISHED)
    ),
    "a cut within a character": ([*opening(), text("a"), Body(SMILE[:MIDDLE]), Cut()], Told("a", TRUNCATED)),
    "a reset": ([*opening(), text("a"), Gate(), Reset()], Told("a", TRUNCATED)),
    "a clean end without a finish reason": ([*opening(), text("a"), End()], Told("a", TRUNCATED)),
    "its half of the connection closed": ([*opening(), text("a"), HalfClose()], Told("a", TRUNCATED)),
    "a hundred megabytes without an end of line": (
        [*opening(), text("a"), Body(b"data: "), *[Body(b"x" * 65_536)] * 1_600, Hang()], Told("a", GARBLED)
    ),
    "NUL bytes": ([*opening(), text("a"), Body(b"data: \0\0\n\n"), Hang()], Told("a", GARBLED)),
    "HTML in the stream": ([*opening(), text("a"), Body(b"data: <html>\n\n"), Hang()], Told("a", GARBLED)),
    "an error object": (
        [*opening(), text("a"), Event({"error": {"message": "no memory", "code": 500}}), *closing()],
        Told("a", "provider_error"),
    ),
    "trailers, more data and a second end": (
        [*opening(), text("a"), Event(chunk(finish="stop")), Event(chunk(finish="length")), Event("[DONE]"),
         text("late"), Raw(b"0\r\nX-Late: 1\r\n\r\n"), Cut()],
        Told("a", FINISHED),
    ),
    "fields nobody knows": (
        [Head(), Event({**chunk({"content": "a", "mood": [1]}), "weather": {"x": None}}), *closing()],
        Told("a", FINISHED),
    ),
    "fragments of tool calls out of order": (
        [*opening(), text("a"), tool_call(1, "{}", call_id="b", name="g"), tool_call(0, "{", call_id="a", name="f"),
         tool_call(1, ""), tool_call(0, "}"), *closing(finish="tool_calls")],
        Told("a", FINISHED),
    ),
}  # fmt: skip
FLOOD = 100_000
"""Chunks: many times what a reader may owe before its source has to wait."""
NO_ANSWER: dict[str, Step] = {
    "HTML": Reply(headers={"Content-Type": "text/html"}, body=b"<html>Welcome</html>"),
    "a compressed bomb": Reply(
        headers={**EVENT_STREAM, "Content-Encoding": "gzip"}, body=gzip.compress(b"0" * 10_000_000)
    ),
    "lines of another kind": Reply(headers={"Content-Type": "application/x-ndjson"}, body=b"{}\n"),
}


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    config = Config(models={"fake": ModelConfig(targets=(f"{provider.base_url}#fake",))})
    async with serving(configured(config, heartbeat=Seconds(3600))) as server:
        yield server


@pytest.mark.parametrize("odd", ODD)
async def test_a_provider_that_does_odd_things_gets_one_end_and_the_right_one(
    served: Served, provider: Provider, odd: str
) -> None:
    script, told = ODD[odd]
    for number, way in enumerate(WAYS, start=1):
        # Whoever resets takes along what was not read yet: so it waits until the reader has it.
        steps = [Gate() if isinstance(step, Gate) else step for step in script]
        provider.script(steps)
        async with answering(served.url, way, ASKED) as reading:
            await reading.first()
            for gate in (step for step in steps if isinstance(step, Gate)):
                gate.open()
            end = told.end if way != "text" or told.end == FINISHED else "cut"
            assert await reading.rest() == Told(told.text, end)
        assert len(served.seen.ended) == number
    expected = Finished if told.end == FINISHED else Failed
    assert {type(terminal) for terminal in served.seen.ended.values()} == {expected}


@pytest.mark.parametrize("kind", NO_ANSWER)
async def test_what_is_no_answer_is_a_502_and_not_unpacked(served: Served, provider: Provider, kind: str) -> None:
    async with served.client() as client:
        for path in ("/v1/chat/completions", "/v1/chat/chunked"):
            provider.script(NO_ANSWER[kind])
            refused = await client.post(path, json=ASKED)
            assert (refused.status_code, GARBLED in refused.text) == (502, True)


async def test_of_a_stream_cut_at_any_byte_no_reader_is_told_that_it_is_complete(
    served: Served, provider: Provider
) -> None:
    begin = event_bytes(chunk({"content": "It "}))
    rest = b"".join(event_bytes(chunk({"content": word})) for word in ("is ", "whole", ".")) + event_bytes(
        chunk(finish="stop")
    )
    ways: Iterator[Way] = cycle(WAYS)
    cuts: Iterator[Step] = cycle((Cut(), Reset()))
    complete = []
    for length in range(0, len(rest), 1 if CHAOS else 29):
        provider.script(Head(), Body(begin), gate := Gate(), Body(rest[:length]), next(cuts))
        async with answering(served.url, next(ways), ASKED) as reading:
            assert await reading.first() == "It "
            gate.open()
            told = await reading.rest()
        if told.end not in (TRUNCATED, "cut") or not "It is whole.".startswith(told.text):
            complete.append((length, told))
    assert complete == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("spoken", "seconds", "code"), [(False, 300, "first_token_timeout"), (True, 120, "gap_timeout")]
)
async def test_a_provider_that_falls_silent_is_waited_for_so_long_and_no_longer(
    served: Served, provider: Provider, way: Way, spoken: bool, seconds: int, code: str
) -> None:
    provider.script(Head(), [text("a")] if spoken else [], Hang())

    async def answered() -> Told:
        async with answering(served.url, way, ASKED) as reading:
            return await reading.rest()

    asking = asyncio.ensure_future(answered())
    handle = await served.attended(1)
    (reader,) = handle.log.readers
    await until("the provider has accepted, and spoken", lambda: handle.log.last == (3 if spoken else 1))
    if not spoken and way != "ws":
        served.tick(9)  # for eight seconds the status line waits, that a refusal may have its own
    await until("the reader has what there is", lambda: reader.offset == handle.log.last)
    since = handle.pump.moved if spoken else handle.pump.began
    served.tick(since + seconds - 1 - served.clock.now)
    assert not served.seen.ended
    served.tick(2)
    end = "cut" if way == "text" else code
    assert await asking == Told("a" if spoken else "", end)
    await provider.connections[0].peer_gone.wait()


async def test_a_trickle_and_a_flood_leave_the_others_alone(served: Served, provider: Provider) -> None:
    """One provider gives a byte at a time, one floods; each word of a third goes through between two bytes of the first."""
    trickled, permits = (
        event_bytes(chunk({"content": "slowly"})) + event_bytes(chunk(finish="stop")),
        asyncio.Semaphore(0),
    )
    provider.script(Head(), Trickle(trickled, permits), End())
    slow = asyncio.ensure_future(_told(served, "sse"))
    await provider.next_request()
    unwatched(served)
    provider.script(*opening(), Flood(FLOOD), *closing())
    flood = asyncio.ensure_future(_told(served, "ndjson"))
    await provider.next_request()
    async with line(served.url, Reader("sse"), model="scripted") as third:
        telling = await served.telling()
        for number in range(len(trickled)):
            permits.release()
            telling.speak(f"{number} ")
            await third.until(f"{number} ")
        telling.finish()
        await third.to_the_end()
    assert await slow == Told("slowly", FINISHED)
    assert await flood == Told("".join(f"{number} " for number in range(FLOOD)), FINISHED)


async def _told(served: Served, way: Way) -> Told:
    async with answering(served.url, way, ASKED) as reading:
        return await reading.rest()


@pytest.mark.parametrize("way", ["sse", "websocket"])
async def test_a_reader_that_stops_stops_the_provider(served: Served, provider: Provider, way: Any) -> None:
    provider.script(*opening(), *[text("word " * 2000)] * 3000, *closing())
    reader = Reader(way)
    async with line(served.url, reader, model="fake", receive_buffer=SMALL) as stopped:
        await stopped.until("word ")
        written: list[int] = []

        def held_back() -> bool:
            written.append(provider.connections[0].written)
            return provider.connections[0].blocked() and len(written) > 20 and len(set(written[-20:])) == 1

        await until("the provider is held back", held_back)
        async with served.client() as client:
            assert (await client.delete(f"/v1/streams/{reader.run}")).status_code == 200
    await provider.connections[0].peer_gone.wait()


async def test_an_answer_that_was_asked_for_whole_has_the_status_of_its_failure(
    served: Served, provider: Provider
) -> None:
    async with served.client() as client:
        for odd, (script, told) in ODD.items():
            if any(isinstance(step, Gate) for step in script):
                continue
            provider.script(script)
            whole = await client.post("/v1/chat/completions", json={**PROMPT, "model": "fake", "stream": False})
            if told.end == FINISHED:
                said = whole.json()["choices"][0]["message"]["content"]
                assert (odd, whole.status_code, said) == (odd, 200, told.text)
            else:
                assert (odd, whole.status_code, json.loads(whole.text)["error"]["code"]) == (odd, 502, told.end)
