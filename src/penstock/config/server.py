"""`[server]`: where the server listens, and what it takes from whom."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.config.units import SHORTEST, Bytes, GiB, KiB, MiB, Seconds

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
    max_media: Annotated[
        Bytes,
        Meta(description="The largest image, sound or file within a request, as base64; above it 413, naming which."),
    ] = Bytes(12 * MiB)
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
    max_lag: Annotated[
        Seconds,
        Meta(
            description="How late the event loop may be, twice in a row, before new runs are refused: those that live come first."
        ),
    ] = Seconds(2)
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
