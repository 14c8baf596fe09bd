"""Who opens a WebSocket: the key is in a header, in a subprotocol or in the first message; a page is looked at before all else.

Until then messages are short (`max_message_before_key`), and the first one has ten seconds.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from starlette.types import Receive, Scope, Send

from penstock.auth.grant import Grant
from penstock.core.body import read_object, take
from penstock.core.errors import TABLE, Refused
from penstock.core.events import Fault
from penstock.server.exchange import EXTENSION
from penstock.server.gate import Gate, credential

SUBPROTOCOL = "penstock.v1"
KEY = "penstock.key."
"""What a subprotocol begins with that carries a key in base64url; a browser can set nothing else. It is never the one chosen."""

PATIENCE = 10.0
"""Seconds until the first message."""

_encode = msgspec.json.Encoder().encode


@runtime_checkable
class Limited(Protocol):
    """What our host knows of a socket that ASGI has no words for."""

    def authenticated(self) -> None:
        """Somebody answers for this client: messages may be as large as any body."""


async def opened(
    gate: Gate,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    refused: Callable[[str], None],
    longest: int,
    late: bool = True,
) -> Grant | None:
    """Answer the handshake; what the client may do, or None where it left or was sent away after it.

    A key may come `late` in the first message, which has `longest` bytes at most, where the protocol has words for that.
    Raises `Refused` while the handshake can still be refused; later `refused` is told with which code of the table it was.
    """
    headers = dict(scope["headers"])
    gate.greet(headers)
    offered: Sequence[str] = scope.get("subprotocols") or []
    shown = credential(headers) or _offered_key(offered)
    late = late and not shown and gate.asks_later
    grant = None if late else await gate.enter(scope, shown)
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
    if grant is None:
        grant = await _introduced(gate, scope, receive, send, refused, longest)
    connection = (scope.get("extensions") or {}).get(EXTENSION)
    if grant is not None and isinstance(connection, Limited):
        connection.authenticated()
    return grant


async def _introduced(
    gate: Gate, scope: Scope, receive: Receive, send: Send, refused: Callable[[str], None], longest: int
) -> Grant | None:
    """The first message is `{"type": "authenticate", "key": …}`, and is answered with `ok`, or with an error and the end."""
    ref: str | None = None
    try:
        try:
            async with asyncio.timeout(PATIENCE):
                message = await receive()
        except TimeoutError:
            raise Refused("unauthenticated", f"no key came within {PATIENCE:g} seconds") from None
        if message["type"] == "websocket.disconnect":
            return None
        body = (message.get("text") or "").encode() or message.get("bytes") or b""
        if len(body) > longest:
            await send({"type": "websocket.close", "code": 1009, "reason": "message too big"})
            return None
        key, ref = _read(body)
        grant = await gate.enter(scope, key)
    except Refused as refusal:
        refused(refusal.fault.code)
        await _refuse(send, refusal.fault, ref)
        return None
    await _say(send, {"type": "ok", "ref": ref})
    return grant


def _read(body: bytes) -> tuple[str, str | None]:
    command = read_object(body)
    ref = take(command, "ref", str, None)
    if take(command, "type", str, "") != "authenticate":
        raise Refused(
            "unauthenticated",
            'this server wants a key: begin with {"type": "authenticate", "key": KEY}, or send it '
            "in the header or the subprotocol of the handshake",
        )
    return take(command, "key", str, "") or "", ref


async def _refuse(send: Send, fault: Fault, ref: str | None) -> None:
    told = {"type": "error", "ref": ref, "code": fault.code, "message": fault.message, "retryable": fault.retryable}
    await _say(send, {**told, "retry_after": fault.retry_after})
    await send({"type": "websocket.close", "code": TABLE[fault.code].close, "reason": fault.code})


async def _say(send: Send, message: dict[str, object]) -> None:
    text = _encode({name: value for name, value in message.items() if value is not None}).decode()
    await send({"type": "websocket.send", "text": text})


def _offered_key(offered: Sequence[str]) -> str:
    """The key among the subprotocols; empty where there is none. One that cannot be read stands for itself, and is refused."""
    for name in offered:
        if name.startswith(KEY):
            coded = name.removeprefix(KEY)
            try:
                return urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode("latin-1") or name
            except binascii.Error:
                return name
    return ""
