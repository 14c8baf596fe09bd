"""Any bytes, as HTTP or as WebSocket frames: no 5xx, no crash, nobody left behind, and the next client is served."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from tests.clients.raw_client import LineEndedError, RawClient, raw_client
from tests.server.test_websocket_limits import frame, opened
from tests.serving import serving

TOKENS = [
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"PRI * ", b"/", b"/healthz", b"/v1/streams", b"/v1/chat/ws", b"*",
    b"http://localhost/healthz", b"?a=%ff", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"\r\n", b"\r", b"\n", b"\x00",
    b"Host: localhost\r\n", b"Host: x/y\r\n", b"Content-Length: 2\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"Sec-WebSocket-Version: 13\r\n", b"{}", b"2\r\n{}\r\n", b"0\r\n\r\n",
    b": ", b"\xff\xfe", b"X: " + b"y" * 9000 + b"\r\n",
]  # fmt: skip

HEADS = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=40), max_size=16).map(b"".join)
FRAMES = st.lists(
    st.builds(
        frame,
        st.integers(0, 15),
        st.binary(max_size=200),
        fin=st.booleans(),
        masked=st.sampled_from([True, True, True, False]),
        reserved=st.sampled_from([0, 0, 0, 0, 1, 4]),
    )
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)


def run(told: list[bytes], *, sockets: bool) -> None:
    """One server, all of these one after the other, each in two pieces; then the server answers as ever."""

    async def all_of_them() -> None:
        async with serving() as served:
            for data in told:
                async with opened(served) if sockets else raw_client(served.url) as raw:
                    await say(raw, data)
                served.later(11)
            async with raw_client(served.url) as raw:
                await raw.request("GET", "/healthz")
                assert (await raw.head()).status == 200
            assert served.seen.troubles == []

    asyncio.run(all_of_them())


async def say(raw: RawClient, data: bytes) -> None:
    """Say it, say that this is all, and read until the server ends it too."""
    heard = bytearray()
    try:
        await raw.send(data[: len(data) // 2])
        await asyncio.sleep(0)
        await raw.send(data[len(data) // 2 :])
        raw.half_close()
        while True:
            heard += await raw.raw(1)
    except (LineEndedError, OSError):
        pass  # the server ended it first, or the same moment
    assert b"HTTP/1.1 5" not in heard


@given(st.lists(HEADS, min_size=1, max_size=20))
@example(
    [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET / HTTP/1.1\r\n\r\n"]
)
def test_any_bytes_as_http(told: list[bytes]) -> None:
    run(told, sockets=False)


@given(st.lists(FRAMES, min_size=1, max_size=20))
def test_any_bytes_as_frames(told: list[bytes]) -> None:
    run(told, sockets=True)
