"""One asking of the source behind a stage, up to its first word: what is held back until then, and what may end it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from penstock.core.errors import Broken
from penstock.core.events import Cancelled, Event, Failed, Finished, Opened, Started, ToolReturned, Usage
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.core.target import House
from penstock.stages.time_limit import TimeLimit
from penstock.stages.usage import tokens_of

FIRST = (Opened, ToolReturned, Finished, Cancelled)
"""With one of these content is certain: from then on nothing can be taken back."""

MOST_HELD = 1000
"""Events that are held back before the first word."""


class Attempt:
    """Asks `source`. While it waits for the first word, a time limit of the run ends this attempt instead of the run."""

    __slots__ = ("_held", "_house", "_request", "_run", "events", "target")

    def __init__(self, house: House, source: Source, request: ChatRequest, run: Run):
        self.target = request.targets[0] if request.targets else ""
        """The first that was asked."""
        self.events: AsyncGenerator[Event, None] = source(request, run)
        self._held: list[Event] = []
        self._house = house
        self._request = request
        self._run = run

    async def opening(self) -> list[Event]:
        """Everything up to the first word. Raises `Broken` where the attempt failed before it."""
        held, heard = self._held, False
        try:
            with TimeLimit(self._run):
                async for event in self.events:
                    if isinstance(event, Failed):
                        raise Broken.of(event.error)
                    held.append(event)
                    if len(held) > MOST_HELD:
                        raise Broken(
                            "provider_garbled", f"it said {MOST_HELD} things about its answer and did not begin it"
                        )
                    if isinstance(event, FIRST):
                        heard = True
                        return held
        finally:
            if not heard:
                self.unheard()
        raise Broken("provider_truncated", "the source ended without a word")

    def unheard(self) -> None:
        """Nobody will be told what it said. What it has accounted for was used all the same, and so was the question of one that
        was accepted and told nothing."""
        target = self.target or self._run.target
        if accounts := [event for event in self._held if isinstance(event, Usage)]:
            self._run.spent(target, accounts[-1])
        elif any(isinstance(event, Started) for event in self._held):
            question = Usage(tokens_of(self._request), 0, "counted")
            self._run.spent(target, self._house.priced(question, target))
        self._held.clear()
