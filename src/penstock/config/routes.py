"""`[[route]]`: the paths that start runs, and those there are without a file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config.bounds import Bounds, TimeLimits
from penstock.config.units import OnDisconnect, Seconds

Transport = Literal["sse", "websocket", "ndjson", "text"]
SlowReader = Literal["pause", "coalesce", "disconnect"]
Method = Literal["GET", "POST"]


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One path that starts runs. A file without `[[route]]` keeps the default routes; a `[[route]]` replaces the one with its path."""

    path: Annotated[str, Meta(description="Where it is served.")]
    dialect: Annotated[str, Meta(description="The vocabulary of the payloads.")] = "native"
    transport: Annotated[
        tuple[Transport, ...],
        Meta(
            description="How it is carried. The first answers `Accept: */*`; with a single one `Accept` is not read. "
            "`websocket` stands alone."
        ),
    ] = ("sse",)
    methods: Annotated[
        tuple[Method, ...],
        Meta(
            description="`GET` serves a bare EventSource (`?model=&prompt=`). Without it `POST`, for a WebSocket `GET`."
        ),
    ] = ()
    model: Annotated[str | None, Meta(description="The model of a request that names none.")] = None
    stages: Annotated[tuple[str, ...], Meta(description="What stands between model and readers, outermost first.")] = ()
    slow_reader: Annotated[
        SlowReader,
        Meta(
            description="`pause`: the fastest reader paces the source. `coalesce`: nobody does. "
            "`disconnect`: who owes more than `bounds.high` is dropped and may come back."
        ),
    ] = "pause"
    on_disconnect: Annotated[
        OnDisconnect,
        Meta(
            description='When the last reader leaves: `"cancel"`, `"finish"`, or `"grace:60s"` to wait for its return.'
        ),
    ] = OnDisconnect("grace")
    header_hold: Annotated[
        Seconds,
        Meta(
            description="How long the status line of a `POST` waits for the first token, so that a refusal has its own "
            "status. A `GET` never waits."
        ),
    ] = Seconds(0)
    abort_on_error: Annotated[
        bool, Meta(description="NDJSON: cut the connection after a failure, for users of a shell.")
    ] = False
    limits: Annotated[TimeLimits | None, Meta(description="Overrides single values of `[limits]`.")] = None
    bounds: Annotated[Bounds | None, Meta(description="Overrides single values of `[bounds]`.")] = None

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or set(self.path) & set("?#{} \t\n"):
            raise ValueError(f"path {self.path!r} must begin with a slash and hold no spaces, '?', '#' or braces")
        if self.path in RESERVED or self.path.startswith("/v1/streams/"):
            raise ValueError(f"path {self.path!r} is served by penstock itself; choose another")
        if not self.transport or len(set(self.transport)) != len(self.transport):
            raise ValueError("transport must name at least one transport, each once")
        if "websocket" in self.transport and self.transport != ("websocket",):
            raise ValueError("transport 'websocket' stands alone; give the other transports a route of their own")
        if not self.methods:
            methods: tuple[Method, ...] = ("GET",) if self.transport == ("websocket",) else ("POST",)
            msgspec.structs.force_setattr(self, "methods", methods)
        if self.transport == ("websocket",) and self.methods != ("GET",):
            raise ValueError("methods of a WebSocket route can only be ['GET']")
        if "GET" in self.methods and not {"sse", "websocket"} & set(self.transport):
            raise ValueError("methods: 'GET' begins runs for an EventSource only; add 'sse' to transport")


RESERVED = frozenset(
    {
        "/v1/streams",
        "/v1/models",
        "/v1/embeddings",
        "/v1/messages/count_tokens",
        "/v1/responses/input_tokens",
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
    }
)

DEFAULT_ROUTES = (
    RouteConfig(
        path="/v1/chat/stream",
        methods=("POST", "GET"),
        transport=("sse",),
        dialect="openai-chat",
        on_disconnect=OnDisconnect("grace"),
        header_hold=Seconds(8),
    ),
    RouteConfig(path="/v1/chat/ws", transport=("websocket",), dialect="native", on_disconnect=OnDisconnect("grace")),
    RouteConfig(
        path="/v1/chat/chunked",
        transport=("text", "ndjson"),
        dialect="native",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/v1/chat/completions",
        transport=("sse",),
        dialect="openai-chat",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/v1/completions",
        transport=("sse",),
        dialect="openai-completions",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/v1/responses",
        transport=("sse",),
        dialect="openai-responses",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/v1/chat/ui",
        transport=("sse",),
        dialect="ai-sdk",
        on_disconnect=OnDisconnect("grace"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/v1/messages",
        transport=("sse",),
        dialect="anthropic",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
    RouteConfig(
        path="/api/chat",
        transport=("sse",),
        dialect="token-done",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
)
