"""What one of two targets may do wrong, before its first word and after: the reader has the whole answer, once, and a note says how.

Both targets are scripted to the byte. The second is a model that goes on with what it is shown, and repeats the last words.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig, ModelLimits, RetryConfig
from penstock.config.units import Seconds
from penstock.core.events import Failed
from penstock.testing.script import (
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
    Reply,
    Reset,
    Step,
    Trickle,
    chunk,
    closing,
    event_bytes,
    opening,
    text,
)
from penstock.testing.upstream import Provider, going_on
from tests.faults.reading import unwatched
from tests.live.answering import WAYS, Told, Way, answering
from tests.serving import Served, configured, serving
from tests.waiting import until

HI: Any = {"role": "user", "content": "hi"}
ASKED: dict[str, Any] = {"model": "fast", "messages": [HI], "stream": True}
WHOLE = "The quick brown fox 🦊 jumps over the lazy dög, and nobody in the whole wood minds."
SAID = "The quick brown fox "
FLOOD = 20_000
FOX = event_bytes(chunk({"content": "🦊 jumps"}))
WITHIN = FOX.index("🦊".encode()) + 2
"""Between two bytes of a character; the byte before stands in a JSON string, on a line."""
BEGUN: list[Step] = [*opening(), text("The quick "), text("brown fox ")]


@dataclass(frozen=True)
class Two:
    """A server whose model `fast` has two targets, a and b."""

    served: Served
    a: Provider
    b: Provider

    def joints(self, run: str) -> list[dict[str, Any]]:
        """The notes of where a run changed its target, whatever the dialect it was read in."""
        notes = self.served.run(run).said().notes
        return [{"how": note.topic, **note.body} for note in notes if isinstance(note.body, dict) and "to" in note.body]


@asynccontextmanager
async def two(**model: Any) -> AsyncGenerator[Two]:
    async with Provider().listening() as a, Provider().listening() as b:
        b.unscripted = going_on(WHOLE, repeats=6)
        names = (f"{a.base_url}#a", f"{b.base_url}#b")
        alias = ModelConfig(targets=names, **{"retry": RetryConfig(attempts=1), **model})
        async with serving(configured(Config(models={"fast": alias}), heartbeat=Seconds(3600))) as served:
            yield Two(served, a, b)


def later(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def status(code: int, **headers: str) -> list[Step]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [Reply(status=code, headers=named, body={"error": {"message": "no", "type": "server_error"}})]


NEVER_SPOKE: dict[str, tuple[list[Step], str]] = {
    "a reset without a word": ([Reset()], "provider_unreachable"),
    "a cut without a word": ([Cut()], "provider_unreachable"),
    "a head and a cut": ([Head(), Cut()], "provider_truncated"),
    "a role and a reset": ([*opening(), Reset()], "provider_truncated"),
    "a role and a clean end": ([*opening(), End()], "provider_truncated"),
    "an early [DONE]": ([*opening(), Event("[DONE]"), End()], "provider_truncated"),
    "half of it closed": ([*opening(), HalfClose()], "provider_truncated"),
    "a cut within its first character": ([*opening(), Body(FOX[:WITHIN]), Cut()], "provider_truncated"),
    "an error object": ([Head(), Event({"error": {"message": "no memory"}}), *closing()], "provider_error"),
    "500": (status(500), "provider_error"),
    "503": (status(503), "provider_overloaded"),
    "503, again in seconds": (status(503, retry_after="7"), "provider_overloaded"),
    "429, nobody knows until when": (status(429), "provider_rate_limited"),
    "429, again in seconds": (status(429, retry_after="7"), "provider_rate_limited"),
    "429, again at a date": (status(429, retry_after=later(7)), "provider_rate_limited"),
    "429, again at a date that has been": (status(429, retry_after=later(-7)), "provider_rate_limited"),
    "429, again in milliseconds": (status(429, retry_after_ms="70"), "provider_rate_limited"),
    "429, again soon, in words": (status(429, retry_after="soon"), "provider_rate_limited"),
    "429, again before now": (status(429, retry_after="-1"), "provider_rate_limited"),
    "429, again tomorrow": (status(429, retry_after="99999"), "provider_rate_limited"),
    "HTML": ([Reply(headers={"Content-Type": "text/html"}, body=b"<html>Welcome</html>")], "provider_garbled"),
    "lines of another kind": (
        [Reply(headers={"Content-Type": "application/x-ndjson"}, body=b"{}\n")], "provider_garbled"
    ),
    "a compressed bomb": (
        [Reply(headers={**EVENT_STREAM, "Content-Encoding": "gzip"}, body=gzip.compress(b"0" * 10_000_000))],
        "provider_garbled",
    ),
    "a line without an end": ([Head(), Body(b"data: "), *[Body(b"x" * 65_536)] * 1_600, Hang()], "provider_garbled"),
}  # fmt: skip
BROKE_OFF: dict[str, tuple[list[Step], str]] = {
    "a reset": ([*BEGUN, Gate(), Reset()], "provider_truncated"),
    "a cut": ([*BEGUN, Cut()], "provider_truncated"),
    "a cut within a character": ([*BEGUN, Body(FOX[:WITHIN]), Cut()], "provider_truncated"),
    "a cut within a string": ([*BEGUN, Body(FOX[: WITHIN - 2]), Cut()], "provider_truncated"),
    "a cut within a word of the line": ([*BEGUN, Body(FOX[:3]), Cut()], "provider_truncated"),
    "half a character in a string of its own": (
        [*BEGUN, Body(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83e"}}]}\n\n'), Cut()],
        "provider_truncated",
    ),
    "half of it closed": ([*BEGUN, HalfClose()], "provider_truncated"),
    "a clean end without a reason": ([*BEGUN, End()], "provider_truncated"),
    "an early [DONE]": ([*BEGUN, Event("[DONE]"), End()], "provider_truncated"),
    "an error object": ([*BEGUN, Event({"error": {"message": "no memory"}}), *closing()], "provider_error"),
    "HTML in the stream": ([*BEGUN, Body(b"data: <html>\n\n"), Hang()], "provider_garbled"),
    "a line without an end": ([*BEGUN, Body(b"data: "), *[Body(b"x" * 65_536)] * 1_600, Hang()], "provider_garbled"),
}  # fmt: skip
WHOLE_ALL_THE_SAME: dict[str, list[Step]] = {
    "no [DONE]": [*opening(), text(WHOLE), Event(chunk(finish="stop")), End()],
    "no [DONE], and a cut": [*opening(), text(WHOLE), Event(chunk(finish="stop")), Cut()],
    "two reasons to end": [*opening(), text(WHOLE), Event(chunk(finish="stop")), *closing(finish="length")],
}


async def read(to: Two, way: Way, script: list[Step]) -> tuple[Told, str]:
    """What a reader has in the end of an answer that the first target begins by this script, and the id of the run."""
    steps = [Gate() if isinstance(step, Gate) else step for step in script]
    to.a.script(steps)
    async with answering(to.served.url, way, ASKED) as reading:
        await reading.first()
        for gate in (step for step in steps if isinstance(step, Gate)):
            gate.open()
        return await reading.rest(), reading.stream


@pytest.mark.parametrize("fault", NEVER_SPOKE)
async def test_a_target_that_fails_before_its_first_word_is_noticed_by_nobody(fault: str) -> None:
    script, code = NEVER_SPOKE[fault]
    way = WAYS[list(NEVER_SPOKE).index(fault) % len(WAYS)]
    async with two() as to:
        told, run = await read(to, way, script)
        assert (told, to.joints(run)) == (
            Told(WHOLE, "finished"), [{"how": "fallback", "from": "a", "to": "b", "after": code}]
        )  # fmt: skip


async def test_that_all_refuse_is_told_at_once_with_the_time_at_which_to_come_back() -> None:
    async with two(retry=None) as to, to.served.client() as client:
        to.a.script(status(429, retry_after="9"))
        to.b.script(status(503, retry_after="7"))
        refused = await client.post("/v1/chat/completions", json=ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
        assert "(a: provider_rate_limited; b: provider_overloaded)" in refused.text
        assert (len(to.a.requests), len(to.b.requests)) == (1, 1)


@pytest.mark.parametrize("fault", BROKE_OFF)
async def test_an_answer_that_breaks_off_goes_on_without_a_gap_and_without_a_repetition(fault: str) -> None:
    script, code = BROKE_OFF[fault]
    async with two() as to:
        for way in WAYS:
            told, run = await read(to, way, script)
            assert told == Told(WHOLE, "finished")
            assert to.joints(run) == [{
                "how": "continuation", "from": "a", "to": "b", "after": code, "strategy": "instructed",
                "offset": len(SAID), "reasoning_carried": False, "used": {"input": 0, "output": 2},
            }]  # fmt: skip


@pytest.mark.parametrize("oddity", WHOLE_ALL_THE_SAME)
async def test_an_answer_that_is_whole_is_not_asked_for_again(oddity: str) -> None:
    async with two() as to:
        told, run = await read(to, "sse", WHOLE_ALL_THE_SAME[oddity])
        assert (told, to.joints(run), to.b.requests) == (Told(WHOLE, "finished"), [], [])


async def test_flooded_and_then_left_the_reader_has_every_word_of_the_flood_once() -> None:
    flood = "".join(f"{number} " for number in range(FLOOD))
    async with two() as to:
        unwatched(to.served)
        to.b.unscripted = going_on(flood + "and the last.", repeats=12)
        told, _ = await read(to, "ndjson", [*opening(), Flood(FLOOD), Cut()])
        assert told == Told(flood + "and the last.", "finished")


@pytest.mark.parametrize(("begun", "heard", "seconds"), [(opening(), 1, 301), (BEGUN, 5, 121)], ids=["before", "after"])
async def test_a_target_that_falls_silent_gives_way_before_its_first_word_and_after(
    begun: list[Step], heard: int, seconds: int
) -> None:
    async with two() as to:
        gate = Gate()
        to.a.script(begun, gate, Hang())
        asking = asyncio.ensure_future(_told(to, "ws"))
        await gate.reached.wait()
        gate.open()
        await until("what was said has come", lambda: to.served.only.log.last >= heard)
        to.served.tick(seconds)
        assert await asking == Told(WHOLE, "finished")
        await to.a.connections[0].peer_gone.wait()


async def test_a_target_that_trickles_below_the_floor_gives_way() -> None:
    permits = asyncio.Semaphore(0)
    async with two(limits=ModelLimits(floor=2.0)) as to:
        to.a.script(BEGUN, Trickle(event_bytes(chunk({"content": "never"})), permits), Hang())
        asking = asyncio.ensure_future(_told(to, "sse"))
        await until("there is a run", lambda: bool(to.served.runs.by_id))
        live = to.served.only
        await until("it speaks", lambda: live.log.last >= 5)
        for _ in range(2):
            permits.release()
            to.served.tick(10)
        assert await asking == Told(WHOLE, "finished")
        assert [joint["after"] for joint in to.joints(live.id)] == ["throughput_timeout"]


async def test_where_the_second_cannot_go_on_the_reader_is_told_that_the_answer_is_not_whole() -> None:
    async with two() as to:
        for way in WAYS:
            to.b.script(status(500))
            told, run = await read(to, way, [*BEGUN, Cut()])
            assert told == Told(SAID, "cut" if way == "text" else "provider_truncated")
            end = to.served.seen.ended[run]
            assert isinstance(end, Failed)
            assert end.error.message.endswith("; no other target went on (b: provider_error)")


async def _told(to: Two, way: Way) -> Told:
    async with answering(to.served.url, way, ASKED) as reading:
        return await reading.rest()
