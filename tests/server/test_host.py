"""Our host around uvicorn: the options of its sockets, and how it goes when it is told to."""

import asyncio
import errno
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.server.listener import listen
from tests.cli import serving as process
from tests.cli.serving import HALVES
from tests.clients.raw_client import raw_client
from tests.loopback import http_client
from tests.server.reading import Messages, websocket
from tests.serving import Served
from tests.waiting import CEILING, until

BODY = {"prompt": "x"}


async def test_every_connection_pushes_back_early_and_is_given_up_in_time(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("GET", "/healthz")
        await raw.head()
        (connection,) = served.host.server_state.connections
        transport: Any = connection.transport
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in (64 * 1024, 128 * 1024)  # Linux doubles it
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 22_000
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
        assert transport.get_write_buffer_limits()[1] == 16 * 1024


async def test_a_websocket_inherits_the_small_write_buffer(served: Served) -> None:
    async with websocket(served.ws_url):
        (connection,) = served.host.server_state.connections
        transport: Any = connection.transport
        assert transport.get_write_buffer_limits()[1] == 16 * 1024


def test_a_port_that_is_taken_is_an_error_and_leaves_no_socket_open() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_ipv6_is_listened_to_where_it_is_asked_for() -> None:
    try:
        with listen("::1", 0) as listener:
            assert listener.family == socket.AF_INET6
    except OSError as problem:
        if problem.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # a machine without IPv6
            raise


@pytest.fixture
def draining(tmp_path: Path) -> Iterator[process.Served]:
    """A server in a process of its own that lets its runs end in peace, and a source that waits for the file `go`."""
    (tmp_path / "source.py").write_text(HALVES)
    environ = {"PYTHONPATH": str(tmp_path), "PENSTOCK_SERVER__DRAIN": "60", "PENSTOCK_SERVER__DRAIN_ACCEPT": "0"}
    with process.starting(tmp_path, "--model", "source:answer", environ=environ) as served:
        yield served


async def test_the_first_signal_drains_begins_nothing_new_and_lets_live_answers_end(
    draining: process.Served, tmp_path: Path
) -> None:
    await draining.ready()
    async with (
        raw_client(draining.url) as raw,
        http_client(draining.url) as client,
    ):
        await raw.request("POST", "/v1/chat/chunked", body=BODY)
        await raw.head()
        assert await raw.body(4) == b"half"
        run = (await client.get("/v1/streams")).json()["streams"][0]["id"]
        draining.process.send_signal(signal.SIGTERM)

        async def unready() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await until("it says that it drains", unready)
        refused = await client.post("/v1/streams", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "interrupted")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get(f"/v1/streams/{run}")).json()["state"] == "speaking"
        (tmp_path / "go").touch()
        assert await raw.rest() == b" and half"
        assert raw.ended == "complete"
        await until("the process has ended", lambda: draining.ended)


async def test_the_second_signal_ends_everything_at_once_and_tells_the_readers(draining: process.Served) -> None:
    await draining.ready()
    async with (
        raw_client(draining.url) as lines,
        raw_client(draining.url) as text,
        websocket(draining.url.replace("http", "ws") + "/v1/chat/ws") as socket,
    ):
        await lines.request("POST", "/v1/streams", headers={"Accept": "application/x-ndjson"}, body=BODY)
        await text.request("POST", "/v1/chat/chunked", body=BODY)
        await socket.ask(type="start", ref="1", request=BODY)
        await lines.head()
        await lines.body_until(b'"half"')
        await text.head()
        assert await text.body(4) == b"half"
        await socket.until("delta")
        draining.process.send_signal(signal.SIGTERM)
        await draining_now(draining.url)
        draining.process.send_signal(signal.SIGTERM)
        last = json.loads((await lines.rest()).splitlines()[-1])
        assert (last["type"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "interrupted", True)
        assert await text.rest() == b""
        assert text.ended == "cut"
        assert await code_after(socket, "failed") == 1012
        await until("the process has ended", lambda: draining.ended)


async def draining_now(url: str) -> None:
    async with http_client(url) as client:

        async def unready() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await until("it says that it drains", unready)


async def code_after(socket: Messages, last: str) -> int:
    """The close code that comes after a message of this type."""
    await socket.until(last)
    await asyncio.wait_for(socket.connection.wait_closed(), CEILING)
    assert socket.connection.protocol.close_rcvd is not None
    return int(socket.connection.protocol.close_rcvd.code)
