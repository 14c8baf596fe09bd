"""What a server is made of, handed over by the assembly: runs, dialects, models, routes, limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

import msgspec

from penstock.auth.grant import Grant
from penstock.core.frame import Dialect
from penstock.core.measure import Levels, Speed
from penstock.core.source import Caller, Source, Stage
from penstock.flow.policy import MiB, Policy
from penstock.flow.runs import Runs
from penstock.server.connections import ConnectionLimits
from penstock.server.gate import Gate

Transport = Literal["sse", "websocket", "ndjson", "text"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One path that starts runs. The first transport answers `Accept: */*`; with a single one `Accept` is not read."""

    path: str
    methods: tuple[str, ...]
    dialect: Dialect
    transports: tuple[Transport, ...]
    model: str | None = None
    policy: Policy = Policy()
    header_hold: float = 0.0
    """Seconds the status line may wait for the first thing said, so that a refusal carries its own status."""
    stages: tuple[Stage, ...] = ()
    """What stands between the model and its readers, outermost first."""
    streams: bool = False
    """The path always streams, as an EventSource's does; elsewhere `stream` in the body decides."""
    abort_on_error: bool = False
    """NDJSON: cut the line after a failure, for shell users."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that can be asked for, and the source behind it."""

    name: str
    source: Source
    owner: str = "penstock"
    callers: tuple[Caller, ...] = ()
    """Of what answers, those that can be asked other things than questions, in their order."""
    targets: tuple[str, ...] = ()
    """What answers, as clients may know it: without addresses and code."""
    concurrent: int = 0
    """How many of its runs may live at once; 0 is however many."""
    limits: Mapping[str, float] = {}
    """Time limits of its own, by their names in `TimeLimits`."""
    features: Mapping[str, bool] = {}
    """What it can and cannot, as far as its protocol or the configuration says; what is not in it is not known."""
    context: int | None = None
    """How many tokens it takes, where that is known."""
    hints: tuple[str, ...] = ()
    """What the header `Penstock-Route` may say to it; where it is nothing, the header is not read."""


class LoopWatch(Protocol):
    """Watches the event loop from `start`, which is called on it, to `stop`."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Pace(Protocol):
    """Measures how fast models answer."""

    def of(self, model: str) -> Speed | None:
        """What is known of a model; None where it has answered nothing yet."""


KEPT = frozenset({"pace", "runs", "connections", "exposition", "scrape_here", "loop_watch"})
"""What a server has only once, whatever its configuration becomes."""


class Service(msgspec.Struct, kw_only=True):
    """Everything the server needs and nothing it could build itself."""

    runs: Runs
    dialects: Mapping[str, Dialect]
    native: Route
    """How `/v1/streams` begins runs."""
    routes: tuple[Route, ...]
    model: Callable[[str, Grant], Model]
    """The model of a name; the empty name is the default. Raises `Refused(unknown_model)`, also for one that is not granted."""
    models: Callable[[], list[Model]]
    gate: Gate
    """Who may enter, and which runs they find."""
    close: Callable[[], Awaitable[None]]
    """Closes what the sources hold open."""
    warm: Callable[[Runs], Awaitable[None]] | None = None
    """Makes what is to be there before anybody asks: connections, and models that their engines have loaded."""
    standing: object = None
    """What another configuration goes on from, such as how the targets do; the assembly's own."""
    pages: Mapping[str, tuple[bytes, str]] = {}
    """Static pages: path → contents and content type."""
    exposition: Callable[[Levels, str], tuple[bytes, str]] | None = None
    """Writes the page of metrics from how things stand, in the format an `Accept` asks for; with its content type."""
    scrape_here: bool = True
    """That page is served at `/metrics`, behind the gate; else it has a port of its own."""
    connections: Callable[[], int] | None = None
    """How many connections are open; the host's to say."""
    loop_watch: LoopWatch | None = None
    pace: Pace | None = None
    max_body: int = 16 * MiB
    max_media: int = 12 * MiB
    connection_limits: ConnectionLimits = ConnectionLimits()
    heartbeat: float = 15.0
    retry_ms: int = 1000

    def become(self, other: Service) -> None:
        """Take over what another one is made of, but for the runs: whoever holds this one, as an open WebSocket does, goes by that now."""
        for name in self.__struct_fields__:
            if name not in KEPT:
                setattr(self, name, getattr(other, name))
