"""What the tests of the flow play with: a clock they turn, sources they speak through, an observer that remembers, and quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence, Sized

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Opened, Started, Terminal
from penstock.core.observer import Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal, Run
from penstock.flow.history import OVERHEAD
from penstock.flow.log import Log
from penstock.flow.reader import Reader

ASKED = ChatRequest(model="demo", messages=({"role": "user", "content": "hi"},))
STARTED = Started("st_solo", "demo", 1_700_000_000)
OPENED = Opened(0, "text")
TURNS = 100_000


async def settle() -> None:
    """Run the loop until no task can run: everybody waits for something that only the test can do."""
    ready: Sized = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError(f"somebody is still running after {TURNS} turns of the loop")


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> float:
        """Let time pass. Returns the new time."""
        self.now += seconds
        return self.now


class Seen(Observer):
    """Remembers what it was told, in order."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.first_words: list[float] = []
        self.ended: list[Terminal] = []
        self.abandoned: list[str] = []
        self.raised: list[BaseException] = []
        self.left: list[str] = []
        self.failures: list[BaseException] = []

    def run_started(self, run: str, request: ChatRequest, principal: Principal, origin: Origin) -> None:
        self.started.append(run)

    def first_word(self, run: str, seconds: float) -> None:
        self.first_words.append(seconds)

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        self.ended.append(terminal)

    def source_abandoned(self, run: str) -> None:
        self.abandoned.append(run)

    def source_raised(self, run: str, error: BaseException) -> None:
        self.raised.append(error)

    def reader_left(self, run: str, departure: Departure) -> None:
        self.left.append(departure.reason)

    def background_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Played:
    """A source that says what a test gives it, and waits in between. Counts how often it was asked and how often it closed."""

    def __init__(self, *events: Event, clean_up: Callable[[], Awaitable[object]] | None = None, stubborn: bool = False):
        self.asked = self.closed = self.interrupted = 0
        self.run: Run | None = None
        self._clean_up = clean_up
        self._stubborn = stubborn
        """Takes no notice of the first cancellation and goes on waiting."""
        self._steps: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self.say(*events)

    def say(self, *events: Event) -> None:
        for event in events:
            self._steps.put_nowait(event)

    def fail(self, error: BaseException) -> None:
        """Raise this when everything before was said."""
        self._steps.put_nowait(error)

    def stop(self) -> None:
        """End without another word."""
        self._steps.put_nowait(None)

    async def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        self.asked += 1
        self.run = run
        try:
            while True:
                try:
                    step = await self._steps.get()
                except asyncio.CancelledError:
                    self.interrupted += 1
                    if not self._stubborn or self.interrupted > 1:
                        raise
                    continue
                if step is None:
                    return
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            try:
                if self._clean_up is not None:
                    await self._clean_up()
            finally:
                self.closed += 1


async def never() -> None:
    """Wait for what does not come."""
    await asyncio.get_running_loop().create_future()


def answer(*texts: str) -> list[Event]:
    """A whole answer of one text part."""
    return [STARTED, OPENED, *(Delta(0, text) for text in texts), Closed(0), Finished()]


def entries(events: Sequence[Event]) -> list[Entry]:
    """Events in their places, one millisecond apart."""
    return [Entry(offset, offset, offset, event) for offset, event in enumerate(events, 1)]


def sized(size: int, part: int = 0) -> Delta:
    """A delta that counts for `size` bytes."""
    return Delta(part, "x" * (size - OVERHEAD))


def block(size: int, part: int = 0) -> Chunk:
    """A chunk that counts for `size` bytes."""
    return Chunk(part, b"x" * (size - OVERHEAD))


def drained(reader: Reader, budget: int = 1 << 30) -> list[Entry]:
    """Everything that is ready for a reader now."""
    taken: list[Entry] = []
    while got := reader.poll(budget):
        taken += got
    return taken


def held(log: Log) -> list[Entry]:
    """Every entry that a log can still give."""
    found: list[Entry] = []
    after = log.first - 1
    while got := log.read(after, 1 << 30):
        found += got
        after = got[-1].last
    return found


def said(found: Sequence[Entry], part: int = 0) -> str:
    """The text of one part in these entries."""
    return "".join(e.event.text for e in found if isinstance(e.event, Delta) and e.event.part == part)
