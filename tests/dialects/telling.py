"""A run told in a dialect without any transport."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock.core.cursor import Entry
from penstock.core.events import Event, Started
from penstock.core.frame import Dialect, Frame, View
from penstock.core.snapshot import fold

RUN = "st_" + "b" * 26
STARTED = Started(RUN, "demo", 1_750_000_000)


def placed(*events: Event) -> list[Entry]:
    """Events a tenth of a second apart."""
    return [Entry(offset, offset, (offset - 1) * 100, event) for offset, event in enumerate(events, 1)]


def frames(dialect: Dialect, *events: Event, primed: int = 0, **view: Any) -> list[Frame]:
    """The frames of the events after the first `primed` ones."""
    entries = placed(*events)
    renderer = dialect.renderer(View(run=RUN, **view))
    renderer.prime(fold(entries[:primed]))
    return [frame for entry in entries[primed:] for frame in renderer.render(entry)]


def rejoined(dialect: Dialect, *events: Event, **view: Any) -> list[Frame]:
    """What a fresh reader is told of these events."""
    renderer = dialect.renderer(View(run=RUN, **view))
    renderer.prime(fold(placed(*events)))
    return list(renderer.rejoin())


def values(told: Sequence[Frame]) -> list[Any]:
    """The JSON of frames, a sentinel as it is."""
    return [frame.data.decode() if frame.sentinel else json.loads(frame.data) for frame in told]


def whole(dialect: Dialect, *events: Event, **view: Any) -> Any:
    """The answer to `stream: false`."""
    return json.loads(dialect.whole(fold(placed(*events)), View(run=RUN, **view)))
