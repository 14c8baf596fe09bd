"""One reader as it comes: how it wants its run told, read from its request, and where in the run it joins."""

from __future__ import annotations

import msgspec

from penstock.core.cursor import Cursor, parse_cursor
from penstock.core.errors import Refused
from penstock.core.frame import Dialect, View
from penstock.encoders.stream import Stream
from penstock.flow.handle import Place, RunHandle
from penstock.flow.reader import Reader
from penstock.server.exchange import Exchange
from penstock.server.joining import check_joins, numbered, pipeline, retold, text_length
from penstock.server.negotiation import choose, choose_dialect, http_encoder, not_acceptable, prefers_json, streams
from penstock.server.service import Route, Service, Transport
from penstock.server.telling import Teller
from penstock.server.transports.http import HttpTeller

READING = frozenset({"dialect", "after", "reasoning", "event_names", "reopen"})
"""Options of every route that streams."""


class Arrival:
    """How one reader wants its run told, read from a request. Raises `Refused` while it is made."""

    __slots__ = (
        "afresh",
        "cursor",
        "dialect",
        "event_names",
        "eventsource",
        "exchange",
        "json",
        "reasoning",
        "reopen",
        "route",
        "service",
        "skip_bytes",
        "starting_after",
        "transport",
        "whole",
    )

    def __init__(self, service: Service, exchange: Exchange, route: Route, options: dict[str, str]):
        self.service = service
        self.exchange = exchange
        self.route = route
        accept = exchange.header("accept")
        detaches = route is service.native and exchange.method == "POST"
        self.json = prefers_json(accept, route.transports) and (detaches or not streams(accept, route.transports))
        """One object is wanted rather than a stream. Where only a stream can be had, a client that takes one as well gets it."""
        self.transport: Transport = "sse" if self.json else choose(accept, route.transports)
        self.dialect: Dialect = choose_dialect(service.dialects, options.get("dialect"), route.dialect, self.transport)
        """Of the stream."""
        self.whole: Dialect = self.dialect if options.get("dialect") else route.dialect
        """Of one object, be it an answer or an error: bare text has no words for either."""
        exchange.request_id_also = self.whole.traits.request_id
        self.reasoning = flag(options, "reasoning")
        self.event_names = flag(options, "event_names")
        self.reopen = flag(options, "reopen")
        """The reader has the words but not the state: its dialect's parser is a new one."""
        self.eventsource = exchange.method == "GET" and self.transport == "sse"
        """A GET as the browser's EventSource makes it: no sentinel, and the position comes first."""
        self.afresh = False
        """The reader asks by its chat, with nothing of what was said before."""
        self.cursor: Cursor | None = None
        self.starting_after: int | None = None
        """The number of the last frame it has, where it counts frames instead of keeping a cursor."""
        self.skip_bytes: int | None = None
        after = exchange.header("last-event-id") or options.get("after", "")
        if after.startswith("bytes="):
            if self.transport != "text":
                raise Refused(
                    "bad_cursor", "'bytes=' counts bare text; this stream has ids, send one of them", param="after"
                )
            self.skip_bytes = number(after[6:])
        elif after:
            self.cursor = parse_cursor(after)

    def check_streams(self) -> None:
        """Raise `Refused` where one object is wanted, and there is none."""
        if self.json:
            raise not_acceptable(self.route.transports)

    def view(self, handle: RunHandle) -> View:
        get = self.exchange.method == "GET"
        return msgspec.structs.replace(
            handle.view,
            include_usage=handle.request.include_usage and not get,
            sentinel=not self.eventsource,
            reasoning=self.reasoning,
            event_names=self.event_names,
            bare=self.transport == "text",
            afresh=self.afresh,
        )

    def join(self, handle: RunHandle) -> tuple[Place, int]:
        """Where this reader joins, and how many bytes of text it has. Raises `Refused`."""
        if self.starting_after is not None and self.cursor is None:
            place = numbered(self.dialect, self.view(handle), handle, self.starting_after)
        else:
            place = handle.place(self.cursor)
        check_joins(self.dialect, handle, place)
        if self.reopen and place.skip:
            place = Place(place.after)
        skip = self.skip_bytes or 0
        if self.skip_bytes is not None:
            said = text_length(self.dialect, self.view(handle), handle)
            if skip > said:
                raise Refused("cursor_ahead", f"the text is {said} bytes long so far; {skip} lies beyond it")
            if handle.log.sealed and skip == said:
                place = Place(handle.log.last)
        return place, skip

    def told_back(self, place: Place) -> None:
        """Say to whoever watches what somebody got who came back; nothing of one who comes for the first time."""
        if self.cursor is not None or self.skip_bytes is not None or self.starting_after is not None:
            self.service.runs.observer.resumed("gap" if place.gap is not None else "replayed")

    def stream(self, handle: RunHandle, view: View, place: Place, skip_bytes: int) -> tuple[Stream[bytes], bytes]:
        """The reader's pipeline, primed, and what it says before the first entry."""
        encoder = http_encoder(
            self.transport,
            self.dialect,
            retry_ms=self.service.retry_ms,
            abort_on_error=self.route.abort_on_error,
            skip_bytes=skip_bytes,
        )
        fresh = self.eventsource and self.cursor is None
        opening = encoder.opening(handle.cursor(0) if fresh else None)
        stream = pipeline(self.dialect, view, encoder, handle, place)
        if place.gap is not None:
            opening += b"".join(retold(self.dialect, stream, place))
        elif self.reopen and place.after:
            opening += b"".join(stream.retell(stream.renderer.reopen(), place.after))
        return stream, opening

    def teller(self, handle: RunHandle, reader: Reader, place: Place, skip_bytes: int) -> tuple[HttpTeller, bytes]:
        """What tells this reader its run, and holds nothing of the request; and what it says before the first entry."""
        view = self.view(handle)
        stream, opening = self.stream(handle, view, place, skip_bytes)
        manner = HttpManner(self.transport, self.dialect, self.route.abort_on_error, view)
        return Teller(handle, reader, stream, manner=manner, pack=b"".join), opening


class HttpManner(msgspec.Struct, frozen=True):
    """How a response tells its run."""

    transport: Transport
    dialect: Dialect
    abort_on_error: bool
    view: View

    def stream(self, handle: RunHandle, after: int) -> Stream[bytes]:
        """The pipeline of a reader that was told everything up to offset `after`."""
        encoder = http_encoder(self.transport, self.dialect, abort_on_error=self.abort_on_error)
        return pipeline(self.dialect, self.view, encoder, handle, Place(after))


def flag(options: dict[str, str], name: str) -> bool:
    """An option that is on or off. Raises `Refused`."""
    value = options.get(name, "0")
    if value not in ("0", "1", "true", "false", ""):
        raise Refused("unknown_option", f"option {name!r} is 1 or 0, not {value[:32]!r}", param=name)
    return value in ("1", "true", "") if name in options else False


def number(text: str) -> int:
    """A count of bytes in a cursor. Raises `Refused`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Refused(
            "bad_cursor", "malformed cursor: 'bytes=' is followed by the number of bytes you have", param="after"
        )
    return int(text)
