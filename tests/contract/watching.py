"""Stands before an application and holds everything it sends against `protocols/`, whoever asked for it and why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope, Send

from penstock.server.exchange import EXTENSION
from tests.contract.descriptions import OPENAPI, check_answer, document
from tests.contract.frames import messages_in
from tests.contract.validate import (
    CURSOR_KEYS,
    ContractBroken,
    check_body,
    check_cassette,
    check_responses_message,
    check_socket_message,
    check_value,
)

TEMPLATES = {
    path: re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path.replace("{model}", ".+")))
    for path in sorted(document(OPENAPI)["paths"], key=lambda path: ("{" in path, len(path)))
}
STREAMS = {"text/event-stream": "sse", "application/x-ndjson": "ndjson", "text/plain": "text"}


Check = Callable[[str | bytes], None]


class Watched:
    """An application; `broken` gathers what it sent that was never promised. Paths without a description pass."""

    def __init__(self, app: Any):
        self.app = app
        self.broken: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope.get("extensions") or {}
        connection = extensions.get(EXTENSION)
        if scope["type"] == "websocket":
            check = check_responses_message if scope["path"].rstrip("/").endswith("/responses") else AnyDialect().check
            if connection is not None:
                scope["extensions"] = {**extensions, EXTENSION: _SocketLine(self, connection, check)}
            await self.app(scope, receive, _SocketWatch(self, send, check).send)
        elif scope["type"] == "http":
            watch = _AnswerWatch(self, scope, send, connection)
            if connection is not None:
                scope["extensions"] = {**extensions, EXTENSION: watch}
            try:
                await self.app(scope, receive, watch.send)
            finally:
                watch.task_ended()
        else:
            await self.app(scope, receive, send)

    def hold(self, check: Callable[..., None], *arguments: Any) -> None:
        """Run a check and keep what it says."""
        if (problem := _tells(check, *arguments)) is not None:
            self.broken.append(problem)


class _SocketLine:
    """The frames of one WebSocket, on their way past ASGI."""

    def __init__(self, watched: Watched, connection: Any, check: Check):
        self._watched = watched
        self._connection = connection
        self._check = check
        self.transport = connection.transport

    def authenticated(self) -> None:
        self._connection.authenticated()

    def write(self, frames: bytes) -> bool:
        for message in messages_in(frames):
            self._watched.hold(self._check, message)
        return bool(self._connection.write(frames))

    async def drained(self) -> None:
        await self._connection.drained()


class _SocketWatch:
    """The messages of one WebSocket that are sent as ASGI has it."""

    def __init__(self, watched: Watched, send: Send, check: Check):
        self._watched = watched
        self._send = send
        self._check = check

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            text = message.get("text")
            self._watched.hold(self._check, message["bytes"] if text is None else text)
        await self._send(message)


class _AnswerWatch:
    """The answer to one request, by ASGI's messages or past them, on its connection."""

    def __init__(self, watched: Watched, scope: Scope, send: Send, connection: Any):
        self._watched = watched
        self._scope = scope
        self._send = send
        self._connection = connection
        self._kept = False
        self._status = 0
        self._media = ""
        self._body: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._media = dict(message["headers"]).get(b"content-type", b"").decode()
        else:
            self._body.append(message.get("body", b""))
        await self._send(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = 200
        self._media = dict(headers).get(b"content-type", b"").decode()
        self._connection.begin(headers)

    def keep(self) -> None:
        self._kept = True
        self._connection.keep()

    def write(self, body: bytes) -> bool:
        self._body.append(body)
        return bool(self._connection.write(body))

    def end(self, body: bytes) -> None:
        self._body.append(body)
        self._connection.end(body)

    def unwatch(self) -> None:
        self._connection.unwatch()
        if self._kept:
            self._watched.hold(self.check)  # the last thing that is done with a response which outlives its task

    def task_ended(self) -> None:
        if not self._kept:
            self._watched.hold(self.check)

    def check(self) -> None:
        path, method = self._scope["path"].removeprefix(self._scope.get("root_path", "")), self._scope["method"]
        template = next((name for name, form in TEMPLATES.items() if form.fullmatch(path)), None)
        if not self._status or template is None or method == "HEAD":
            return
        if (method, self._status) == ("OPTIONS", 204):
            return  # a preflight; the Fetch standard describes those
        body = b"".join(self._body)
        kind = STREAMS.get(self._media.partition(";")[0])
        options = parse_qs(self._scope["query_string"].decode("latin-1"))
        asked = options.get("dialect", ["native"])[0]
        if self._status == 200 and template.endswith("/cassette"):
            check_cassette(body)
        elif self._status == 200 and kind is not None:
            self._check_stream(template, kind, body, options)
        elif asked in set(CURSOR_KEYS) - {"native"} and self._status == 200 and self._media == "application/json":
            check_value(asked, json.loads(body), "whole")
        elif "dialect" in options and asked in CURSOR_KEYS and self._status >= 400:
            # Whatever route refuses, and why: in the words that were asked for.
            if asked == "native":
                check_answer("POST", "/v1/streams", self._status, self._media, body)
            else:
                check_value(asked, json.loads(body), "refusal")
        else:
            check_answer(method, template, self._status, self._media, body)

    def _check_stream(self, template: str, kind: str, body: bytes, options: dict[str, list[str]]) -> None:
        if kind == "text" and options.get("after", [""])[0].startswith("bytes="):
            return  # it may begin within a character
        dialects = options.get("dialect") or CURSOR_KEYS
        problems = []
        for dialect in dialects:
            problem = _tells(check_body, dialect, kind, body)
            if problem is None:
                return
            problems.append(problem)
        raise ContractBroken(f"a stream of {template} is in no dialect: {problems}")


def _tells(check: Callable[..., None], *arguments: Any) -> str | None:
    """What a check has to say."""
    try:
        check(*arguments)
    except ContractBroken as problem:
        return str(problem)
    return None


class AnyDialect:
    """One WebSocket on which every run may be told in another dialect. A message is likely in that of the one before."""

    def __init__(self) -> None:
        self._latest = "native"

    def check(self, message: str | bytes) -> None:
        problems = []
        for dialect in sorted(CURSOR_KEYS, key=lambda name: name != self._latest):
            problem = _tells(check_socket_message, dialect, message)
            if problem is None:
                self._latest = dialect
                return
            problems.append(problem)
        raise ContractBroken(f"a message in no dialect: {problems}")
