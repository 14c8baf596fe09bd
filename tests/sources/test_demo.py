"""The demo model: what it says, every knob, and that it hears what is said to it."""

import asyncio
import re
import struct
import zlib

import msgspec
import pytest

from penstock.core.errors import TABLE, Broken
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Opened, Started, Usage
from penstock.registry import names, resolve
from penstock.sources import demo_script
from penstock.sources.demo import build
from penstock.testing.sources import SoloRun, check_source
from tests.sources.asking import ask, heard, question, text

UNPACED = build(rate=0)

ASKED: dict[str, dict[str, Json]] = {
    "openai-responses": {"input": "Hello"},
    "openai-completions": {"prompt": "Hello"},
    "ai-sdk": {"id": "a", "messages": [{"id": "b", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}]},
}
CHAT: dict[str, Json] = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
"""What the other dialects are asked with."""


async def told(prompt: str = "What is a penstock?", **knobs: Json) -> tuple[list[Event], Broken | None]:
    return await heard(ask(UNPACED, question(prompt, demo=dict(knobs))))


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Opened)]


async def test_it_thinks_then_answers_then_counts() -> None:
    events, broken = await told(tokens=40)
    assert broken is None
    assert events[0] == Started("st_solo", "demo", 1_700_000_000)
    assert kinds(events) == ["reasoning", "text"]
    thought = sum(isinstance(event, Delta) and event.part == 0 for event in events)
    assert events[-3:] == [
        Closed(1, {"finish_reason": "stop"}),
        Usage(4, thought + 40, "counted", reasoning=thought),
        Finished("stop"),
    ]


async def test_it_repeats_the_first_words_of_the_question() -> None:
    events, _ = await told("How deep is {the} lake\nat night, and " + "really " * 50)
    assert "You said: **How deep is {the} lake at night, and really really really really …**" in text(events, 1)


async def test_without_a_question_it_says_so() -> None:
    events, _ = await told("  ")
    assert "nothing at all" in text(events)


async def test_its_text_has_what_a_client_must_cope_with() -> None:
    events, _ = await told(tokens=400)
    said = text(events, 1)
    for awkward in (
        "```python\nasync def",
        "## What",
        "| --- |",
        "\u0301",
        "你好世界",
        "👩‍👩‍👧‍👦",
        "\u0645\u0631",
        "\u200b",
        "`curl -N`",
    ):
        assert awkward in said


async def test_it_always_says_the_same_to_the_same_question() -> None:
    assert await told(tokens=120) == await told(tokens=120)


def test_its_usual_length_is_three_to_twenty_seconds() -> None:
    assert demo_script.usual_length("") / 30 == 3
    assert demo_script.usual_length("word " * 10_000) / 30 == 20


def test_tokens_put_together_are_the_text() -> None:
    assert "".join(demo_script.thinking("a b")).startswith("The question is a b. I am a demo")


@pytest.mark.parametrize("tokens", [0, 1, 700])
async def test_tokens_is_the_length_of_the_text(tokens: int) -> None:
    events, broken = await told(tokens=tokens, reasoning=False)
    assert broken is None
    assert sum(isinstance(event, Delta) for event in events) == tokens
    assert events[-1] == Finished("stop")


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_ends_it_for_length(limit: str) -> None:
    limits: dict[str, Json] = {limit: 5}
    events, _ = await heard(ask(UNPACED, question("hi", demo={"reasoning": False}, **limits)))
    assert sum(isinstance(event, Delta) for event in events) == 5
    assert events[-1] == Finished("length")


async def test_it_drops_the_stream_after_so_many_tokens() -> None:
    events, broken = await told(drop_after=7, reasoning=False)
    assert sum(isinstance(event, Delta) for event in events) == 7
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


@pytest.mark.parametrize("drop_after", [0, 90])
async def test_it_drops_at_the_edges_too(drop_after: int) -> None:
    events, broken = await told(tokens=90, drop_after=drop_after, reasoning=False)
    assert sum(isinstance(event, Delta) for event in events) == drop_after
    assert broken is not None


