"""One HTTP/1.1 connection: uvicorn's protocol with limits to what a client sends and how long it takes.

Checked against uvicorn 0.54 and httptools 0.9; a test names all of theirs that this leans on.
"""

from __future__ import annotations

import asyncio
import math
import re
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.core.errors import TABLE, fault
from penstock.core.events import Fault
from penstock.flow.policy import KiB
from penstock.server.connections import LINGER, PACE, Connections
from penstock.server.exchange import EXTENSION, new_request_id
from penstock.server.http_request import NOTHING_ASKED, ExpectingCycle, Line, OldCycle
from penstock.server.lean import HTTP_SLOTS, Flow, Queue, Signal
from penstock.server.problems import problem

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

WRITE_BUFFER = 16 * KiB
"""Bytes of a connection that may wait in this process before a write waits."""

MOST_WAITING = 32
"""Requests that may wait behind the one that is being answered. Reading pauses with the first of them, but what was read with
it is parsed to its end, and the smallest requests are 27 bytes that cost five KiB each."""

UNREADABLE = (
    "this cannot be read as HTTP/1.1; a URL is ASCII (other characters are written as %C3%A9),"
    " headers hold no control characters, and a body has one length"
)

_HOST = re.compile(rb"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Stage(Enum):
    """Where a connection is with what its client sends."""

    IDLE = auto()
    """Between two requests."""
    HEAD = auto()
    BODY = auto()
    WHOLE = auto()
    """The request is complete, its answer is not."""
    DEAF = auto()
    """Nothing more is read, whatever comes."""


class Unacceptable(Exception):
    """Raised out of the parser's callbacks, to end its work."""

    def __init__(self, problem: Fault, cause: str):
        self.problem = problem
        self.cause = cause


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection. It gives every request its `Line`, and refuses what no request may be.

    Seconds are counted while it is the client's turn: not while an earlier request of the same connection is being answered.
    """

    __slots__ = (
        *HTTP_SLOTS,
        "_field_bytes",
        "_fields",
        "_lines",
        "_received",
        "_shared",
        "_since",
        "_stage",
        "_unsent",
        "due",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        client: tuple[str, int] | None = None,
    ):
        """`client` is who was accepted: uvicorn asks the kernel, which knows no more of one that is gone already."""
        super().__init__(config, server_state, app_state, _loop)
        self.client = client
        # What uvicorn lets pass: a request behind one that said it was the last.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.pipeline = Queue()  # type: ignore[assignment]
        self.due = math.inf
        self._shared = cast("Connections", server_state)
        self._stage = Stage.HEAD
        self._since = 0.0
        """When the stage began, or when it became the client's turn in it."""
        self._received = 0
        """Bytes of this stage: in the head as they came, in the body as they count."""
        self._fields = 0
        self._field_bytes = 0
        self._unsent = 0
        self._lines: list[Line] = []
        """Of the requests that are not answered yet, in their order; more than one where the client pipelines."""

    # -- the connection ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        client = self.client
        super().connection_made(transport)
        self.client = client or self.client
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.flow = Flow(transport)
        self._enter(Stage.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._shared.left(self.client[0] if self.client else "")
        for line in self._lines:
            line.lost()

    def part(self) -> None:
        """What is being answered now is the last thing that is answered here."""
        if self._lines:
            self.cycle.keep_alive = False

    # -- what comes -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._stage is Stage.DEAF:
            return
        if self._stage is Stage.IDLE:
            self._enter(Stage.HEAD)
        if self._stage is Stage.HEAD:
            self._received += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Unacceptable):
                self._refuse(error.__context__.problem, error.__context__.cause)
            elif self._stage is Stage.WHOLE and not self.cycle.keep_alive:
                self._stage = Stage.DEAF  # it said itself that nothing follows
            else:
                self._refuse(fault("invalid_request", UNREADABLE), "unreadable")
        else:
            if self._stage is Stage.HEAD and self._received > self._shared.limits.head_bytes:
                self._refuse(self._too_large(), "head_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = self._field_bytes = 0
        if self._stage is not Stage.HEAD:
            self._enter(Stage.HEAD)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        most = self._shared.limits.line_bytes
        if len(self.url) > most:
            raise Unacceptable(
                fault("url_too_long", f"the URL is longer than the {most} bytes that are read"), "url_too_long"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        limits = self._shared.limits
        size = len(name) + len(value)
        self._fields += 1
        self._field_bytes += size
        if self._fields > limits.headers or size > limits.line_bytes or self._field_bytes > limits.head_bytes:
            raise Unacceptable(self._too_large(), "head_too_large")
        if self._stage is Stage.HEAD:  # what comes behind a body was never asked for, and must not pass for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        self._look_at_head(version)
        if len(self._lines) > MOST_WAITING:
            told = f"more than {MOST_WAITING} requests wait on this connection for the answers before them"
            raise Unacceptable(fault("invalid_request", told), "pipeline_flood")
        upgrading = self.parser.should_upgrade()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:
            return  # a WebSocket's handshake
        self.cycle.flow, self.cycle.message_event = self.flow, Signal()
        self.cycle.keep_alive &= not self._shared.leaving
        # uvicorn makes it and offers no way to say of which class.
        if version == "1.0":
            self.cycle.__class__ = OldCycle
            self.cycle.waiting_for_100_continue = False
        elif self.expect_100_continue:
            self.cycle.__class__ = ExpectingCycle
        line = Line(self.cycle, self.transport)
        self._lines.append(line)
        self.scope["extensions"] = {EXTENSION: line}  # type: ignore[dict-item]
        if not upgrading:
            self._enter(Stage.BODY)

    def _look_at_head(self, version: str) -> None:
        """Refuse what could mean one thing to us and another to a proxy in front (RFC 9112 §3.2, §6.1, RFC 9110 §7.8)."""
        hosts, sized = 0, False
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
                if not _HOST.fullmatch(value.strip()):
                    raise Unacceptable(
                        fault("bad_host", "the Host header is no name or address with a port"), "bad_host"
                    )
            elif name == b"transfer-encoding":
                sized = True
                if version == "1.0":
                    raise Unacceptable(fault("invalid_request", "HTTP/1.0 has no Transfer-Encoding"), "unreadable")
            elif name == b"content-length":
                sized = sized or value.strip(b"0 ") != b""
        if hosts > 1 or (hosts == 0 and version != "1.0"):
            count = "more than one Host header" if hosts else "no Host header"
            raise Unacceptable(fault("bad_host", f"the request has {count}; send exactly one"), "bad_host")
        if version not in ("1.0", "1.1"):
            raise Unacceptable(fault("invalid_request", UNREADABLE), "unreadable")
        if self.parser.should_upgrade() and (sized or (self._lines and self._should_upgrade())):
            # The parser takes the body for what follows the upgrade, hence for the next request.
            told = "a request that asks for an upgrade has no body, and waits for the answers before it"
            raise Unacceptable(fault("invalid_request", told), "unreadable")
        if not self.url.startswith(b"/"):
            self._from_absolute()

    def _from_absolute(self) -> None:
        """The path of a target such as a proxy is sent, whose host goes before the header's (RFC 9112 §3.2.2)."""
        told = "the target of a request is a path, or a whole http URL"
        try:
            url: Any = httptools.parse_url(self.url)  # whose types say that nothing is ever missing
        except httptools.HttpParserInvalidURLError:
            raise Unacceptable(fault("invalid_request", told), "unreadable") from None
        if (url.schema or b"").lower() not in (b"http", b"https") or not url.host or url.userinfo is not None:
            raise Unacceptable(fault("invalid_request", told), "unreadable")
        host = b"[%b]" % url.host if b":" in url.host else url.host
        authority = b"%b:%d" % (host, url.port) if url.port else host
        self.headers[:] = [
            *((name, value) for name, value in self.headers if name != b"host"),
            (b"host", authority),
        ]
        self.url = (url.path or b"/") + (b"?" + url.query if url.query else b"")

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        if not self.cycle.response_started:  # else nobody will read it, and unread it would stop all reading
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._stage is not Stage.HEAD:
            self._enter(Stage.WHOLE if self._lines else Stage.IDLE)
        super().on_message_complete()
        if not self.parser.should_upgrade():
            self.scope, self.headers = NOTHING_ASKED, []  # the cycle has them, as long as it needs them
        if not self.pipeline:
            # A large body has paused reading, and nobody else resumes it: the client could leave unseen.
            self.flow.resume_reading()

    def _upgrade(self, rest: bytes) -> None:
        if not self._should_upgrade():
            self._enter(Stage.WHOLE)  # to something nobody here speaks: the request is one as any other
            if rest:
                self.data_received(rest)
        elif rest:
            self._refuse(fault("invalid_request", "a WebSocket waits for its handshake's answer"), "unreadable")
        else:
            made: Any = self.ws_protocol_class
            self.ws_protocol_class = cast("Any", partial(made, client=self.client))
            self.handle_websocket_upgrade()

    # -- what goes --------------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """As uvicorn does, but for its timer."""
        self._lines.pop(0)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._enter(Stage.IDLE)  # so that a client which takes nothing cannot keep it
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if self._stage is Stage.WHOLE and not self._lines:
            self._enter(Stage.IDLE)
        elif self._stage in (Stage.HEAD, Stage.BODY):
            self._enter(self._stage)  # it is the client's turn

    def _refuse(self, problem: Fault, cause: str) -> None:
        """Say why, and listen no more. In the middle of an answer, or before one, there is no place for words."""
        self._shared.observer.connection_dropped(cause)
        alone = self._stage is Stage.BODY and len(self._lines) == 1 and not self.cycle.response_started
        self._enter(Stage.DEAF)
        if self._lines and not alone:
            self.transport.close()
            return
        for line in self._lines:
            line.lost()
        self.transport.write(refusal(problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _too_large(self) -> Fault:
        limits = self._shared.limits
        return fault(
            "head_too_large",
            f"the head of a request has at most {limits.headers} headers, {limits.line_bytes} bytes a line,"
            f" {limits.head_bytes} bytes in all",
        )

    # -- time -------------------------------------------------------------------------------------------------------------

    def _enter(self, stage: Stage) -> None:
        limits = self._shared.limits
        if stage is not self._stage:
            self._received = 0
        self._stage = stage
        self._since = self.loop.time()
        allowed = math.inf
        if stage is Stage.HEAD and not self._lines:
            allowed = limits.head_seconds
        elif stage is Stage.BODY and len(self._lines) <= 1:
            allowed = limits.body_seconds
        elif stage is Stage.IDLE:
            allowed = self._shared.idle_seconds
        elif stage is Stage.DEAF:
            allowed = LINGER
        self.due = self._since + allowed

    def overdue(self, now: float) -> None:
        """The client has had its time. Called by the one timer of all connections."""
        match self._stage:
            case Stage.HEAD if not self._received:
                self._shared.observer.connection_dropped("head_timeout")
                self.transport.abort()  # it has asked nothing, so there is nothing to answer
            case Stage.HEAD:
                seconds = f"{self._shared.limits.head_seconds:g} s"
                self._refuse(
                    fault("request_timeout", f"the head of the request took longer than {seconds}"), "head_timeout"
                )
            case Stage.BODY:
                self._overdue_body(now)
            case Stage.WHOLE:
                pass
            case Stage.IDLE | Stage.DEAF:
                self._leave(now)

    def _overdue_body(self, now: float) -> None:
        allowed = self._shared.limits.body_seconds
        if self._lines:
            allowed += self._received / PACE
        if self.flow.read_paused:
            self.flow.resume_reading()  # it was we who took no more
            self.due = now + allowed
        elif now < self._since + allowed:
            self.due = self._since + allowed
        elif not self._lines:
            self._leave(now)  # it was answered long ago
        else:
            told = f"the body took longer than {self._shared.limits.body_seconds:g} s and came slower than {PACE} bytes a second"
            self._refuse(fault("request_timeout", told), "body_timeout")

    def _leave(self, now: float) -> None:
        """Close, but not under a client that is still taking what it was told."""
        left = self.transport.get_write_buffer_size()
        if self._stage is Stage.IDLE and left and left != self._unsent:
            self._unsent = left
            self.due = now + self._shared.idle_seconds
        else:
            self.transport.abort()


def refusal(refused: Fault, retry_after: int = 0) -> bytes:
    """A whole response that says why, for a connection that ends with it."""
    status = TABLE[refused.code].status
    request_id = new_request_id()
    body = problem(refused, request_id)
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\ncache-control: no-store\r\n%b"
        b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
    ) % (
        status,
        HTTPStatus(status).phrase.encode(),
        len(body),
        b"retry-after: %d\r\n" % retry_after if retry_after else b"",
        request_id.encode(),
        body,
    )
