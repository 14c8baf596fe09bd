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


def accepted(accept: str) -> list[str]:
    """The media types of an `Accept` header, most wanted first (RFC 9110 §12.5.1); `*/*` where there is none."""
    ranked: list[tuple[float, int, str]] = []
    for position, part in enumerate(accept.lower().split(",")):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if media and quality > 0:
            ranked.append((-quality, position, media))
    return [media for _, _, media in sorted(ranked)] or ["*/*"]


def choose(accept: str, transports: Sequence[Transport]) -> Transport:
    """The transport for an `Accept` header. Raises `Refused(not_acceptable)`."""
    if len(transports) == 1:
        return transports[0]
    for media in accepted(accept):
        for transport in transports:
            if (
                media == "*/*"
                or media in MEDIA_TYPES[transport]
                or media == MEDIA_TYPES[transport][0].split("/")[0] + "/*"
            ):
                return transport
    known = ", ".join(MEDIA_TYPES[transport][0] for transport in transports)
    raise Refused("not_acceptable", f"this route answers in {known}; set Accept to one of them, or leave it out")


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
    transport: Transport, dialect: Dialect, *, retry_ms: int, abort_on_error: bool = False, skip_bytes: int = 0
) -> TransportEncoder[bytes]:
    """A fresh encoder for one response."""
    if transport == "ndjson":
        return NdjsonEncoder(cursor_key=dialect.cursor_key, abort_on_error=abort_on_error)
    if transport == "text":
        return TextEncoder(skip=skip_bytes)
    return SseEncoder(retry_ms=retry_ms)
