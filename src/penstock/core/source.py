"""Sources and stages: where events come from, and what may stand between.

A source iterates whatever it reads inside `contextlib.aclosing`, and never yields inside a task group, a timeout or a
cancel scope (PEP 789). It raises `Broken` to fail; the pump turns every other exception into an error of the table.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from penstock.core.events import Event
from penstock.core.request import ChatRequest, Run

Source = Callable[[ChatRequest, Run], AsyncGenerator[Event, None]]
"""Tokens in. Yields `Started` first and exactly one terminal event last."""

Stage = Callable[[Source], Source]
"""Wraps a source and is a source again: routing, retry, fallback, retrieval, tools, guards and metering are stages."""


def compose(source: Source, stages: Sequence[Stage]) -> Source:
    """The source behind all stages; the first of the list is the outermost, as in the configuration."""
    for stage in reversed(stages):
        source = stage(source)
    return source
