"""Recordings served by a provider of their protocol, read through a whole penstock: piece by piece, and in every dialect alike."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.core.cursor import Entry
from penstock.core.events import Closed, Delta, Event, Failed, Finished, Note, Opened, Usage
from penstock.registry import names
from penstock.testing.readings import READERS, Reading, read_events
from tests.fakes.replaying import PACE, Replay, replaying
from tests.laws.mutations import KINDS, of_kind
from tests.server.reading import EventStream, received_sse
from tests.serving import serving
from tests.sources.recordings import RECORDINGS, parsed, parser_of

kinds = pytest.mark.parametrize("kind", KINDS)
THINKING = {"native", "openai-chat", "anthropic", "openai-responses", "ai-sdk"}
"""Dialects with words for reasoning and for calls of tools."""
COUNTING = {"native", "anthropic", "openai-responses"}
"""Dialects that always tell what an answer cost."""


def events_in(name: str) -> list[Event]:
    """What the recording of this name says, by itself."""
    recording = named(name)
    return parsed(parser_of(recording), recording.read_bytes())


def expected(events: list[Event]) -> Reading:
    return read_events([Entry(offset, offset, 0, event) for offset, event in zip(count(1), events)])


def in_blocks(events: list[Event]) -> list[Event]:
    """The same, each block of a text being a part of its own, as Anthropic's messages have them."""
    told: list[Event] = []
    parts: dict[int, int] = {}
    for event in events:
        match event:
            case Note("block", {"part": int(part)}):
                told.append(Closed(parts.get(part, part)))
                parts[part] = 1000 + len(told)
                told.append(Opened(parts[part], "text"))
            case Delta() | Closed() if event.part in parts:
                told.append(msgspec.structs.replace(event, part=parts[event.part]))
            case _:
                told.append(event)
    return told


def spoken(reading: Reading) -> str:
    """What is said to the user; not every dialect tells a refusal from an answer."""
    return reading.text() + reading.text(kind="refusal")


def calls(reading: Reading) -> list[str]:
    return sorted(part.text for part in reading.parts.values() if part.key[1:2] == ("tool_call",))


@asynccontextmanager
async def replayed(kind: str) -> AsyncGenerator[tuple[dict[str, Replay], httpx2.AsyncClient]]:
    """A penstock with a model for every recording of one protocol, by its name."""
    async with AsyncExitStack() as stack:
        recordings = {path.stem: await stack.enter_async_context(replaying(path)) for path in of_kind(kind)}
        sources = {name: provider.source(name) for name, (_, provider) in recordings.items()}
        served = await stack.enter_async_context(serving(sources=sources))
        client = await stack.enter_async_context(served.client())
        yield {name: replay for name, (replay, _) in recordings.items()}, client


@kinds
async def test_recordings_read_the_same_in_every_dialect(kind: str) -> None:
    async with replayed(kind) as (replays, client):
        for name, replay in replays.items():
            replay.whole()
            begun = await client.post("/v1/streams", json={"model": name, "prompt": "What is a penstock?"})
            path = f"/v1/streams/{begun.headers['penstock-stream-id']}/events"
            for dialect in names("dialects"):
                told = await client.get(path, params={"dialect": dialect})
                _compare(events_in(name), dialect, READERS[dialect](received_sse(told.content)), f"{name} in {dialect}")


def _compare(events: list[Event], dialect: str, reading: Reading, what: str) -> None:
    wanted, last = expected(in_blocks(events) if dialect == "anthropic" else events), events[-1]
    assert (what, spoken(reading)) == (what, spoken(wanted))
    if dialect in THINKING:
        assert (what, reading.text(kind="reasoning")) == (what, wanted.text(kind="reasoning"))
        assert (what, calls(reading)) == (what, calls(wanted))
    usage = next((event for event in reversed(events) if isinstance(event, Usage)), None)
    if usage is not None and dialect in COUNTING and isinstance(last, Finished):
        # Anthropic counts the tokens of its cache beside the others.
        beside = (usage.cached or 0) + (usage.cache_written or 0) if dialect == "anthropic" else 0
        assert {usage.input - beside, usage.output} <= _numbers([reading.others, reading.ending]), what
    told = json.dumps([reading.ending, reading.others], default=str)
    if isinstance(last, Failed):
        assert json.dumps(last.error.message.partition(" ")[2])[1:-1] in told, what
    assert isinstance(last, Failed) == _confesses(reading.ending), what


def _confesses(value: Any) -> bool:
    """Whether a last message tells of an error, by whatever name."""
    return isinstance(value, dict) and any(
        ("error" in name and bool(told)) or _confesses(told) for name, told in value.items()
    )


def _numbers(value: Any) -> set[int]:
    """Every number within a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return {number for inner in value for number in _numbers(inner)}
    return {value} if isinstance(value, int) else set()


@kinds
async def test_every_piece_of_a_recording_is_told_before_the_next_one_comes(kind: str) -> None:
    async with replayed(kind) as (replays, client):
        for name, replay in replays.items():
            asked = {"model": name, "prompt": "What is a penstock?"}
            async with client.stream("POST", "/v1/streams", json=asked) as response:
                await _step_by_step(name, replay, EventStream(response))


async def _step_by_step(name: str, replay: Replay, stream: EventStream) -> None:
    parser, heard = parser_of(named(name)), []
    assert (await stream.value())["type"] == "started"
    while replay.left and not parser.answer.ended:
        for event in parser.feed(replay.release()):
            heard.append(by_the_source(await stream.value()))
            assert (name, heard[-1]) == (name, as_json(event))
    replay.whole()
    heard += [by_the_source(json.loads(event.data)) for event in await stream.rest()]
    wanted = [as_json(event) for event in events_in(name)]
    if wanted[-1]["type"] == "failed":
        # What was open is closed before the run fails; and the messages name the host.
        heard, wanted = ([event for event in events if event["type"] != "closed"] for events in (heard, wanted))
        del heard[-1]["error"]["message"], wanted[-1]["error"]["message"]
    assert (name, heard) == (name, wanted)


def by_the_source(said: Any) -> Any:
    """An event without the account that the server repeats in the last word."""
    return {name: value for name, value in said.items() if name != "usage"}


def as_json(event: Event) -> Any:
    return json.loads(msgspec.json.encode(event))


def named(name: str) -> Path:
    (recording,) = [path for path in RECORDINGS if path.stem == name]
    return recording


def test_a_written_recording_goes_at_an_even_pace() -> None:
    replay = Replay(named("responses_text"))
    assert replay.turn(PACE / 2) == b""
    assert replay.turn(PACE / 2).startswith(b"event: response.created\n")
    assert replay.turn(PACE * 2.5).count(b"event: ") == 2
    assert replay.released == 3


def test_a_live_recording_goes_as_it_went() -> None:
    recording = named("responses_llama_cpp")
    times = json.loads(recording.with_suffix(".timing.json").read_bytes())
    replay = Replay(recording)
    assert [len(replay.turn(due / 1000 - replay.now)) for due, _ in times] == [size for _, size in times]
    assert replay.left == 0
