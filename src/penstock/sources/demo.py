"""A model that needs no key: paced text to build a front end against, with every awkward thing settable.

A request sets the knobs in its `demo` field, as in `{"demo": {"rate": 5, "drop_after": 20}}`; `Knobs` lists them.
It takes input in mid-run and says that it heard it; in lock-step an input is a confirmation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice
from typing import Annotated

import msgspec

from penstock.core.carried import own
from penstock.core.errors import TABLE, Broken
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Opened, Started, Usage
from penstock.core.request import ChatRequest, Inbox, Run
from penstock.core.source import Source
from penstock.sources import demo_script

MODEL = "demo"
CATCH_UP = 1.0
"""Seconds a paced answer may be late before it stops trying to make up for it."""
STEPS_PER_TURN = 64
"""Tokens an unpaced answer says before it lets the loop run."""


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the demo behaves. Times are seconds, lengths are tokens."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 30.0
    """Tokens per second; 0 is as fast as the readers take them."""
    tokens: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """Length of the text; without it 90 to 600, longer for longer questions."""
    stall: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 0.0
    """Silence after the first half of the text."""
    drop_after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Fail with `provider_truncated` after this many tokens of text."""
    error: str | None = None
    """Fail with this code of the error table before the first token."""
    reasoning: bool = True
    """Think aloud first, in a reasoning part."""
    binary: bool = False
    """Send a small PNG in a binary part after the text."""
    lockstep: bool = False
    """Say a token only after an input has confirmed the one before it; `rate` and `stall` then mean nothing."""


class Lockstep:
    """Lets one token go for each input, and the first for none: who has the next one has confirmed the one before.

    What gets through a proxy one by one under these terms gets through unbuffered, however slow anybody is.
    """

    def __init__(self, inbox: Inbox):
        self._confirmations = aiter(inbox)
        self._begun = False

    async def next(self) -> None:
        """Wait for the next confirmation."""
        if self._begun:
            await anext(self._confirmations, None)
        self._begun = True

    async def stall(self, seconds: float) -> None:
        """A reader that waits with its confirmation makes its own silence."""

    async def aclose(self) -> None:
        """Listen no more."""
        if isinstance(self._confirmations, AsyncGenerator):
            await self._confirmations.aclose()


class Pace:
    """Sleeps until the next token is due on an absolute schedule, so that the rate never drifts."""

    def __init__(self, rate: float):
        self._clock = asyncio.get_running_loop().time
        self._gap = 1 / rate if rate else 0.0
        self._due = self._clock()
        self._said = 0

    async def next(self) -> None:
        """Wait for the next token's moment."""
        self._said += 1
        if not self._gap:
            if self._said % STEPS_PER_TURN == 0:
                await asyncio.sleep(0)
            return
        self._due += self._gap
        now = self._clock()
        if self._due > now:
            await asyncio.sleep(self._due - now)
        elif now - self._due > CATCH_UP:
            self._due = now

    async def stall(self, seconds: float) -> None:
        """Say nothing for so long; what follows is not hurried."""
        await asyncio.sleep(seconds)
        self._due += seconds

    async def aclose(self) -> None:
        """A clock need not be let go."""


def build(
    *,
    rate: float = 30.0,
    tokens: int | None = None,
    stall: float = 0.0,
    drop_after: int | None = None,
    error: str | None = None,
    reasoning: bool = True,
    binary: bool = False,
) -> Source:
    """The demo source, with defaults of its own for the knobs. Raises `ValueError` naming a knob that cannot be."""
    defaults: dict[str, Json] = {
        "rate": rate,
        "tokens": tokens,
        "stall": stall,
        "drop_after": drop_after,
        "error": error,
        "reasoning": reasoning,
        "binary": binary,
    }
    turned(defaults, {})

    def demo(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        return _speak(request, run, defaults)

    return demo


def turned(defaults: dict[str, Json], asked: Json) -> Knobs:
    """The knobs a request sets over the defaults. Raises `ValueError` naming the knob that is wrong."""
    if not isinstance(asked, dict):
        raise ValueError('demo must be an object of knobs, as in {"rate": 10}')
    try:
        knobs = msgspec.convert({**defaults, **asked}, Knobs)
    except msgspec.ValidationError as wrong:
        knob = next((name for name in Knobs.__struct_fields__ if f"`$.{name}`" in str(wrong)), None)
        hint = f"; the knobs are {', '.join(Knobs.__struct_fields__)}" if "unknown field" in str(wrong) else ""
        said = str(wrong).partition(" - at ")[0]
        raise ValueError(f"demo.{knob}: {said}" if knob else f"demo: {said}{hint}") from None
    if knobs.error is not None and knobs.error not in TABLE:
        raise ValueError(f"demo.error: {knobs.error!r} is not a code of the error table, as provider_overloaded is")
    return knobs


async def _speak(request: ChatRequest, run: Run, defaults: dict[str, Json]) -> AsyncGenerator[Event, None]:
    try:
        knobs = turned(defaults, own(request, "demo", {}))
    except ValueError as wrong:
        raise Broken("invalid_request", str(wrong)) from None
    if knobs.error is not None:
        raise Broken(knobs.error, f"The demo was asked to fail: {TABLE[knobs.error].meaning}")
    prompt = request.prompt
    length, reason = _length(request, knobs)
    run.inbox.open()
    yield Started(run.id, MODEL, run.created)

    thought = demo_script.thinking(prompt) if knobs.reasoning else []
    part = said = 0
    async with aclosing(Lockstep(run.inbox) if knobs.lockstep else Pace(knobs.rate)) as pace:
        if thought:
            yield Opened(part, "reasoning")
            for piece in thought:
                await pace.next()
                yield Delta(part, piece)
            yield Closed(part)
            part += 1

        for piece in islice(demo_script.answer(prompt), length):
            if said == knobs.drop_after:
                break
            if said == length // 2 and knobs.stall:
                await pace.stall(knobs.stall)
            await pace.next()
            if said == 0:
                yield Opened(part, "text")
            while not knobs.lockstep and (steering := run.inbox.waiting()) is not None:
                yield Delta(part, f"\n\n> steered: {_words_of(steering)}\n\n")
            yield Delta(part, piece)
            said += 1
    if knobs.drop_after is not None and said == knobs.drop_after:
        raise Broken("provider_truncated", f"The demo was asked to drop the stream after {said} tokens.")

    if said:
        yield Closed(part, {"finish_reason": reason})
        part += 1
    if knobs.binary:
        image = demo_script.picture()
        half = len(image) // 2
        yield Opened(part, "binary", name="penstock.png", media_type="image/png")
        yield Chunk(part, image[:half])
        yield Chunk(part, image[half:])
        yield Closed(part)
    yield Usage(len(prompt.split()), len(thought) + said, "counted", reasoning=len(thought) or None)
    yield Finished(reason)


def _length(request: ChatRequest, knobs: Knobs) -> tuple[int, str]:
    """How many tokens of text, and the reason the answer will end with."""
    length = demo_script.usual_length(request.prompt) if knobs.tokens is None else knobs.tokens
    for name in ("max_completion_tokens", "max_tokens"):
        limit = request.params.get(name)
        if isinstance(limit, int) and 0 <= limit < length:
            return limit, "length"
    return length, "stop"


def _words_of(steering: Json) -> str:
    """What somebody said in mid-run, short and on one line."""
    text = steering.get("text") if isinstance(steering, dict) else steering
    said = text if isinstance(text, str) else msgspec.json.encode(text if text is not None else steering).decode()
    return " ".join(said.split())[:200]
