"""The points where a run may be watched. Every method does nothing by default; none is called per token, none may raise or wait."""

from __future__ import annotations

from contextvars import ContextVar

from penstock.core.events import Terminal
from penstock.core.request import ChatRequest, Principal

REQUEST_ID: ContextVar[str] = ContextVar("penstock_request_id", default="")
"""The id of the request on whose behalf code runs; the pump of a run keeps that of the request which began it."""


class Observer:
    """Subclass and override what you want to see; `run` is a run id, times are seconds."""

    def run_started(self, run: str, request: ChatRequest, principal: Principal) -> None:
        """A run exists; its source has not been asked yet."""

    def first_word(self, run: str, seconds: float) -> None:
        """The first part was opened, so many seconds after the run began."""

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        """The last word was said."""

    def source_abandoned(self, run: str) -> None:
        """A source did not finish closing in time and was left behind."""

    def source_raised(self, run: str, error: BaseException) -> None:
        """A source failed with an exception that is not in the error table."""

    def background_failed(self, error: BaseException) -> None:
        """Something that serves all runs failed, such as a call of the store; the server goes on."""

    def reader_attached(self, run: str, after: int) -> None:
        """A reader begins after this offset."""

    def reader_left(self, run: str, at: int, reason: str) -> None:
        """A reader is gone: `done`, `left`, `stalled`, `slow`."""

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
