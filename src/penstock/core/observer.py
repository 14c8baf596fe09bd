"""The points where a run may be watched. Every method does nothing by default; none is called per token, none may raise or wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from penstock.core.events import Terminal, Usage
from penstock.core.request import ChatRequest, Principal

REQUEST_ID: ContextVar[str] = ContextVar("penstock_request_id", default="")
"""The id of the request on whose behalf code runs; the pump of a run keeps that of the request which began it."""

ARRIVED: ContextVar[float] = ContextVar("penstock_arrived", default=0.0)
"""When the request on whose behalf code runs was there as a whole, in seconds of `time.monotonic`; 0 where there is none."""


class Origin(msgspec.Struct, frozen=True):
    """By which way a run was begun, in the configuration's words: never a client's."""

    route: str = ""
    """The path of the route."""
    transport: str = "direct"
    """What the one who began it is told over; `direct` where no server was asked."""
    provider: str = "penstock"
    """Whose model answers."""


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """A reader that is gone, and how far it had come."""

    transport: str
    reason: str
    """`done` and `left` are the client's doing; `stalled`, `slow`, `forgotten` and `revoked` are the server's."""
    at: int
    """The last offset it took."""
    cursor: str
    """With which it may come back."""
    owed: int
    """Bytes that were said and it did not take."""
    share: float
    """What it took of all that had been said, between 0 and 1."""
    seconds: float
    """How long it was attached."""


class Observer:
    """Subclass and override what you want to see; `run` is a run id, times are seconds."""

    def run_started(self, run: str, request: ChatRequest, principal: Principal, origin: Origin) -> None:
        """A run exists; its source has not been asked yet."""

    def target_chosen(self, run: str, target: str, why: str) -> None:
        """One of the model's targets is to answer; both are words of the configuration or of ours, never a client's."""

    def target_failed(self, run: str, target: str, code: str) -> None:
        """A target did not answer, or broke off; another is asked where there is one."""

    def first_word(self, run: str, seconds: float) -> None:
        """The first part was opened, so many seconds after the run began."""

    def source_paused(self, run: str, seconds: float) -> None:
        """A source waited so long until its readers had taken more."""

    def tokens_counted(self, run: str, usage: Usage) -> None:
        """A source accounted for its tokens; a later account stands for the earlier ones."""

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        """The last word was said."""

    def source_stopped(self, run: str, terminal: Terminal, seconds: float) -> None:
        """A source that was told to stop has closed, so long after the last word was said for it."""

    def source_abandoned(self, run: str) -> None:
        """A source did not finish closing in time and was left behind."""

    def source_raised(self, run: str, error: BaseException) -> None:
        """A source failed with an exception that is not in the error table."""

    def loop_held(self, seconds: float, places: Sequence[str]) -> None:
        """Something has held the event loop for so long, and may do so still: where it is in the code, the innermost last.

        Told once for each time, from a thread of its own, since nothing runs on the loop meanwhile.
        """

    def background_failed(self, error: BaseException) -> None:
        """Something that serves all runs failed, such as a call of the store; the server goes on."""

    def provider_cold(self, provider: str) -> None:
        """A provider that was to be connected to before anybody asks could not be reached; it may be there when it is asked."""

    def run_forgotten(self, run: str, share: float) -> None:
        """An ended run is held no longer; the reader that came furthest took this share of it, between 0 and 1."""

    def reader_attached(self, run: str, after: int, transport: str) -> None:
        """A reader begins after this offset."""

    def reader_left(self, run: str, departure: Departure) -> None:
        """A reader is gone."""

    def resumed(self, result: str) -> None:
        """Somebody came back with a cursor that can be read: `replayed`, `gap`, or `ended` where nothing was left to say."""

    def refused(self, code: str, route: str) -> None:
        """A request was refused with this error of the table; `route` is a path or pattern that is served, or empty."""

    def request_failed(self, request_id: str, path: str, error: BaseException) -> None:
        """A request met an exception that is not in the error table; the client was told `internal`."""

    def server_leaving(self, live: int, accepting: float, seconds: float) -> None:
        """The server was told to go: it begins runs for `accepting` seconds more, and gives those that live `seconds`."""

    def server_refusing(self, live: int, seconds: float) -> None:
        """Nothing new begins any more; so many runs live, and have so many seconds left."""

    def server_left(self, interrupted: int, seconds: float) -> None:
        """Every reader was told; `interrupted` runs could not be finished, and it took so long."""

    def connection_refused(self, cause: str) -> None:
        """A connection was turned away before a byte of it was read: `full`, `files`, `address`, `tls`."""

    def connection_dropped(self, cause: str) -> None:
        """A connection was ended for what its client sent or failed to send, as in `head_timeout` or `unreadable`."""


class Several(Observer):
    """Tells each of several observers, in their order. A point that none of them overrides costs what it costs with none."""

    def __init__(self, *observers: Observer):
        for name, nothing in vars(Observer).items():
            if not name.startswith("_"):
                points = [getattr(each, name) for each in observers]
                told = [point for point in points if getattr(point, "__func__", None) is not nothing]
                setattr(self, name, told[0] if len(told) == 1 else _each(told))


def _each(told: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def tell(*what: Any) -> None:
        for one in told:
            one(*what)

    return tell