@pytest.mark.parametrize("code", TABLE)
async def test_it_fails_with_any_error_before_it_starts(code: str) -> None:
    events, broken = await told(error=code)
    assert events == []
    assert broken is not None
    assert broken.fault.code == code


async def test_it_shows_a_picture_that_is_one() -> None:
    events, _ = await told(tokens=3, binary=True)
    opened = next(event for event in events if isinstance(event, Opened) and event.kind == "binary")
    assert (opened.media_type, opened.name) == ("image/png", "penstock.png")
    image = b"".join(event.data for event in events if isinstance(event, Chunk))
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    blocks, at = {}, 8
    while at < len(image):
        size, kind = struct.unpack(">I4s", image[at : at + 8])
        body = image[at + 8 : at + 8 + size]
        assert struct.unpack(">I", image[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        blocks[kind] = body
        at += 12 + size
    assert list(blocks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", blocks[b"IHDR"]) == (64, 64, 8, 2, 0, 0, 0)
    assert len(zlib.decompress(blocks[b"IDAT"])) == 64 * (1 + 3 * 64)


@pytest.mark.parametrize("said", [{"text": "in French"}, "in French", {"text": "  in\nFrench "}])
async def test_it_says_that_it_was_steered(said: Json) -> None:
    run = SoloRun()
    stream = ask(UNPACED, question(demo={"tokens": 30, "reasoning": False}), run=run)
    before = [await anext(stream) for _ in range(10)]
    assert run.inbox.opened
    run.inbox.put(said)
    next_event = await anext(stream)
    assert next_event == Delta(0, "\n\n> steered: in French\n\n")
    after, broken = await heard(stream)
    assert broken is None
    unsteered, _ = await told(tokens=30, reasoning=False)
    assert text(before) + text(after) == text(unsteered)


async def test_in_lockstep_each_token_waits_for_the_confirmation_of_the_one_before() -> None:
    run = SoloRun()
    knobs: dict[str, Json] = {"lockstep": True, "tokens": 4, "reasoning": False, "stall": 60}
    stream = ask(build(rate=0.001), question(demo=knobs), run=run)
    said = [await anext(stream) for _ in range(3)]
    assert [type(event) for event in said] == [Started, Opened, Delta]
    for number in range(3):
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        run.inbox.put({"heard": number})
        said.append(await waiting)
    rest, broken = await heard(stream)
    assert broken is None
    unpaced, _ = await told(tokens=4, reasoning=False)
    assert said + rest == unpaced


async def test_in_lockstep_confirmations_that_came_early_count() -> None:
    run = SoloRun(*range(10))
    events, broken = await heard(
        ask(UNPACED, question(demo={"lockstep": True, "tokens": 8, "reasoning": False}), run=run)
    )
    assert broken is None
    assert text(events) == text((await told(tokens=8, reasoning=False))[0])


async def test_input_without_text_is_shown_as_it_is_and_cut() -> None:
    run = SoloRun({"approve": True}, ["x" * 500])
    events, _ = await heard(ask(UNPACED, question(demo={"tokens": 3, "reasoning": False}), run=run))
    assert '> steered: {"approve":true}\n' in text(events)
    assert max(len(line) for line in text(events).splitlines()) < 250


@pytest.mark.parametrize(
    ("knobs", "named"),
    [
        ({"rate": "fast"}, "demo.rate"),
        ({"rate": -1}, "demo.rate"),
        ({"rate": True}, "demo.rate"),
        ({"tokens": 1.5}, "demo.tokens"),
        ({"tokens": -1}, "demo.tokens"),
        ({"stall": 1e9}, "demo.stall"),
        ({"drop_after": "x"}, "demo.drop_after"),
        ({"error": "no_such_code"}, "demo.error"),
        ({"error": 3}, "demo.error"),
        ({"reasoning": "yes"}, "demo.reasoning"),
        ({"binary": 1}, "demo.binary"),
        ({"lockstep": "yes"}, "demo.lockstep"),
        ({"speed": 3}, "speed"),
        ("fast", "demo must be an object"),
        (None, "demo must be an object"),
    ],
)
async def test_a_bad_knob_is_named_before_anything_starts(knobs: Json, named: str) -> None:
    events, broken = await heard(ask(UNPACED, question(demo=knobs)))
    assert events == []
    assert broken is not None
    assert broken.fault.code == "invalid_request"
    assert named in broken.fault.message


async def test_an_unknown_knob_is_answered_with_the_known_ones() -> None:
    _, broken = await heard(ask(UNPACED, question(demo={"speed": 3})))
    assert broken is not None
    assert "the knobs are rate, tokens, stall, drop_after, error, reasoning, binary, lockstep" in broken.fault.message


def test_a_bad_default_stops_the_building() -> None:
    with pytest.raises(ValueError, match=re.escape("demo.rate")):
        build(rate=-1)


async def test_a_request_sets_knobs_over_the_defaults() -> None:
    source = build(rate=0, tokens=5, reasoning=False)
    assert sum(isinstance(e, Delta) for e in (await heard(ask(source)))[0]) == 5
    assert sum(isinstance(e, Delta) for e in (await heard(ask(source, question(demo={"tokens": 2}))))[0]) == 2


@pytest.mark.parametrize("dialect", names("dialects"))
async def test_its_knobs_are_heard_in_every_dialect(dialect: str) -> None:
    body = msgspec.json.encode({**ASKED.get(dialect, CHAT), "demo": {"error": "provider_overloaded"}})
    request = resolve("dialects", dialect)().parse(body)
    _, broken = await heard(ask(UNPACED, request))
    assert broken is not None
    assert broken.fault.code == "provider_overloaded"


class Clock:
    """A loop whose time moves only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        self.slept: list[float] = []
        monkeypatch.setattr("penstock.sources.demo.asyncio.get_running_loop", lambda: self)
        monkeypatch.setattr("penstock.sources.demo.asyncio.sleep", self.sleep)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + 0.02  # a sleep is never exact


async def test_the_rate_does_not_drift_when_every_sleep_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    await heard(ask(build(), question(demo={"rate": 10, "tokens": 100, "reasoning": False})))
    assert clock.now - 100.0 == pytest.approx(10.0, abs=0.05)


async def test_it_stalls_once_after_the_first_half_and_does_not_hurry_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    await heard(ask(build(), question(demo={"rate": 10, "tokens": 100, "stall": 8, "reasoning": False})))
    assert clock.slept.count(8) == 1
    assert clock.now - 100.0 == pytest.approx(18.0, abs=0.5)


async def test_after_a_long_pause_of_its_readers_it_goes_on_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = ask(build(), question(demo={"rate": 10, "tokens": 100, "reasoning": False}))
    for _ in range(10):
        await anext(stream)
    clock.now += 60
    resumed = clock.now
    rest, _ = await heard(stream)
    assert clock.now - resumed == pytest.approx(sum(isinstance(event, Delta) for event in rest) / 10, abs=0.3)


async def test_unpaced_it_lets_the_loop_run() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    await told(tokens=1_000)
    other.cancel()
    assert turns > 10


@pytest.mark.parametrize("knobs", [{"tokens": 20, "binary": True}, {"drop_after": 5}, {"error": "overloaded"}])
async def test_it_keeps_the_law_of_sources(knobs: dict[str, Json]) -> None:
    await check_source(UNPACED, question(demo=dict(knobs)))


async def test_paced_it_keeps_the_law_of_sources_when_it_is_cancelled_in_its_sleep() -> None:
    await check_source(build(rate=1_000), question(demo={"tokens": 12}))


async def test_in_lockstep_it_keeps_the_law_of_sources_when_it_is_left_waiting() -> None:
    request = question(demo={"lockstep": True, "tokens": 6, "reasoning": False})
    await check_source(UNPACED, request, run=lambda: SoloRun(*range(5)))
