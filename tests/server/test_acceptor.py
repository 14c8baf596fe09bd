"""How many connections there may be, and what becomes of those that are too many."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from penstock.core.observer import Observer
from penstock.server.connections import ConnectionLimits, Connections
from tests.cli import serving as process
from tests.clients.raw_client import ABORTIVE, RawClient, raw_client
from tests.server.reading import websocket
from tests.serving import Served, configured, serving
from tests.waiting import until

FILES = 60


async def answered(raw: RawClient) -> int:
    await raw.request("GET", "/healthz")
    status = (await raw.head()).status
    await raw.rest()
    return status


async def turned_away(raw: RawClient) -> tuple[int, str, str | None]:
    """What is said before anything was asked."""
    head = await raw.head()
    told = json.loads(await raw.rest())
    assert head.header("connection") == "close"
    assert head.header("x-request-id") == told["request_id"]
    return head.status, told["code"], head.header("retry-after")


@asynccontextmanager
async def crowd(url: str, count: int) -> AsyncGenerator[list[RawClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(raw_client(url)) for _ in range(count)]


async def test_one_connection_too_many_is_told_so_and_when_to_come_back() -> None:
    async with serving(configured(max_connections=3)) as served:
        async with crowd(served.url, 3) as within:
            assert [await answered(raw) for raw in within] == [200, 200, 200]
            async with raw_client(served.url) as raw:
                assert await turned_away(raw) == (503, "overloaded", "2")
            assert [await answered(raw) for raw in within] == [200, 200, 200]
            assert served.seen.turned_away == ["full"]
        await until("they are gone", lambda: not served.host.server_state.connections)
        async with raw_client(served.url) as raw:
            assert await answered(raw) == 200


async def test_one_address_has_so_many_and_others_have_room() -> None:
    async with serving(configured(max_connections_per_address=2)) as served:
        async with crowd(served.url, 2) as within:
            assert [await answered(raw) for raw in within] == [200, 200]
            async with raw_client(served.url) as raw:
                assert await turned_away(raw) == (429, "too_many_connections", "2")
            async with from_elsewhere(served) as raw:
                assert await answered(raw) == 200
        await until("they are gone", lambda: not served.host.server_state.connections)
        async with raw_client(served.url) as raw:
            assert await answered(raw) == 200
        assert served.seen.turned_away == ["address"]


async def test_the_connections_of_a_proxy_are_those_of_many() -> None:
    config = configured(max_connections_per_address=2, trusted_proxies=("127.0.0.0/31",))
    async with serving(config) as served, crowd(served.url, 5) as proxied:
        assert [await answered(raw) for raw in proxied] == [200] * 5


@asynccontextmanager
async def from_elsewhere(served: Served) -> AsyncGenerator[RawClient]:
    """A client with another address of this machine."""
    sock = socket.socket()
    sock.setblocking(False)
    with sock:
        try:
            sock.bind(("127.0.0.2", 0))
        except OSError:
            sock.bind(("127.0.0.1", 0))
            pytest.skip("this machine has one loopback address")
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
        yield RawClient(sock, f"127.0.0.1:{served.port}")


async def test_a_client_that_was_gone_before_anybody_looked_is_not_counted_for_ever() -> None:
    async with serving(configured(max_connections_per_address=2)) as served:
        for _ in range(2):  # while the loop of the server stands still
            with socket.create_connection(("127.0.0.1", served.port)) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
        connections = served.host.server_state
        assert isinstance(connections, Connections)

        async def room() -> bool:
            async with raw_client(served.url) as again:
                return await answered(again) == 200

        await until("there is room again", room)
        async with websocket(served.ws_url):
            assert connections.at("127.0.0.1") in (1, 2)  # the one before may be just leaving
        await until("it is gone, too", lambda: connections.count == 0)
        assert connections.by_address == {}


async def test_ipv4_clients_of_a_socket_for_both_families_have_their_own_addresses() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no socket for both families")
    config = configured(max_connections_per_address=1)
    async with serving(config, address="::") as served, raw_client(served.url) as raw:
        assert await answered(raw) == 200
        async with from_elsewhere(served) as other:
            assert await answered(other) == 200
        config = configured(max_connections_per_address=1, trusted_proxies=("127.0.0.1",))
    async with serving(config, address="::") as served, crowd(served.url, 2) as proxied:
        assert [await answered(raw) for raw in proxied] == [200, 200]


def test_addresses_of_one_ipv6_network_are_one() -> None:
    limits = ConnectionLimits(most_per_address=1, proxies=(ip_network("fd00::/8"),))
    connections = Connections(limits, Observer())
    connections.arrived("2001:db8::1")
    connections.arrived("2001:db8::2%eth0")
    connections.arrived("192.0.2.1")
    assert [connections.at(a) for a in ("2001:db8::ffff", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2")] == [2, 0, 1, 0]
    connections.left("2001:db8::2%eth0")
    connections.left("192.0.2.1")
    assert connections.by_address == {"2001:db8::/64": 1}
    assert connections.is_proxy("fd12::1")
    assert not connections.is_proxy("2001:db8::1")


async def test_with_few_descriptors_the_last_fifth_is_kept_and_those_inside_go_on(tmp_path: Path) -> None:
    limited = ("sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh", *process.PENSTOCK)
    with process.starting(tmp_path, "--model", "demo", penstock=limited) as served:
        await served.ready()
        async with raw_client(served.url) as reading, AsyncExitStack() as stack:
            await reading.request(
                "POST", "/v1/chat/chunked", body={"prompt": "x", "demo": {"rate": 20, "tokens": 100_000}}
            )
            assert (await reading.head()).status == 200
            inside: list[RawClient] = []
            for _ in range(2 * FILES):
                raw = await stack.enter_async_context(raw_client(served.url))
                await raw.request("GET", "/healthz")
                head = await raw.head()
                await raw.rest()
                if head.status != 200:
                    assert (head.status, head.header("retry-after")) == (503, "2")
                else:
                    inside.append(raw)
            assert 20 < len(inside) < 0.8 * FILES
            assert [await answered(raw) for raw in inside] == [200] * len(inside)
            assert len(await reading.body(20)) == 20
        async with raw_client(served.url) as raw:

            async def room() -> bool:
                async with raw_client(served.url) as again:
                    return await answered(again) == 200

            await until("there is room again", room)


async def test_a_trouble_with_one_connection_keeps_nobody_from_their_time() -> None:
    class Broken:
        due = 0.0

        def overdue(self, now: float) -> None:
            raise ZeroDivisionError

    async with serving() as served, raw_client(served.url) as raw:
        await until("it is in", lambda: bool(served.host.server_state.connections))
        broken = Broken()
        served.host.server_state.connections.add(broken)  # type: ignore[arg-type]
        served.later(11)
        served.host.server_state.connections.remove(broken)  # type: ignore[arg-type]
        assert await raw.until_line_ends() in ("fin", "rst")
        assert [type(each) for each in served.seen.troubles] == [ZeroDivisionError]


async def test_time_is_looked_at_without_being_asked() -> None:
    async with serving(real_time=True) as served, raw_client(served.url) as raw:
        await until("it is in", lambda: bool(served.host.server_state.connections))
        for connection in served.host.server_state.connections:
            connection.due = 0.0  # type: ignore[union-attr]
        assert await raw.until_line_ends() in ("fin", "rst")
