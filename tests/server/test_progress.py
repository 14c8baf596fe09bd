"""How far a client has taken what was written to it, on either event loop."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from penstock.server.progress import progress
from tests.clients.raw_client import ABORTIVE
from tests.waiting import until


class Accepted(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def taken_and_reset() -> int:
    """What is told of a client that has taken something and is gone."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    transport, protocol = await loop.connect_accepted_socket(Accepted, accepted)
    before = progress(transport)
    transport.write(b"x" * 1000)
    await until("the client's kernel has taken it", lambda: progress(transport) > before)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
    client.close()
    await protocol.lost.wait()
    return progress(transport)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_is_gone_takes_nothing_and_whoever_asks_is_told_so(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(taken_and_reset()) == 0
