"""Sees to it that every run has an account of its tokens: the provider's own, else what was counted, with what it costs.

It costs nothing per token: what was said is counted in the log, and only where the provider did not account for it, as after a
cancel or a cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from penstock.core.events import Event, Usage
from penstock.core.request import ChatRequest, Run, text_of
from penstock.core.source import Source, Stage
from penstock.core.target import House

LETTERS = 4
"""To a token, about."""


def build(house: House) -> Stage:
    """The stage for one model."""

    def stage(source: Source) -> Source:
        def metered(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
            last = Usage(tokens_of(request), 0, "counted")

            def account(told: Usage | None) -> Usage:
                nonlocal last
                last = counted(last, sum(part.deltas for part in run.said().parts)) if told is None else told
                return last if last.cost is not None else house.priced(last, run.target)

            run.meter(account)
            return source(request, run)

        return metered

    return stage


def counted(told: Usage, pieces: int) -> Usage:
    """The account of an answer that ended before it was complete: the last there was, with at least as many tokens as it said
    pieces. What a provider reports at the beginning knows little of the end."""
    return told if told.output >= pieces else msgspec.structs.replace(told, output=pieces, grade="counted", cost=None)


def tokens_of(request: ChatRequest) -> int:
    """About how many tokens a question has, by the length of its texts and tools."""
    size = sum(len(text_of(message)) for message in request.messages)
    tools = request.params.get("tools")
    return (size + (len(msgspec.json.encode(tools)) if tools else 0)) // LETTERS
