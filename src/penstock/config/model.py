"""Everything that can be set, as values: names, types, defaults and one sentence each. The reference is made from it."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config.target import read_base_url
from penstock.config.units import Bytes, OnDisconnect, Seconds, Secret

Transport = Literal["sse", "websocket", "ndjson", "text"]
SlowReader = Literal["pause", "coalesce", "disconnect"]
Method = Literal["GET", "POST"]
Strategy = Literal["order"]
Speaks = Literal["openai"]

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
SHORTEST = Seconds(0.01)
"""No limit that is looked at all the time is below this."""
SHORTEST_SECRET = 32

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+", re.ASCII)


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server listens and what it bounds."""

    host: Annotated[
        str, Meta(description="The address to listen on. Beyond loopback only with keys, or `insecure`.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port; 0 takes a free one.")] = 8420
    insecure: Annotated[
        bool,
        Meta(description="Listen beyond loopback without keys although anybody who reaches the port may use it."),
    ] = False
    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Other sites whose pages may use the server, as in `https://chat.example.com`. "
            "Its own pages may; while no key is needed, those of this machine too."
        ),
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names the server is reached under, without port. With keys any name will do where none is set; "
            "while no key is needed, only addresses, `localhost` and these."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, as in `10.0.0.0/8`."),
    ] = ()
    model: Annotated[
        str | None,
        Meta(
            description="The model of a request that names none, where its route names none either. "
            "Without it the first of `[models]`, else `demo`."
        ),
    ] = None
    path_prefix: Annotated[
        str, Meta(description="What a proxy in front puts before every path, as in `/llm`; empty for nothing.")
    ] = ""
    max_body: Annotated[Bytes, Meta(description="The largest request body or WebSocket message.")] = Bytes(16 * MiB)
    max_head: Annotated[Bytes, Meta(description="The request line and all headers of a request.")] = Bytes(16 * KiB)
    max_line: Annotated[Bytes, Meta(description="The URL, and each header.")] = Bytes(8 * KiB)
    max_headers: Annotated[int, Meta(ge=1, description="How many headers a request may have.")] = 100
    max_message_before_key: Annotated[
        Bytes, Meta(description="The largest WebSocket message of a client that has not shown its key yet.")
    ] = Bytes(64 * KiB)
    head_timeout: Annotated[
        Seconds, Meta(description="How long a client may take to send the head of a request, from its connection on.")
    ] = Seconds(10)
    body_timeout: Annotated[
        Seconds,
        Meta(
            description="How long a body, or a WebSocket message, may take. It has a second more for every 4 KiB that have "
            "come, so large ones get through on slow lines and trickles do not."
        ),
    ] = Seconds(30)
    keep_alive: Annotated[
        Seconds,
        Meta(
            description="How long a connection may rest between two requests. Above the 60 s of most proxies, so that they "
            "close it and never send a request into a connection that is just being closed."
        ),
    ] = Seconds(75)
    ping_timeout: Annotated[
        Seconds,
        Meta(
            description="A WebSocket whose client answers no ping for so long, and takes not a byte of what it owes, is gone. "
            "Pings go out every `heartbeat`."
        ),
    ] = Seconds(20)
    max_connections: Annotated[
        int | None,
        Meta(
            description="How many connections there may be. Without it as many as 80 % of the file descriptors the process "
            "may have allow, those of upstream connections included.",
        ),
    ] = None
    max_connections_per_address: Annotated[
        int | None,
        Meta(
            description="How many of them from one address, or one IPv6 network of 64 bits. Those of `trusted_proxies` are "
            "not counted.",
        ),
    ] = None
    tls_certificate: Annotated[
        Path | None,
        Meta(
            description="The certificate to serve TLS with, and those above it, in one PEM file. Read again on SIGHUP."
        ),
    ] = None
    tls_key: Annotated[
        Path | None, Meta(description="The key of `tls_certificate`, in PEM form, without a passphrase.")
    ] = None
    max_runs: Annotated[int, Meta(ge=1, description="How many runs are held at once, ended ones included.")] = 20_000
    max_bytes: Annotated[
        Bytes, Meta(description="What all runs keep together; ended runs give way first, then new ones are refused.")
    ] = Bytes(1 * GiB)
    max_memory: Annotated[
        Bytes,
        Meta(
            description="Resident memory of the process. Beyond nine tenths of it ended runs are dropped, then new ones refused. "
            "0: the container's limit, if it has one."
        ),
    ] = Bytes(0)
    heartbeat: Annotated[Seconds, Meta(description="Silence after which a stream gets a sign of life.")] = Seconds(15)
    retry_ms: Annotated[
        int, Meta(ge=0, le=600_000, description="Milliseconds an EventSource waits before it comes back.")
    ] = 1000
    drain: Annotated[
        Seconds,
        Meta(
            description="How long the server may take to go when it is told to. Live runs may end until shortly before that; "
            "then they fail with `interrupted`, and their readers are told."
        ),
    ] = Seconds(25)
    drain_accept: Annotated[
        Seconds,
        Meta(
            description="How much of `drain` passes until new runs are refused, so that load balancers notice first. "
            "Ctrl-C does not wait for it."
        ),
    ] = Seconds(3)
    socket_send_buffer: Annotated[
        Bytes, Meta(description="The kernel's send buffer of each connection; larger ones hide slow readers.")
    ] = Bytes(64 * KiB)

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must not be empty; write an address such as '127.0.0.1'")
        for name in ("heartbeat", "head_timeout", "body_timeout", "keep_alive", "ping_timeout"):
            if getattr(self, name) < SHORTEST:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be below {SHORTEST}")
        for name in ("max_connections", "max_connections_per_address"):
            if (most := getattr(self, name)) is not None and most < 1:
                raise ValueError(f"{name} ({most}) must be at least 1")
        if not 0 < self.max_line <= self.max_head:
            raise ValueError(f"max_line ({self.max_line}) must be above 0 and not above max_head ({self.max_head})")
        if (self.tls_certificate is None) != (self.tls_key is None):
            given, missing = ("tls_certificate", "tls_key") if self.tls_key is None else ("tls_key", "tls_certificate")
            raise ValueError(f"{given} needs {missing} beside it")
        if self.path_prefix and (not self.path_prefix.startswith("/") or self.path_prefix.endswith("/")):
            raise ValueError("path_prefix begins with a slash and ends without one, as in '/llm'")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"origins: {origin!r} is none; write scheme, host and port, as in 'https://example.com'"
                )
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"hosts: {host!r} is no name; write it without scheme and port, as in 'ai.example.com'"
                )
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"trusted_proxies: {proxy!r} is no address and no network, as in '10.0.0.0/8'"
                ) from None


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may use the server. With a key every path wants one but `/healthz`, `/readyz` and the static pages.

    The limits are those of a key that has none of its own; they hold for all its clients together, 0 is no limit, and
    coming back to a stream costs nothing.
    """

    api_keys: Annotated[
        Secret | None,
        Meta(description="Keys, separated by commas, as `key` or `name:key`; each of 20 characters or more."),
    ] = None
    keys_file: Annotated[
        str | None,
        Meta(
            description="The file that `penstock keys` writes; a change is seen within a second. "
            "`penstock-keys.json` beside the configuration is found by itself."
        ),
    ] = None
    secret: Annotated[
        Secret | None,
        Meta(
            description="What signs `events_url`, 32 characters or more. Without it a random one, "
            "so that those URLs end with the process."
        ),
    ] = None
    authenticator: Annotated[
        str, Meta(description="Who decides about keys: a name registered under `penstock.authenticators`.")
    ] = "keys"
    runs_per_minute: Annotated[float, Meta(ge=0, le=1_000_000, description="Runs that one key may begin.")] = 600.0
    burst: Annotated[int, Meta(ge=0, description="Runs it may begin at once after a pause; 0 is a minute's.")] = 100
    concurrent_runs: Annotated[int, Meta(ge=0, description="Live runs of one key.")] = 200
    concurrent_readers: Annotated[int, Meta(ge=0, description="Streams that are read at once with one key.")] = 1_000

    def __post_init__(self) -> None:
        if self.secret is not None and len(self.secret.reveal()) < SHORTEST_SECRET:
            raise ValueError(
                f"secret must have at least {SHORTEST_SECRET} characters; make one with: openssl rand -hex 32"
            )

    @property
    def open(self) -> bool:
        """Nobody needs a key."""
        return self.api_keys is None and self.keys_file is None and self.authenticator == "keys"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server says of itself, on standard error."""

    format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="`auto` is `console` on a terminal and `json`, one object per line, elsewhere."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="What is less important is not logged.")
    ] = "info"


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Prometheus may read at `/metrics`. On the server's own port it wants a key like any other path."""

    enabled: Annotated[bool, Meta(description="Count, and serve the page.")] = True
    port: Annotated[
        int | None,
        Meta(description="A port of its own, without keys; 0 takes a free one. Without it the server's."),
    ] = None
    host: Annotated[
        str, Meta(description="The address of that port. Whoever reaches it sees all figures: choose an inner network.")
    ] = "127.0.0.1"

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host: must not be empty; write an address such as '127.0.0.1'")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is none; there are 0 to 65535")


class DemoConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the `demo` model behaves where a request does not say so in its own `demo` field."""

    rate: Annotated[
        float, Meta(ge=0, le=100_000, description="Tokens per second; 0 is as fast as the readers take them.")
    ] = 30.0
    tokens: Annotated[
        int | None, Meta(description="Tokens of an answer; without it 90 to 600, longer for longer questions.")
    ] = None
    stall: Annotated[Seconds, Meta(description="Silence in the middle of the answer.")] = Seconds(0)
    drop_after: Annotated[int | None, Meta(description="Fail after so many tokens, as a provider would.")] = None
    reasoning: Annotated[bool, Meta(description="Think aloud before the answer.")] = True
    binary: Annotated[bool, Meta(description="Send a small picture after the answer.")] = False


class TimeLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things may take."""

    first_token: Annotated[Seconds, Meta(description="From the start of a run to its first token.")] = Seconds(300)
    gap: Annotated[Seconds, Meta(description="Between two tokens.")] = Seconds(120)
    total: Annotated[Seconds, Meta(description="The whole run.")] = Seconds(1800)
    stall: Annotated[
        Seconds, Meta(description="A reader that owes and takes nothing for so long is dropped; it may come back.")
    ] = Seconds(20)
    retention: Annotated[Seconds, Meta(description="How long a run can be read after its end.")] = Seconds(600)

    def __post_init__(self) -> None:
        for name in ("first_token", "gap", "total", "stall"):
            if getattr(self, name) < SHORTEST:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be below {SHORTEST}")


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is held. What lies after a reader's position is *owed*; what a run holds is *kept*."""

    high: Annotated[Bytes, Meta(description="The source waits while even the fastest reader owes more.")] = Bytes(
        64 * KiB
    )
    low: Annotated[Bytes, Meta(description="The source goes on when it owes no more than this.")] = Bytes(32 * KiB)
    turn_bytes: Annotated[Bytes, Meta(description="What one reader takes at a time.")] = Bytes(64 * KiB)
    merge_above: Annotated[
        Bytes, Meta(description="A reader that owes more gets fewer, larger deltas; the text is the same.")
    ] = Bytes(16 * KiB)
    detached_bytes: Annotated[Bytes, Meta(description="How far a run goes ahead with nobody attached.")] = Bytes(
        1 * MiB
    )
    max_run_bytes: Annotated[
        Bytes, Meta(description="What one run keeps; the oldest is dropped when every attached reader has it.")
    ] = Bytes(8 * MiB)

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError(f"low ({self.low}) must be above 0 and not above high ({self.high})")
        if self.turn_bytes <= 0:
            raise ValueError("turn_bytes must be above 0")
        if self.max_run_bytes < self.high:
            raise ValueError(f"max_run_bytes ({self.max_run_bytes}) must not be below high ({self.high})")


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server that speaks, under the name its models are asked for: `NAME/model`.

    The providers penstock knows (see below) need no `base_url`, and no `api_key` where it is in its usual variable.
    """

    base_url: Annotated[str, Meta(description="Its address, as in `http://127.0.0.1:8081/v1`.")]
    api_key: Annotated[
        Secret | None, Meta(description='Its key: `"env:NAME"`, `"file:PATH"`, or the key itself; never shown.')
    ] = None
    kind: Annotated[Speaks, Meta(description="What it speaks.")] = "openai"

    def __post_init__(self) -> None:
        try:
            read_base_url(self.base_url)
        except ValueError as wrong:
            raise ValueError(f"base_url: {wrong}") from None


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alias: a name of your own for a model."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description='What answers, one model: `["provider/name"]`, `["http://127.0.0.1:8081/v1#name"]`, '
            '`["litellm/name"]`, `["module:function"]` or `["demo"]`.'
        ),
    ]
    strategy: Annotated[Strategy, Meta(description="How a target is chosen.")] = "order"

    def __post_init__(self) -> None:
        if len(self.targets) != 1:
            raise ValueError(f"targets names {len(self.targets)} models; this version of penstock takes exactly one")


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


RESERVED = frozenset({"/v1/streams", "/v1/models", "/healthz", "/readyz", "/metrics", "/docs"})

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
        path="/api/chat",
        transport=("sse",),
        dialect="token-done",
        on_disconnect=OnDisconnect("cancel"),
        header_hold=Seconds(8),
    ),
)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything, with what the defaults, the file, the environment and the flags have said."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    limits: TimeLimits = TimeLimits()
    bounds: Bounds = Bounds()
    demo: DemoConfig = DemoConfig()
    providers: dict[str, ProviderConfig] = {}
    models: dict[str, ModelConfig] = {}
    route: tuple[RouteConfig, ...] = DEFAULT_ROUTES

    @property
    def default_model(self) -> str:
        """What answers a request that names no model, on a route that names none."""
        return self.server.model or next(iter(self.models), "demo")
