"""Errors as responses: in the dialect of the route that was asked, or as RFC 9457 problem details where there is none."""

from __future__ import annotations

import math

import msgspec
from starlette.types import Scope, Send

from penstock.core.errors import TABLE
from penstock.core.events import Fault
from penstock.core.frame import Dialect
from penstock.server.exchange import Exchange, Header, request_id

_encode = msgspec.json.Encoder().encode

CHALLENGE: Header = (b"www-authenticate", b"Bearer")
"""What a 401 must say (RFC 9110 §11.6.1)."""


async def refuse(
    exchange: Exchange, fault: Fault, dialect: Dialect | None, headers: list[Header] | None = None
) -> None:
    """Answer with the fault's status and body, and with when to come back where waiting helps.

    A client of a dialect is told in a header, too, whether to come back at all: left to themselves the SDKs of OpenAI and
    Anthropic ask again after every 408, 409, 429 and 5xx (`x-should-retry` in their `_base_client.py`).
    """
    row = TABLE[fault.code]
    extra = [(b"cache-control", b"no-store"), *(headers or []), *when(fault)]
    if row.status == 401:
        extra.append(CHALLENGE)
    if dialect is not None:
        exchange.request_id_also = dialect.traits.request_id
        extra.append((b"x-should-retry", b"true" if fault.retryable else b"false"))
        status = dialect.traits.statuses.get(fault.code, row.status)
        await exchange.reply(status, dialect.refuse(fault, exchange.request_id), "application/json", extra)
        return
    await exchange.reply(row.status, problem(fault, exchange.request_id), "application/problem+json", extra)


def when(fault: Fault) -> list[Header]:
    """When to come back: `Retry-After` in whole seconds (RFC 9110 §10.2.3), and OpenAI's `retry-after-ms` where they are too coarse."""
    seconds = fault.retry_after
    if seconds is None:
        return [(b"retry-after", b"1")] if TABLE[fault.code].status in (429, 503) else []
    whole = math.ceil(seconds)
    told = [(b"retry-after", b"%d" % max(1, whole))]
    return told if seconds == whole else [*told, (b"retry-after-ms", b"%d" % math.ceil(seconds * 1000))]


async def refuse_upgrade(scope: Scope, send: Send, fault: Fault, dialect: Dialect | None = None) -> None:
    """Answer a WebSocket handshake with the fault as an HTTP response, or with its close code under a server that cannot."""
    row = TABLE[fault.code]
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": row.close, "reason": fault.code})
        return
    told = request_id(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
    kind = b"application/problem+json" if dialect is None else b"application/json"
    headers = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-request-id", told.encode())]
    if row.status == 401:
        headers.append(CHALLENGE)
    body = problem(fault, told) if dialect is None else dialect.refuse(fault, told)
    await send({"type": "websocket.http.response.start", "status": row.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def problem(fault: Fault, request_id: str) -> bytes:
    """An error as RFC 9457 has it, for paths and clients without a dialect."""
    told: dict[str, object] = {
        "type": f"urn:penstock:error:{fault.code}",
        "title": TABLE[fault.code].meaning,
        "status": TABLE[fault.code].status,
        "detail": fault.message,
        "code": fault.code,
        "retryable": fault.retryable,
    }
    return _encode({**told, "request_id": request_id} if request_id else told)
