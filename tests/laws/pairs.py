"""Every registered dialect on every transport that carries it, and how each transport is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from hypothesis import HealthCheck, Phase, settings

from penstock.core.frame import Dialect, TransportEncoder, View
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.sse import SseEncoder
from penstock.encoders.websocket import WebSocketEncoder
from penstock.registry import names, resolve
from penstock.testing.laws.dialects import Wire
from penstock.testing.readings import READERS, Read
from penstock.testing.strategies import RUN
from penstock.testing.wire import Received, parse_ndjson, parse_sse, parse_websocket

laws = settings(
    max_examples=max(60, settings().max_examples),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Every example is told in all dialects on all transports, or goes through all of them, so that sixty of them say much; the profile
`chaos` tries its own number. Explaining a failure takes minutes on some Pythons, so it is left out."""


@dataclass(frozen=True)
class Pair:
    """One dialect on one transport."""

    dialect: Dialect
    transport: str

    def __str__(self) -> str:
        return f"{self.dialect.name}.{self.transport}"

    def encoder(self) -> TransportEncoder[Any]:
        return ENCODERS[self.transport](self.dialect.traits.cursor_key)

    def view(self, **options: Any) -> View:
        """How such a reader is told a run, everything shown."""
        shown: dict[str, Any] = {"include_usage": True, "reasoning": True, "sentinel": True, "model": "asked-for"}
        carried = {"binary": self.transport == "websocket", "bare": self.transport == "text"}
        return View(run=RUN, created=1_749_999_999, **{**shown, **carried, **options})

    def parse(self, wires: Sequence[Wire]) -> list[Received]:
        if self.transport == "sse":
            return parse_sse(cast("Sequence[bytes]", wires))
        if self.transport == "ndjson":
            return parse_ndjson(cast("Sequence[bytes]", wires), self.dialect.traits.cursor_key)
        return parse_websocket(wires, self.dialect.traits.cursor_key, RUN)

    @property
    def read(self) -> Read:
        return READERS[self.dialect.name]


ENCODERS: dict[str, Callable[[str], TransportEncoder[Any]]] = {
    "sse": lambda cursor_key: SseEncoder(),
    "websocket": lambda cursor_key: WebSocketEncoder(RUN, cursor_key=cursor_key),
    "ndjson": lambda cursor_key: NdjsonEncoder(cursor_key=cursor_key),
    "text": lambda cursor_key: TextEncoder(),
}

DIALECTS: list[Dialect] = [resolve("dialects", name)() for name in names("dialects")]
PAIRS = [Pair(dialect, transport) for dialect in DIALECTS for transport in ENCODERS if transport != "text"]
BARE = Pair(resolve("dialects", "plain")(), "text")
"""Bare text carries words alone, so only `plain` can be told on it."""


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Say for which of many a law was broken. One run is told in all of them, since making it up costs more than checking it."""
    try:
        yield
    except Exception as problem:
        problem.add_note(f"this was {what}")
        raise
