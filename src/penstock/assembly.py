"""Config → running parts. The only module that may meet everyone; it decides nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from penstock import __version__, registry
from penstock.auth.browser import Browsers
from penstock.auth.capability import Capabilities
from penstock.auth.grant import Allowance, AsGiven, Authenticator, PrincipalOf
from penstock.auth.keys import made_up
from penstock.catalog import Catalog
from penstock.config import bounds as config_bounds
from penstock.config import model as config
from penstock.config.routes import RouteConfig
from penstock.config.server import ServerConfig
from penstock.core.observer import Observer, Several
from penstock.core.source import Source
from penstock.flow.policy import Bounds, OnDisconnect, Policy, TimeLimits
from penstock.flow.runs import Runs
from penstock.server import memory
from penstock.server.app import App
from penstock.server.connections import ConnectionLimits
from penstock.server.gate import Gate
from penstock.server.service import Route, Service
from penstock.staging import Staging
from penstock.telemetry.exposition import Exposition
from penstock.telemetry.loop_lag import LoopWatch
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.pace import Pace
from penstock.warming import Warming
from penstock.web import pages


def build(
    settings: config.Config | None = None,
    *,
    sources: Mapping[str, Source] | None = None,
    observer: Observer | None = None,
    mounted: bool = False,
    principal: PrincipalOf | None = None,
) -> App:
    """The application for a configuration. `sources` are models given in code, the first of them the default.

    A `mounted` one leaves it to the application around it who may come, unless the configuration has keys; `principal` is
    how that application says whose a request is.
    Raises `registry.UnknownName` for a dialect or stage that nobody registered, `Refused` for a model that cannot be,
    `ValueError` for keys that cannot be read.
    """
    return _built(settings or config.Config(), sources, observer, mounted=mounted, principal=principal)


def _built(
    settings: config.Config,
    sources: Mapping[str, Source] | None,
    observer: Observer | None,
    *,
    mounted: bool = False,
    principal: PrincipalOf | None = None,
    after: Staging | None = None,
) -> App:
    catalog = Catalog(settings, sources or {}, after=after)
    metrics = Metrics(catalog.named) if settings.metrics.enabled else None
    pace = Pace(catalog.named)
    told = Several(*(each for each in (metrics, pace, observer) if each is not None))
    runs = Runs(
        registry.resolve("stores", "memory")(),
        observer=told,
        memory=memory.bounded(settings.server.max_memory),
        max_bytes=settings.server.max_bytes,
        max_runs=settings.server.max_runs,
        max_lag=float(settings.server.max_lag),
    )
    dialects = {name: registry.resolve("dialects", name)() for name in registry.names("dialects")}
    for alias in settings.models:
        catalog.model(alias)
    policy = Policy(bounds=_bounds(settings.bounds), limits=_limits(settings.limits))
    warming = Warming(catalog, policy)
    service = Service(
        runs=runs,
        dialects=dialects,
        native=Route(
            path="/v1/streams",
            methods=("POST",),
            dialect=dialects["native"],
            transports=("sse", "ndjson", "text"),
            policy=policy,
        ),
        routes=tuple(_route(settings, route, dialects) for route in settings.route),
        model=catalog.model,
        models=catalog.listed,
        gate=_gate(settings, runs.observer, mounted=mounted, principal=principal),
        close=catalog.close,
        warm=warming if warming.wanted else None,
        standing=catalog.staging,
        pages={} if sources else pages(),
        exposition=Exposition(metrics, __version__, targets=catalog.health) if metrics else None,
        scrape_here=settings.metrics.port is None,
        loop_watch=LoopWatch(on_lag=metrics.lagged if metrics else _ignore, on_hold=told.loop_held),
        pace=pace,
        max_body=settings.server.max_body,
        max_media=settings.server.max_media,
        connection_limits=_connections(settings.server),
        heartbeat=settings.server.heartbeat,
        retry_ms=settings.server.retry_ms,
    )
    runs.stands = service.gate.stands
    return App(service)


def reload(app: App, settings: config.Config) -> None:
    """Serve by another configuration from now on; live runs go on as they began. Raises as `build`, and has then changed nothing."""
    runs = app.service.runs
    stood = app.service.standing
    fresh = _built(settings, None, runs.observer, after=stood if isinstance(stood, Staging) else None).service
    if isinstance(fresh.standing, Staging):
        fresh.standing.settle()
    runs.max_bytes, runs.max_runs, runs.memory = fresh.runs.max_bytes, fresh.runs.max_runs, fresh.runs.memory
    runs.admission.max_lag = fresh.runs.admission.max_lag
    known, named = app.service.exposition, fresh.exposition
    if isinstance(known, Exposition) and isinstance(named, Exposition):
        known.metrics.models = named.metrics.models
        known.targets = named.targets
    measured, named_now = app.service.pace, fresh.pace
    if isinstance(measured, Pace) and isinstance(named_now, Pace):
        measured.follow(named_now.models)
    fresh.gate.inherit(app.service.gate)
    runs.stands = fresh.gate.stands
    app.adopt(fresh)


def _route(settings: config.Config, route: RouteConfig, dialects: Mapping[str, Any]) -> Route:
    if route.dialect not in dialects:
        registry.resolve("dialects", route.dialect)
    return Route(
        path=route.path,
        methods=route.methods,
        dialect=dialects[route.dialect],
        transports=route.transport,
        model=route.model,
        policy=Policy(
            slow_reader=route.slow_reader,
            on_disconnect=OnDisconnect(route.on_disconnect.what, float(route.on_disconnect.grace)),
            bounds=_bounds(route.bounds or settings.bounds),
            limits=_limits(route.limits or settings.limits),
        ),
        header_hold=float(route.header_hold),
        streams="GET" in route.methods,
        abort_on_error=route.abort_on_error,
        stages=tuple(registry.resolve("stages", name) for name in route.stages),
    )


def _gate(settings: config.Config, observer: Observer, *, mounted: bool, principal: PrincipalOf | None) -> Gate:
    server, auth = settings.server, settings.auth
    allowance = Allowance(**{name: getattr(auth, name) for name in Allowance.__struct_fields__})
    authenticator: Authenticator | None = None
    if principal is not None:
        authenticator = AsGiven(principal)
    elif auth.authenticator != "keys":
        authenticator = registry.resolve("authenticators", auth.authenticator)()
    elif not auth.open:
        try:
            fixed = made_up(auth.api_keys.reveal()) if auth.api_keys else ()
        except ValueError as wrong:
            raise ValueError(f"auth.api_keys (PENSTOCK_API_KEYS): {wrong}") from None
        from penstock.auth.keyfile import KeyFile

        authenticator = registry.resolve("authenticators", "keys")(
            fixed,
            ring=KeyFile(Path(auth.keys_file), troubled=observer.background_failed) if auth.keys_file else None,
            allowance=allowance,
        )
    browsers = Browsers(open_access=authenticator is None, origins=server.origins, hosts=server.hosts)
    return Gate(
        authenticator=authenticator,
        browsers=None if mounted and not server.origins else browsers,
        capabilities=Capabilities(auth.secret.reveal() if auth.secret else ""),
        trusted_proxies=server.trusted_proxies,
        asks_later=principal is None,
    )


def _ignore(seconds: float) -> None:
    """Nobody counts it."""


def _connections(given: ServerConfig) -> ConnectionLimits:
    return ConnectionLimits(
        head_bytes=given.max_head,
        line_bytes=given.max_line,
        headers=given.max_headers,
        head_seconds=given.head_timeout,
        body_seconds=given.body_timeout,
        idle_seconds=given.keep_alive,
        ping_seconds=given.heartbeat,
        pong_seconds=given.ping_timeout,
        message_bytes=given.max_body,
        strange_message_bytes=given.max_message_before_key,
        most=given.max_connections,
        most_per_address=given.max_connections_per_address,
        proxies=tuple(ip_network(proxy) for proxy in given.trusted_proxies),
    )


def _bounds(given: config_bounds.Bounds) -> Bounds:
    return Bounds(**{name: int(getattr(given, name)) for name in given.__struct_fields__})


def _limits(given: config_bounds.TimeLimits) -> TimeLimits:
    stated = {name: float(getattr(given, name)) for name in given.__struct_fields__}
    return msgspec.structs.replace(TimeLimits(), **stated)
