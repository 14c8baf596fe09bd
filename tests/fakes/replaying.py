"""A recording of a provider's stream as what the fake provider does: its bytes as they came, piece by piece, each at its time.

One that was made of a live server has its times beside it (`<name>.timing.json`: for each read the milliseconds since the head,
and how many bytes it gave). Of one that was written every event is a read, and they are `PACE` apart. No time passes but what a
test lets pass.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path

from penstock.sources.provider import HttpProvider
from tests.fakes.provider import Provider
from tests.fakes.script import Body, End, Gate, Head, Step
from tests.sources.recordings import events_of, protocol_of

PACE = 0.02
"""Seconds."""


class Replay:
    """One recording, at a standstill until it is let go on: by the piece, by the second, or altogether."""

    def __init__(self, recording: Path) -> None:
        self._pieces = _pieces(recording)
        self._gates = [Gate() for _ in self._pieces]
        self.now = 0.0
        """Seconds since the head."""
        self.released = 0
        """How many pieces were let go."""
        media_type = protocol_of(recording).media_type
        self.steps: list[Step] = [Head(headers={"Content-Type": media_type})]
        for gate, (_, data) in zip(self._gates, self._pieces, strict=True):
            self.steps += [gate, Body(data)]
        self.steps.append(End())

    @property
    def left(self) -> int:
        """How many pieces are still held."""
        return len(self._pieces) - self.released

    def release(self, count: int = 1) -> bytes:
        """Let so many pieces go. Returns them."""
        gone = slice(self.released, self.released + count)
        for gate in self._gates[gone]:
            gate.open()
        self.released = min(self.released + count, len(self._pieces))
        return b"".join(data for _, data in self._pieces[gone])

    def turn(self, seconds: float) -> bytes:
        """Let so much time pass. Returns what came in it."""
        self.now += seconds
        return self.release(sum(due <= self.now + 1e-9 for due, _ in self._pieces[self.released :]))

    def whole(self) -> bytes:
        """Let everything go."""
        return self.release(self.left)


def _pieces(recording: Path) -> list[tuple[float, bytes]]:
    """The reads of a recording: when each came, in seconds since the head, and its bytes."""
    timing = recording.with_suffix(".timing.json")
    if not timing.exists():
        return [(number * PACE, event) for number, event in enumerate(events_of(recording), 1)]
    stream, reads = recording.read_bytes(), json.loads(timing.read_bytes())
    ends = list(accumulate(size for _, size in reads))
    if ends[-1] != len(stream):
        raise ValueError(f"{timing.name} tells of {ends[-1]} bytes, and the recording has {len(stream)}")
    return [(due / 1000, stream[end - size : end]) for (due, size), end in zip(reads, ends, strict=True)]


@asynccontextmanager
async def replaying(recording: Path) -> AsyncGenerator[tuple[Replay, HttpProvider]]:
    """A provider that answers one question with the recording, at its protocol's path; and what asks it there."""
    replay, server = Replay(recording), Provider()
    server.script(replay.steps)
    async with server.listening():
        asking = HttpProvider(protocol_of(recording), server.base_url.removesuffix("/v1"))
        try:
            yield replay, asking
        finally:
            await asking.close()
