"""Errors as responses: in the dialect of the route that was asked, or as RFC 9457 problem details where there is none."""

from __future__ import annotations

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
    """Answer with the fault's status and body, and `Retry-After` in whole seconds where waiting helps."""
    row = TABLE[fault.code]
    extra = [(b"cache-control", b"no-store"), *(headers or [])]
    if fault.retry_after is not None:
        extra.append((b"retry-after", b"%d" % max(1, -(-fault.retry_after // 1))))
    elif row.status in (429, 503):
        extra.append((b"retry-after", b"1"))
    if row.status == 401:
        extra.append(CHALLENGE)
    if dialect is not None:
        await exchange.reply(row.status, dialect.refuse(fault, exchange.request_id), "application/json", extra)
        return
    await exchange.reply(row.status, problem(fault, exchange.request_id), "application/problem+json", extra)


async def refuse_upgrade(scope: Scope, send: Send, fault: Fault) -> None:
    """Answer a WebSocket handshake with the fault as an HTTP response, or with its close code under a server that cannot."""
    row = TABLE[fault.code]
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": row.close, "reason": fault.code})
        return
    told = request_id(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"x-request-id", told.encode()),
    ]
    if row.status == 401:
        headers.append(CHALLENGE)
    await send({"type": "websocket.http.response.start", "status": row.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": problem(fault, told)})


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
