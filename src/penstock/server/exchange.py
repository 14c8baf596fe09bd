"""One HTTP request and its response, over plain ASGI: options, headers, body, disconnect, and cutting the line."""

from __future__ import annotations

import asyncio
import difflib
import re
import secrets
from collections.abc import Callable, Collection
from typing import Protocol
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from penstock.auth.grant import ANYBODY
from penstock.core.errors import Refused

Header = tuple[bytes, bytes]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

NO_STORE: Header = (b"cache-control", b"no-store")

EXTENSION = "penstock.connection"
"""The ASGI extension under which our own host offers a `Connection`."""


def new_request_id() -> str:
    """What a request is called in the log and in the header of its answer: 96 random bits."""
    return f"req_{secrets.token_hex(12)}"


def request_id(given: str) -> str:
    """The id a client or a proxy gave its request, where it can be one; else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else new_request_id()


class Cut(Exception):
    """Raised to end a response without its last chunk under a server that knows no better way."""


class Connection(Protocol):
    """What our host knows of a connection that ASGI has no words for."""

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` once when the client leaves."""

    def unwatch(self) -> None:
        """Call nothing."""

    def begin(self, headers: list[Header]) -> None:
        """Begin a 200 of unknown length, whose head leaves together with the first piece of its body."""

    def keep(self) -> None:
        """The response goes on when the task of its request has ended, and needs nothing of the request any more."""

    def write(self, body: bytes) -> bool:
        """Write a piece of the body of a response that has begun; whether the connection keeps up. An empty piece is its head alone."""

    def end(self, body: bytes) -> None:
        """Write the last piece of the body of a response begun with `begin`."""

    def when_drained(self, room: Callable[[], None]) -> None:
        """Call `room` once when a connection that was behind has room again, or is gone."""

    async def drained(self) -> None:
        """Wait for the same."""

    def progress(self) -> int:
        """A number that is another one as soon as the client has taken a byte."""

    def cut(self) -> None:
        """Write out what is buffered, then end without the zero chunk."""

    def abort(self) -> None:
        """End now, whatever is buffered."""


class Exchange:
    """What a request asks, and how it is answered. `options` are those of the query string, each at most once."""

    __slots__ = (
        "_streaming",
        "_task",
        "_watcher",
        "aborted",
        "access",
        "admitted",
        "connection",
        "grant",
        "headers",
        "method",
        "receive",
        "request_id",
        "request_id_also",
        "scope",
        "send",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope.get("method", "GET")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = request_id(self.header("x-request-id"))
        self.request_id_also = b""
        """The header in which the clients of the dialect that answers look for it, beside `x-request-id`."""
        self.started = self._streaming = False
        self.connection: Connection | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._watcher: asyncio.Task[None] | None = None
        self._task = asyncio.current_task() if self.connection is None else None
        self.aborted = False
        """Whether the server itself ended the connection."""
        self.admitted: tuple[Header, ...] = ()
        """What the gate says to the web page that asked; every response has it."""
        self.grant = ANYBODY
        """What the caller may do."""
        self.access: str | None = None
        """The token of a URL that carries a right."""

    def header(self, name: str) -> str:
        """The value of a header as text; empty where it is missing."""
        value = self.headers.get(name.encode())
        return value.decode("latin-1").strip() if value else ""

    def options(self, known: Collection[str], *, repeated: Collection[str] = ()) -> dict[str, str]:
        """The options of the query string; of a `repeated` one the last. Raises `Refused(unknown_option)`."""
        query: bytes = self.scope["query_string"]
        if not query:
            return {}
        found: dict[str, str] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"this route knows {', '.join(sorted(known)) or 'none'}"
                )
                raise Refused("unknown_option", f"unknown option {name[:64]!r} in the URL; {hint}", param=name[:64])
            if name in found and name not in repeated:
                raise Refused("unknown_option", f"option {name!r} is in the URL twice", param=name)
            found[name] = value
        return found

    async def body(self, limit: int) -> bytes:
        """The request body. Raises `Refused(body_too_large)`, before reading where the length is declared."""
        declared = self.header("content-length")
        if declared.isdecimal() and int(declared) > limit:
            raise Refused("body_too_large", f"the body is {declared} bytes; this route takes {limit:d}")
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise Refused("body_too_large", f"the body is longer than the {limit:d} bytes this route takes")
            if not message.get("more_body", False):
                return b"".join([*pieces, piece]) if pieces else piece
            pieces.append(piece)

    # -- answering -------------------------------------------------------------------------------------------------------

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the status line and headers; the request id is added."""
        self.started = True
        self.headers = {}  # nobody asks any more, and a stream lives long
        given = [*headers, *self.admitted, *self._identity]
        await self._send({"type": "http.response.start", "status": status, "headers": given})

    async def stream(self, headers: list[Header]) -> None:
        """Begin a 200 of unknown length; the request id is added. Where the host can, its head leaves with the first piece."""
        if self.connection is None:
            await self.begin(200, headers)
            return
        self.started = self._streaming = True
        self.headers = {}
        self.connection.begin([*headers, *self.admitted, *self._identity])

    @property
    def _identity(self) -> list[Header]:
        value = self.request_id.encode()
        also = self.request_id_also
        return [(b"x-request-id", value), (also, value)] if also else [(b"x-request-id", value)]

    async def write(self, body: bytes) -> None:
        """Send a piece of the body; waits while the connection is behind."""
        if (connection := self.connection) is None:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        elif not connection.write(body):
            await connection.drained()

    async def end(self, body: bytes = b"") -> None:
        """Send the last piece of the body."""
        if self.connection is not None and self._streaming:
            self.connection.end(body)
            return
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send(self, message: Message) -> None:
        try:
            await self.send(message)
        except OSError:  # how a server of ASGI 2.4 says that nobody is there any more
            raise ClientGone from None

    async def reply(self, status: int, body: bytes, content_type: str, headers: list[Header] | None = None) -> None:
        """A whole response with a known length, which nobody stores unless the headers say otherwise."""
        length = [(b"content-length", str(len(body)).encode())] if status != 204 else []
        kind = [(b"content-type", content_type.encode())] if body else []
        given = headers or []
        stored = any(name == b"cache-control" for name, _ in given)
        await self.begin(status, [*kind, *length, *([] if stored else [NO_STORE]), *given])
        await self.end(b"" if self.method == "HEAD" else body)

    def cut(self) -> None:
        """End the response without its last chunk, so that nobody takes it for complete. Raises `Cut` where only
        an exception can do that."""
        if self.connection is None:
            raise Cut
        self.connection.cut()

    def abort(self) -> None:
        """End the connection now; where the server offers no way, the write that is stuck is given up with the task."""
        self.aborted = True
        if self.connection is not None:
            self.connection.abort()
        elif self._task is not None:
            self._task.cancel()

    @property
    def progress(self) -> Callable[[], int] | None:
        """How far the client has taken what was written, where the server can tell."""
        return self.connection.progress if self.connection is not None else None

    # -- the client leaves -------------------------------------------------------------------------------------------------

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` when the client leaves, from now until `unwatch`. The body must have been read."""
        if self.connection is not None:
            self.connection.watch(gone)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._await_disconnect(gone))

    async def _await_disconnect(self, gone: Callable[[], None]) -> None:
        message: Message = {}
        while message.get("type") != "http.disconnect":
            message = await self.receive()
        gone()

    def unwatch(self) -> None:
        """The end of the connection is nobody's business any more."""
        if self.connection is not None:
            self.connection.unwatch()
        elif self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None


class ClientGone(Exception):
    """The client left before it had sent its request, or had the answer."""
