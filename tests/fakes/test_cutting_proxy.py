"""The proxy lets through exactly as many bytes as it says, then breaks the line the way it says."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from tests.fakes.cutting_proxy import PASS, CuttingProxy, How, Plan
from tests.waiting import until

STREAM = bytes(range(256)) * 4096  # 1 MiB: more than one piece, and every position recognizable


@dataclass
class Source:
    """A server that answers any line with STREAM and stays, counting what it could write and seeing who left."""

    port: int
    written: int = 0
    asked: bytes = b""
    leaving: str = ""
    writer: asyncio.StreamWriter | None = None

    def blocked(self) -> bool:
        return self.writer is not None and self.writer.transport.get_write_buffer_size() > 0


@pytest.fixture
async def source() -> AsyncGenerator[Source]:
    served = Source(port=0)
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        served.writer = writer
        try:
            served.asked = await reader.readline()
            for start in range(0, len(STREAM), 4096):
                writer.write(STREAM[start : start + 4096])
                await writer.drain()
                served.written += 4096
            served.leaving = "eof" if await reader.read() == b"" else "more"
        except ConnectionError:
            served.leaving = "reset"
        finally:
            writer.close()
            gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()
    if served.asked:
        await gone.wait()
    await server.wait_closed()


async def ask(proxy: CuttingProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"go\n")
    return reader, writer


async def read_out(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """Everything that came, and how it ended."""
    got = b""
    try:
        while piece := await reader.read(65_536):
            got += piece
    except ConnectionResetError:
        return got, "rst"
    return got, "fin"


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("offset", [0, 1, 4095, 65_536, 65_537, 700_001])
async def test_it_cuts_after_exactly_that_many_bytes(source: Source, offset: int, how: How) -> None:
    async with CuttingProxy(source.port, plans=[Plan(cut_after=offset, how=how)]).listening() as proxy:
        reader, writer = await ask(proxy)
        got, ended = await read_out(reader)
        writer.close()
        await proxy.links[0].closed.wait()
    assert (len(got), ended) == (offset, how)
    assert got == STREAM[:offset]
    assert proxy.links[0].passed == offset


async def test_each_connection_has_its_own_plan_and_later_ones_pass(source: Source) -> None:
    async with CuttingProxy(
        source.port, plans=lambda number: Plan(cut_after=3) if number == 0 else PASS
    ).listening() as proxy:
        first, writer = await ask(proxy)
        assert await read_out(first) == (STREAM[:3], "rst")
        writer.close()
        second, writer = await ask(proxy)
        assert await second.readexactly(len(STREAM)) == STREAM
        writer.close()
        await proxy.links[1].closed.wait()
    assert len(proxy.links) == 2
    assert source.leaving == "eof"


async def test_the_server_sees_a_cut_too(source: Source) -> None:
    async with CuttingProxy(source.port).listening() as proxy:
        reader, writer = await ask(proxy)
        await reader.readexactly(len(STREAM))
        await proxy.links[0].cut("rst")
        assert await read_out(reader) == (b"", "rst")
        writer.close()
    assert source.leaving == "reset"


async def test_a_stalled_link_fills_the_servers_buffers_until_it_is_resumed(source: Source) -> None:
    proxy = CuttingProxy(source.port, plans=[Plan(stall_after=10)], receive_buffer=4096)
    async with proxy.listening():
        reader, writer = await ask(proxy)
        assert await reader.readexactly(10) == STREAM[:10]
        await proxy.links[0].stalled.wait()
        await until("the server can write no more", source.blocked)
        assert proxy.links[0].passed == 10
        assert source.written < len(STREAM) // 2
        proxy.links[0].resume()
        assert await reader.readexactly(len(STREAM) - 10) == STREAM[10:]
        writer.close()
        await proxy.links[0].closed.wait()
    assert source.written == len(STREAM)


async def test_a_server_that_refuses_closes_the_client() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with CuttingProxy(unheard.getsockname()[1]).listening() as proxy:
            reader, writer = await ask(proxy)
            assert (await read_out(reader))[0] == b""
            writer.close()
    assert proxy.links == []
