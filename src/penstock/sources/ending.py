"""How a provider's answer ends: complete, or broken, once. What every protocol's `Answer` is built on."""

from __future__ import annotations

from penstock.core.errors import Broken
from penstock.core.events import Event
from penstock.sources import provider_errors
from penstock.sources.loose import Loose

MOST_PARTS = 10_000
"""Parts of one answer. One with more is a flood: what is known of each is kept until the end."""


class Ending:
    """One answer, as far as its end goes. Once `ended`, it takes nothing more.

    `host` names the provider in messages; `secret` is what they must not quote.
    """

    __slots__ = ("_host", "_secret", "broken", "choices", "ended", "parts")

    def __init__(self, host: str, *, secret: str | None = None):
        self.ended = False
        """The answer is complete, or broken."""
        self.broken: Broken | None = None
        """Why the answer cannot be completed; to be raised after the events that were given with it."""
        self._host = host
        self._secret = secret
        self.choices = 1
        """How many alternative answers were asked for."""
        self.parts = 0
        """How many parts were begun; the next has this number."""

    def read(self, payload: bytes, events: list[Event]) -> None:
        """Add to `events` what one payload of the body says."""
        raise NotImplementedError

    def over(self, rest: bytes, events: list[Event]) -> None:
        """The body ended cleanly, which is too early unless the protocol has no other end. `rest` stood behind the last payload."""
        self.truncate()

    def resume(self) -> str:
        """Where the provider keeps the rest of the answer, behind the URL of the question; empty where it keeps none."""
        return ""

    def truncate(self) -> None:
        """The stream is over before the answer was."""
        self.break_off(Broken("provider_truncated", f"{self._host} ended the stream before the answer was complete"))

    def garble(self, what: str) -> None:
        """The stream holds something that is no answer; `what` completes "the host sent …"."""
        self.break_off(Broken("provider_garbled", f"{self._host} sent {what}"))

    def fail(self, error: Loose) -> None:
        """The provider says that it failed, in an `error` of whatever shape."""
        self.break_off(provider_errors.failed(self._host, error, secret=self._secret))

    def break_off(self, problem: Broken) -> None:
        """Keep what went wrong, unless the answer has ended."""
        if not self.ended:
            self.ended = True
            self.broken = problem
