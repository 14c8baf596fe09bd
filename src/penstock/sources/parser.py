"""Bytes of a provider's body → events: what is the same whatever the provider speaks."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Generic, TypeVar

from penstock.core.events import Event
from penstock.sources.ending import Ending

A_co = TypeVar("A_co", bound=Ending, covariant=True)


class Splitter(typing.Protocol):
    """Gives the payloads of a body, wherever the network cut it."""

    unit: str
    """What may not grow beyond the limit, in words."""
    limit: int
    """How many bytes of it there may be."""
    overflowed: bool
    """It grew beyond; nothing more will be given."""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are now whole."""

    def rest(self) -> bytes:
        """What the end of the body makes a payload; empty where nothing does."""


class Parser(Generic[A_co]):
    """The splitter cuts, the protocol's answer reads. After every call look at `answer.ended` and `answer.broken`."""

    __slots__ = ("_cut", "_splitter", "answer")

    def __init__(self, answer: A_co, splitter: Callable[[], Splitter]):
        self.answer = answer
        self._cut = splitter
        self._splitter = splitter()

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes say. What follows the end of the answer is ignored."""
        events: list[Event] = []
        answer, splitter = self.answer, self._splitter
        for payload in splitter.feed(data):
            if answer.ended:
                return events
            answer.read(payload, events)
        if splitter.overflowed:
            answer.garble(f"{splitter.unit} longer than {splitter.limit} bytes")
        return events

    def end(self) -> list[Event]:
        """The body ended cleanly."""
        events: list[Event] = []
        self.answer.over(self._splitter.rest(), events)
        return events

    def resume(self) -> str:
        """Where a body that broke off goes on, to be appended to the URL of the question; empty where it does not. What was
        cut within an event is forgotten then."""
        behind = self.answer.resume()
        if behind:
            self._splitter = self._cut()
        return behind
