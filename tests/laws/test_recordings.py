"""Law: whatever is left of a provider's stream, a run of it has one last word, every part closed, and no exception but ours.

And it never ends well where the provider's own word that the answer is complete was not among what came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.errors import TABLE
from penstock.core.events import TERMINAL, Event, Failed, Finished
from penstock.core.frame import View
from penstock.core.request import Principal
from penstock.flow.policy import Policy
from penstock.flow.runs import Runs
from penstock.registry import names, resolve
from penstock.sources.provider import HttpProvider
from penstock.sources.upstream import NO_HEADERS, BodyBroken, Unreachable
from penstock.stores.memory import MemoryStore
from penstock.testing.laws.order import check_order
from tests.flow.scripted import ASKED, Clock, Seen, held, settle
from tests.laws.mutations import KINDS, damaged, of_kind, reordered, split, unfinished
from tests.sources.recordings import events_of, protocol_of

DIALECTS = [resolve("dialects", name)() for name in names("dialects")]


class Body:
    """An answer whose body comes in these pieces, and then ends or breaks off."""

    status = 200

    def __init__(self, media_type: str, pieces: list[bytes], *, breaks: bool):
        self.headers: Mapping[str, str] = {"content-type": media_type}
        self.ended = self.closed = False
        self._pieces = iter(pieces)
        self._breaks = breaks

    async def read(self) -> bytes:
        piece = next(self._pieces, b"")
        self.ended = not piece
        if self.ended and self._breaks:
            raise BodyBroken
        return piece

    def close(self) -> None:
        self.closed = True


class Remembering:
    """A client that gives one answer, whatever it is asked."""

    def __init__(self, body: Body):
        self.body = body

    async def post(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS, *, connect: float | None = None) -> Body:
        return self.body

    async def get(self, behind: str, *, connect: float | None = None) -> Body:
        """What was kept is gone."""
        raise Unreachable("it is not there")

    async def warm(self) -> None:
        """There is nothing to warm."""

    async def close(self) -> None:
        self.body.close()


async def _live(recording: Path, pieces: list[bytes], *, breaks: bool) -> list[Event]:
    """A run of these bytes, through the source and the pump. Everything the law says but its last sentence is looked at here."""
    protocol = protocol_of(recording)
    body = Body(protocol.media_type, pieces, breaks=breaks)
    provider = HttpProvider(protocol, "http://provider.test")
    provider._client = Remembering(body)
    clock, seen = Clock(), Seen()
    house = Runs(MemoryStore(clock=clock), observer=seen, clock=clock)
    handle = await house.start(ASKED, provider.source("any"), Policy(), principal=Principal())
    await settle()
    entries = held(handle.log)
    events = [entry.event for entry in entries]
    assert seen.raised == []
    assert body.closed
    check_order(events)
    assert [event for event in events if isinstance(event, TERMINAL)] == events[-1:]
    if isinstance(last := events[-1], Failed):
        assert TABLE[last.error.code].blame != "server"
    _tell(entries)
    await house.close()
    return events


def _tell(entries: list[Entry]) -> None:
    """What came can be told in every dialect, and kept."""
    msgspec.json.encode([entry.event for entry in entries])
    for dialect in DIALECTS:
        renderer = dialect.renderer(View(run="st_law", model="any", created=1))
        for entry in entries:
            renderer.render(entry)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), breaks=st.booleans())
def test_a_damaged_stream_ends_once_with_everything_closed(kind: str, data: st.DataObject, breaks: bool) -> None:
    recording, other = (data.draw(st.sampled_from(of_kind(kind))) for _ in range(2))
    stream = b"".join(data.draw(reordered(events_of(recording), events_of(other))))
    pieces = data.draw(split(data.draw(damaged(stream))))
    asyncio.run(_live(recording, pieces, breaks=breaks))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), breaks=st.booleans())
def test_a_stream_without_its_own_last_word_never_ends_well(kind: str, data: st.DataObject, breaks: bool) -> None:
    recording, other = (data.draw(st.sampled_from(of_kind(kind))) for _ in range(2))
    events = data.draw(reordered(unfinished(recording), unfinished(other)))
    stream = b"".join(events)
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    said = asyncio.run(_live(recording, data.draw(split(stream)), breaks=breaks))
    assert not isinstance(said[-1], Finished)


@pytest.mark.parametrize("kind", KINDS)
def test_the_marks_are_what_the_recordings_end_with(kind: str) -> None:
    """With the event that holds the mark, and what follows, every recording that ends well does so: the law above has teeth."""
    well = 0
    for recording in of_kind(kind):
        events = events_of(recording)
        said = asyncio.run(_live(recording, events, breaks=False))
        if isinstance(said[-1], Finished):
            well += 1
            assert len(unfinished(recording)) < len(events)
    assert well > 0
