"""What a client may send over a WebSocket, and how long it may take: the close code, the count, and an end."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from penstock.config.units import Bytes
from tests.clients.raw_client import LineEndedError, RawClient, ResponseHead, raw_client
from tests.server.keyed import ALICE, with_keys
from tests.serving import Served, configured, serving
from tests.waiting import until

KiB = 1024
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One frame of a client (RFC 6455 §5.2)."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mark = 0x80 if masked else 0
    size = len(data)
    if size < 126:
        head = bytes((first, mark | size))
    elif size < 65_536:
        head = bytes((first, mark | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mark | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) + data if masked else data)


async def shaken(raw: RawClient, *, path: str = "/v1/chat/ws", **headers: str) -> ResponseHead:
    key = base64.b64encode(os.urandom(16)).decode()
    given = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    await raw.request(
        "GET", path, headers={**given, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    return await raw.head()


@asynccontextmanager
async def opened(served: Served) -> AsyncGenerator[RawClient]:
    async with raw_client(served.url) as raw:
        assert (await shaken(raw)).status == 101
        yield raw


async def next_frame(raw: RawClient) -> tuple[int, bytes]:
    """Opcode and data of the next frame of the server."""
    first, size = await raw.raw(2)
    if size == 126:
        size = int.from_bytes(await raw.raw(2), "big")
    elif size == 127:
        size = int.from_bytes(await raw.raw(8), "big")
    return first & 0x0F, await raw.raw(size)


async def closed(raw: RawClient) -> int:
    """The code of the close frame that comes, whatever came before it."""
    while True:
        opcode, data = await next_frame(raw)
        if opcode == CLOSE:
            return int.from_bytes(data[:2], "big")


async def ponged(raw: RawClient) -> bool:
    """The socket lives: a command is answered."""
    await raw.send(frame(TEXT, b'{"type":"ping"}'))
    while True:
        opcode, data = await next_frame(raw)
        if opcode == TEXT:
            return bool(json.loads(data)["type"] == "pong")


WRONG: dict[str, tuple[bytes, int, str]] = {
    "a message that is too large": (frame(TEXT, b" " * 200_001), 1009, "message_too_large"),
    "fragments that are too large": (
        frame(TEXT, b" " * 150_000, fin=False) + frame(0, b" " * 150_000),
        1009,
        "message_too_large",
    ),
    "a length of nine exabytes": (b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4), 1009, "message_too_large"),
    "no UTF-8": (frame(TEXT, b"\xff\xfe"), 1007, "bad_utf8"),
    "no UTF-8 over two fragments": (frame(TEXT, b"\xe2", fin=False) + frame(0, b"("), 1007, "bad_utf8"),
    "a reserved bit": (frame(TEXT, b"{}", reserved=4), 1002, "websocket_violation"),
    "a reserved opcode": (frame(3, b"{}"), 1002, "websocket_violation"),
    "no mask": (frame(TEXT, b"{}", masked=False), 1002, "websocket_violation"),
    "a continuation of nothing": (frame(0, b"{}"), 1002, "websocket_violation"),
    "two beginnings": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002, "websocket_violation"),
    "a long ping": (frame(PING, b" " * 126), 1002, "websocket_violation"),
    "a ping in pieces": (frame(PING, b" ", fin=False), 1002, "websocket_violation"),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002, "websocket_violation"),
    "a close with a code nobody may send": (frame(CLOSE, (1005).to_bytes(2, "big")), 1002, "websocket_violation"),
    "a flood of pings": (frame(PING) * 1000, 1008, "control_flood"),
    "a flood of pongs nobody asked for": (frame(PONG) * 1000, 1008, "control_flood"),
    "a flood of fragments of nothing": (frame(TEXT, fin=False) + frame(0, fin=False) * 5000, 1008, "fragment_flood"),
}


@pytest.mark.parametrize(("data", "code", "cause"), WRONG.values(), ids=WRONG)
async def test_whoever_breaks_a_rule_is_told_which_kind_and_is_gone(data: bytes, code: int, cause: str) -> None:
    async with serving(configured(max_body=Bytes(200_000))) as served:
        async with opened(served) as raw, opened(served) as bystander:
            sending = asyncio.ensure_future(raw.send(data))
            assert await closed(raw) == code
            assert served.seen.dropped == [cause]
            sending.cancel()
            await asyncio.wait([sending])
            assert await raw.until_line_ends() in ("fin", "rst")
            assert await ponged(bystander)
        await until("both are gone", lambda: not served.host.server_state.connections)


async def test_pings_at_a_bearable_pace_are_answered(served: Served) -> None:
    async with opened(served) as raw:
        await raw.send(b"".join(frame(PING, b"%d" % n) for n in range(20)))
        assert [await next_frame(raw) for _ in range(20)] == [(PONG, b"%d" % n) for n in range(20)]
        assert await ponged(raw)


async def test_a_message_may_come_in_many_fragments(served: Served) -> None:
    async with opened(served) as raw:
        text = b'{"type":"ping","ref":"r"' + b" " * 100_000 + b"}"
        pieces = [text[at : at + 64] for at in range(0, len(text), 64)]
        await raw.send(frame(TEXT, pieces[0], fin=False))
        await raw.send(b"".join(frame(0, piece, fin=False) for piece in pieces[1:]))
        await raw.send(frame(0))
        assert json.loads((await next_frame(raw))[1]) == {"type": "pong", "ref": "r"}


async def test_nothing_is_compressed(served: Served) -> None:
    async with raw_client(served.url) as raw:
        head = await shaken(raw, Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
        assert (head.status, head.header("sec-websocket-extensions")) == (101, None)


async def test_a_client_without_a_key_has_small_messages_only() -> None:
    async with serving(with_keys()) as served, opened(served) as raw:
        await raw.send(frame(TEXT, b" " * (64 * KiB + 1)))
        assert await closed(raw) == 1009
        assert served.seen.dropped == ["message_too_large"]


async def test_a_client_with_a_key_may_send_as_much_as_over_http() -> None:
    async with serving(with_keys()) as served, raw_client(served.url) as raw:
        assert (await shaken(raw, Authorization=f"Bearer {ALICE}")).status == 101
        await raw.send(frame(TEXT, b'{"type":"ping"}' + b" " * 100 * KiB))
        assert json.loads((await next_frame(raw))[1]) == {"type": "pong"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
async def test_a_handshake_that_is_refused_has_words_and_an_id(
    served: Served, headers: dict[str, str], status: int
) -> None:
    async with raw_client(served.url) as raw:
        head = await shaken(raw, X_Request_Id="mine-1", **headers)
        told = json.loads(await raw.rest())
        assert (head.status, head.header("content-type")) == (status, "application/problem+json")
        assert (head.header("x-request-id"), told["request_id"]) == ("mine-1", "mine-1")
        assert len(told["detail"]) > 15
        assert await raw.until_line_ends() == "fin"


async def test_a_handshake_that_is_answered_has_an_id_too(served: Served) -> None:
    async with raw_client(served.url) as raw:
        assert (await shaken(raw, X_Request_Id="mine-2")).header("x-request-id") == "mine-2"
    async with raw_client(served.url) as raw:
        assert (await shaken(raw)).header("x-request-id") is not None


# -- time -----------------------------------------------------------------------------------------------------------------


async def test_a_ping_goes_out_every_15_seconds_and_its_pong_is_waited_for_20() -> None:
    async with serving() as served, opened(served) as raw:
        served.later(14)
        served.later(16)
        opcode, payload = await next_frame(raw)
        assert opcode == PING
        await raw.send(frame(PONG, payload))
        (connection,) = served.host.server_state.connections
        await until("the pong is there", lambda: connection.pending_ping_payload is None)  # type: ignore[union-attr]
        served.later(14)
        served.later(16)
        assert (await next_frame(raw))[0] == PING
        await until("its kernel has the ping", lambda: not connection._waiting())  # type: ignore[union-attr]
        served.later(35)
        assert served.seen.dropped == []
        served.later(37)
        assert served.seen.dropped == ["ping_timeout"]
        with pytest.raises(LineEndedError):
            await raw.raw(10_000)


async def test_a_message_that_never_ends_is_not_waited_for() -> None:
    async with serving() as served, opened(served) as raw:
        await raw.send(frame(TEXT, b"{", fin=False))
        (connection,) = served.host.server_state.connections
        await until("it has come", lambda: connection._unfinished is not None)  # type: ignore[union-attr]
        served.later(16)
        await raw.send(frame(PONG, (await next_frame(raw))[1]))
        await until("the pong is there", lambda: connection.pending_ping_payload is None)  # type: ignore[union-attr]
        served.later(29)
        assert served.seen.dropped == []
        served.later(60)
        assert await closed(raw) == 1008
        assert served.seen.dropped == ["message_timeout"]


async def test_a_client_that_does_not_answer_its_close_is_not_waited_for() -> None:
    async with serving() as served, opened(served) as raw:
        served.host.server_state.connections.copy().pop().conn.send_close(1000)  # type: ignore[union-attr]
        (connection,) = served.host.server_state.connections
        connection.close_sent = True  # type: ignore[union-attr]
        served.later(16)
        assert not connection.transport.is_closing()
        served.later(27)
        await until("it is gone", lambda: not served.host.server_state.connections)
        assert await raw.until_line_ends() in ("fin", "rst")
