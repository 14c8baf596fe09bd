"""Everything that can be set, as values: names, types, defaults and one sentence each. The reference is made from it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config.bounds import Bounds, TimeLimits
from penstock.config.models import ModelConfig, PricesConfig, TargetConfig
from penstock.config.routes import DEFAULT_ROUTES, RouteConfig
from penstock.config.server import ServerConfig
from penstock.config.target import read_base_url
from penstock.config.units import Seconds, Secret

Speaks = Literal["openai", "openai-responses", "anthropic", "ollama"]

SHORTEST_SECRET = 32
LONGEST_DRAIN = Seconds(4)


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


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server that speaks, under the name its models are asked for: `NAME/model`.

    The providers penstock knows (see below) need no `base_url`, and no `api_key` where it is in its usual variable.
    """

    base_url: Annotated[str, Meta(description="Its address, as in `http://127.0.0.1:8081/v1`.")]
    api_key: Annotated[
        Secret | None, Meta(description='Its key: `"env:NAME"`, `"file:PATH"`, or the key itself; never shown.')
    ] = None
    kind: Annotated[
        Speaks, Meta(description="What it speaks. The providers penstock knows have their own default: see below.")
    ] = "openai"
    drain: Annotated[
        Seconds,
        Meta(
            description="How long it is listened to after a cancel or a disconnect, to learn what the answer has used; at most 4s. "
            "At 0 it is cut at once, which stops the bill."
        ),
    ] = Seconds(0)
    warm: Annotated[
        bool, Meta(description="Connect when the server starts, so that the first question need not wait for it.")
    ] = False

    def __post_init__(self) -> None:
        try:
            read_base_url(self.base_url)
        except ValueError as wrong:
            raise ValueError(f"base_url: {wrong}") from None
        if self.drain > LONGEST_DRAIN:
            raise ValueError(f"drain ({self.drain}) must not be above {LONGEST_DRAIN}: a source has 5s to close")


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
    targets: dict[str, TargetConfig] = {}
    prices: PricesConfig = PricesConfig()
    route: tuple[RouteConfig, ...] = DEFAULT_ROUTES

    @property
    def default_model(self) -> str:
        """What answers a request that names no model, on a route that names none."""
        return self.server.model or next(iter(self.models), "demo")
