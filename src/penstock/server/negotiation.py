"""Which transport and which dialect answer a request: by route, by `Accept`, by `?dialect=`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.core.errors import Refused
from penstock.core.frame import Dialect, TransportEncoder
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder
from penstock.encoders.sse import SseEncoder
from penstock.server.service import Transport

MEDIA_TYPES: dict[Transport, tuple[str, ...]] = {
    "sse": ("text/event-stream",),
    "ndjson": ("application/x-ndjson", "application/ndjson", "application/jsonl"),
    "text": ("text/plain",),
}

CONTENT_TYPES: dict[Transport, bytes] = {
    "sse": b"text/event-stream; charset=utf-8",
    "ndjson": b"application/x-ndjson; charset=utf-8",
    "text": b"text/plain; charset=utf-8",
}


JSON = ("application/json",)


def accepted(accept: str) -> dict[str, tuple[float, int]]:
    """The media ranges of an `Accept` header with their quality and, negated, their place; `*/*` where there is none.

    A quality that is no number counts as 0, which excludes the range (RFC 9110 §12.4.2).
    """
    ranges: dict[str, tuple[float, int]] = {}
    for position, part in enumerate(accept.lower().split(",")):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if media:
            ranges[media] = (quality, -position)
    return ranges or {"*/*": (1.0, 0)}


def _wish(ranges: Mapping[str, tuple[float, int]], media_types: Sequence[str]) -> tuple[float, int, int]:
    """How much one of these types is wanted: by the most exact range that names it (RFC 9110 §12.5.1), then by how exact, how early."""
    for exact, names in enumerate((media_types, [f"{media_types[0].split('/')[0]}/*"], ["*/*"])):
        for name in names:
            if name in ranges:
                quality, place = ranges[name]
                return quality, -exact, place
    return 0.0, 0, 0


def choose(accept: str, transports: Sequence[Transport]) -> Transport:
    """The transport for an `Accept` header; with a single one it is not read. Raises `Refused(not_acceptable)`."""
    if len(transports) == 1:
        return transports[0]
    ranges = accepted(accept)
    best = max(transports, key=lambda transport: _wish(ranges, MEDIA_TYPES[transport]))
    if _wish(ranges, MEDIA_TYPES[best])[0] > 0:
        return best
    raise not_acceptable(transports)


def not_acceptable(transports: Sequence[Transport]) -> Refused:
    """Says what there is."""
    known = ", ".join(MEDIA_TYPES[transport][0] for transport in transports)
    return Refused("not_acceptable", f"this route answers in {known}; set Accept to one of them, or leave it out")


def prefers_json(accept: str, transports: Sequence[Transport]) -> bool:
    """Whether a JSON object is wanted rather than any of the streams; a single transport is not asked about."""
    if len(transports) == 1:
        return False
    ranges = accepted(accept)
    wished = max(_wish(ranges, MEDIA_TYPES[transport]) for transport in transports)
    return "application/json" in ranges and _wish(ranges, JSON) > wished


def streams(accept: str, transports: Sequence[Transport]) -> bool:
    """Whether any of the streams is acceptable, be it as the second best."""
    ranges = accepted(accept)
    return any(_wish(ranges, MEDIA_TYPES[transport])[0] > 0 for transport in transports)


def choose_dialect(dialects: Mapping[str, Dialect], asked: str | None, own: Dialect, transport: Transport) -> Dialect:
    """The dialect a reader gets: the one asked for, else the route's; bare text is always `plain`. Raises `Refused`."""
    if asked is not None and asked not in dialects:
        raise Refused(
            "unknown_dialect", f"no dialect is called {asked[:64]!r}; there are {', '.join(dialects)}", param="dialect"
        )
    if transport == "text":
        if asked not in (None, "plain"):
            raise Refused(
                "not_acceptable", f"bare text carries no dialect but 'plain'; ask for {asked!r} as SSE or NDJSON"
            )
        return dialects["plain"]
    return dialects[asked] if asked else own


def http_encoder(
    transport: Transport,
    dialect: Dialect,
    *,
    retry_ms: int | None = None,
    abort_on_error: bool = False,
    skip_bytes: int = 0,
) -> TransportEncoder[bytes]:
    """A fresh encoder for one response; without `retry_ms`, for one that is under way."""
    if transport == "ndjson":
        return NdjsonEncoder(cursor_key=dialect.traits.cursor_key, abort_on_error=abort_on_error)
    if transport == "text":
        return TextEncoder(skip=skip_bytes)
    return SseEncoder(retry_ms=retry_ms, ping=dialect.traits.ping)
