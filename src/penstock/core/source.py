"""Sources and stages: where events come from, and what may stand between.

A source iterates whatever it reads inside `contextlib.aclosing`, and never yields inside a task group, a timeout or a
cancel scope (PEP 789). It raises `Broken` to fail; the pump turns every other exception into an error of the table.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import Protocol, runtime_checkable

from penstock.core.events import Event, Json
from penstock.core.request import ChatRequest, Run

Source = Callable[[ChatRequest, Run], AsyncGenerator[Event, None]]
"""Tokens in. Yields `Started` first and exactly one terminal event last."""

Stage = Callable[[Source], Source]
"""Wraps a source and is a source again: routing, retry, fallback, retrieval, tools, guards and metering are stages."""


@runtime_checkable
class Caller(Protocol):
    """A source whose model answers other things than questions as well: one body, one answer, nothing streamed."""

    @property
    def calls(self) -> Collection[str]:
        """What it can be asked: `embeddings` and `input_tokens` in the shape of OpenAI, `count_tokens` in that of Anthropic."""

    async def call(self, name: str, fields: dict[str, Json], headers: dict[str, str]) -> bytes:
        """Ask with the fields of a body, but for its `model`, and with headers as in `ChatRequest.headers`. Returns JSON.

        Raises `Broken` as a source does.
        """


def callers(sources: Iterable[object]) -> tuple[Caller, ...]:
    """Those of some sources that can be asked other things than questions."""
    return tuple(source for source in sources if isinstance(source, Caller))


def compose(source: Source, stages: Sequence[Stage]) -> Source:
    """The source behind all stages; the first of the list is the outermost, as in the configuration."""
    for stage in reversed(stages):
        source = stage(source)
    return source
