"""What `penstock doctor` tells the owner of a proxy to change: the line for each fault, by the proxy that answers.

Where a proxy does not show itself, or is none of these, the advice says what the line must bring about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Fault = Literal["buffers", "compresses", "idle", "upgrade", "body", "headers", "leaving", "cut", "origin"]
Proxy = Literal["nginx", "caddy", "haproxy", "traefik", "ingress-nginx"]

_SHOWS: tuple[tuple[str, str, Proxy], ...] = (
    ("server", "nginx", "nginx"),
    ("server", "openresty", "nginx"),
    ("server", "caddy", "caddy"),
    ("via", "caddy", "caddy"),
)
"""Header, what stands in it, and which proxy that is. HAProxy and Traefik show nothing of themselves."""

_NGINX_UPGRADE = (
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
)

_LINES: dict[Fault, dict[Proxy, str]] = {
    "buffers": {
        "nginx": "proxy_buffering off; and take out proxy_ignore_headers X-Accel-Buffering, and proxy_cache for these paths",
        "caddy": "take encode, and any handler that reads whole responses, away from these paths",
        "haproxy": "option http-no-delay; and no compression or Lua filter in this proxy",
        "traefik": "take the buffering middleware away from this router",
        "ingress-nginx": 'nginx.ingress.kubernetes.io/proxy-buffering: "off"',
    },
    "compresses": {
        "nginx": "gzip off;",
        "caddy": "take encode away from these paths",
        "haproxy": "take 'filter compression' and 'compression algo' away",
        "traefik": "take the compress middleware away from this router",
        "ingress-nginx": 'use-gzip: "false", in the controller\'s ConfigMap',
    },
    "idle": {
        "nginx": "proxy_read_timeout 360s;",
        "caddy": "take read_timeout and write_timeout out, or set them to 360s",
        "haproxy": "timeout client 360s, timeout server 360s and timeout tunnel 360s",
        "traefik": "--entryPoints.NAME.transport.respondingTimeouts.writeTimeout=0, and idleTimeout=360s",
        "ingress-nginx": 'nginx.ingress.kubernetes.io/proxy-read-timeout: "360"',
    },
    "upgrade": {
        "nginx": _NGINX_UPGRADE,
        "caddy": "reverse_proxy passes WebSockets on; take out header_up lines for Upgrade and Connection",
        "haproxy": "mode http passes WebSockets on; take out http-request del-header Upgrade, and option httpclose",
        "traefik": "take middlewares that change Upgrade or Connection away from this router",
        "ingress-nginx": "it passes WebSockets on; look for a configuration-snippet that sets Connection",
    },
    "body": {
        "nginx": "client_max_body_size 16m;",
        "caddy": "request_body { max_size 16MB }",
        "haproxy": "take out the rule that denies by req.body_size or Content-Length",
        "traefik": "maxRequestBodyBytes of the buffering middleware: 16777216",
        "ingress-nginx": 'nginx.ingress.kubernetes.io/proxy-body-size: "16m"',
    },
    "headers": {
        "nginx": "take out the proxy_hide_header and add_header lines for these headers",
        "caddy": "take out the header and header_down lines for these headers",
        "haproxy": "take out the http-response del-header and set-header lines for these headers",
        "traefik": "take the headers middleware away from this router",
        "ingress-nginx": "take out the hide-headers of the controller's ConfigMap",
    },
    "leaving": {
        "nginx": "proxy_ignore_client_abort off;",
        "caddy": "take out flush_interval -1, under which Caddy goes on reading for nobody",
        "haproxy": "option abortonclose",
    },
    "cut": {
        "caddy": "update Caddy: 2.6 ends well what was cut, later ones pass the cut on",
        "nginx": "take out proxy_intercept_errors and any filter that rewrites the body",
    },
    "origin": {
        "nginx": "proxy_set_header Host $http_host;",
        "caddy": "take out header_up Host",
        "haproxy": "take out http-request set-header Host",
        "traefik": "passHostHeader: true",
        "ingress-nginx": "take out nginx.ingress.kubernetes.io/upstream-vhost",
    },
}

_GENERIC: dict[Fault, str] = {
    "buffers": "turn response buffering off for these paths; until then clients can poll with ?wait=25",
    "compresses": "turn compression off for these paths, or let it obey Cache-Control: no-transform",
    "idle": "let it wait longer for the next byte than a model may be silent, 360 s for instance",
    "upgrade": "let it pass the headers Upgrade and Connection on, and speak HTTP/1.1 with penstock",
    "body": "let it take request bodies as large as penstock does ([server] max_body)",
    "headers": "let it pass these response headers on as they are",
    "leaving": "let it close its connection to penstock when the client closes the one to it",
    "cut": "no line mends that as a rule; read NDJSON, SSE or WebSocket, which say in words how an answer ended",
    "origin": "let it pass the Host header on as the browser sent it, or name the site in [server] origins",
}


def recognised(headers: Mapping[str, str]) -> Proxy | None:
    """The proxy that shows itself in the headers of a response; None where none does, or where it is none we know."""
    for header, word, proxy in _SHOWS:
        if word in headers.get(header, "").lower():
            return proxy
    return None


def shown(headers: Mapping[str, str]) -> str:
    """What stands between, in its own words; empty where nothing shows itself. penstock sends none of these headers."""
    told = [headers.get(name, "") for name in ("server", "via", "cf-ray", "x-served-by", "x-amz-cf-id")]
    return ", ".join(dict.fromkeys(word for word in told if word))


def advice(fault: Fault, proxy: Proxy | None) -> str:
    """The line to change."""
    line = _LINES[fault].get(proxy) if proxy else None
    return f"{proxy}: {line}" if line else _GENERIC[fault]
