"""A TCP proxy that cuts a connection after an exact number of server→client bytes, or lets it stall.

It works on bare sockets: nothing is buffered here except the piece in hand, so a stalled link fills the
server's own buffers and nothing else. What is cut is cut in both directions.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from tests.waiting import until

PIECE = 65_536
ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER on with zero seconds: close() sends RST

How = Literal["rst", "fin"]


@dataclass(frozen=True)
class Plan:
    """The fate of one connection; byte counts are of server→client data.

    `cut_after` 0 cuts when the first byte comes, so the request has reached the server; None never cuts.
    `stall_after` stops reading from the server there until `resume()`.
    """

    cut_after: int | None = None
    how: How = "rst"
    stall_after: int | None = None


PASS = Plan()


class LineCutError(Exception):
    """The plan, or the test, says that the line is cut now."""


class Link:
    """One proxied connection. `stalled` is set when it stopped reading by plan, `closed` when both sockets are."""

    def __init__(self, client: socket.socket, server: socket.socket, plan: Plan) -> None:
        self._client, self._server, self._plan = client, server, plan
        self._how: How = "fin"
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.passed = 0
        self.stalled = asyncio.Event()
        self.closed = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run())

    def stall(self) -> None:
        """Let nothing more through to the client, and stop reading from the server after the piece in hand."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    async def cut(self, how: How = "rst") -> None:
        """Cut now, wherever the stream is."""
        self._how = how
        self.task.cancel()
        await asyncio.wait((self.task,))

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._down())
                directions.create_task(self._up())
        except* LineCutError:
            self._how = self._plan.how
        except* OSError:
            self._how = "rst"
        finally:
            for sock in (self._client, self._server):
                if self._how == "rst":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
                sock.close()
            self.closed.set()

    async def _down(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._flowing.wait()
            data = await loop.sock_recv(self._server, self._appetite())
            await self._flowing.wait()
            if not data:
                break
            allowed = len(data) if self._plan.cut_after is None else self._plan.cut_after - self.passed
            await loop.sock_sendall(self._client, data[:allowed])
            self.passed += min(len(data), allowed)
            if self.passed == self._plan.cut_after:
                # An RST throws away what the client's kernel has not acknowledged yet.
                await until("the client's kernel has every byte", lambda: delivered(self._client))
                raise LineCutError
            if self.passed == self._plan.stall_after:
                self._flowing.clear()
                self.stalled.set()
        self._client.shutdown(socket.SHUT_WR)

    def _appetite(self) -> int:
        before_stall = (self._plan.stall_after or 0) - self.passed
        return min(PIECE, before_stall) if before_stall > 0 else PIECE

    async def _up(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._client, PIECE):
            await loop.sock_sendall(self._server, data)
        self._server.shutdown(socket.SHUT_WR)


class CuttingProxy:
    """Listens in front of `127.0.0.1:port`; the n-th connection (from 0) gets the n-th plan, later ones pass.

    `receive_buffer` (bytes) makes the kernel's part of the pipe small, so that a stall soon reaches the server.
    """

    def __init__(
        self,
        port: int,
        *,
        plans: Sequence[Plan] | Callable[[int], Plan] = (),
        receive_buffer: int | None = None,
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._plans = plans
        self._receive_buffer = receive_buffer
        self._faults: list[Exception] = []
        self.links: list[Link] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["CuttingProxy"]:
        """Serve inside the block; afterwards every link is cut, and a fault of the proxy's own is raised."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            accepting = asyncio.get_running_loop().create_task(self._accept(listener))
            accepting.add_done_callback(self._ended)
            try:
                yield self
            finally:
                accepting.cancel()
                await asyncio.wait((accepting,))
                for link in self.links:
                    await link.cut()
        if self._faults:
            raise ExceptionGroup("the cutting proxy's own faults", self._faults)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            server = socket.socket()
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._receive_buffer is not None:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._receive_buffer)
            try:
                await loop.sock_connect(server, self._target)
            except ConnectionError:
                client.close()
                server.close()
                continue
            link = Link(client, server, self._plan_of(len(self.links)))
            self.links.append(link)
            link.task.add_done_callback(self._ended)

    def _plan_of(self, number: int) -> Plan:
        if callable(self._plans):
            return self._plans(number)
        return self._plans[number] if number < len(self._plans) else PASS

    def _ended(self, task: asyncio.Task[None]) -> None:
        fault = None if task.cancelled() else task.exception()
        if isinstance(fault, Exception):
            self._faults.append(fault)


def delivered(sock: socket.socket) -> bool:
    """Whether the other kernel has acknowledged every byte written, or never will."""
    (waiting,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))
    return bool(waiting == 0 or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)
