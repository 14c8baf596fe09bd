"""Errors as responses: in the dialect of the route that was asked, or as RFC 9457 problem details where there is none."""

from __future__ import annotations

import msgspec

from penstock.core.errors import TABLE
from penstock.core.events import Fault
from penstock.core.frame import Dialect
from penstock.server.exchange import Exchange, Header

_encode = msgspec.json.Encoder().encode


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
    if dialect is not None:
        await exchange.reply(row.status, dialect.refuse(fault, exchange.request_id), "application/json", extra)
        return
    problem = {
        "type": f"urn:penstock:error:{fault.code}",
        "title": row.meaning,
        "status": row.status,
        "detail": fault.message,
        "code": fault.code,
        "retryable": fault.retryable,
        "request_id": exchange.request_id,
    }
    await exchange.reply(row.status, _encode(problem), "application/problem+json", extra)
