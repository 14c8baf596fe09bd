"""How far a client has taken what was written to it, as the kernel knows."""

from __future__ import annotations

import asyncio
import socket
import sys

BYTES_ACKED = slice(120, 128)
"""Where `tcpi_bytes_acked` is in Linux's `struct tcp_info` (linux/tcp.h), in every kernel since 4.2."""


def progress(transport: asyncio.BaseTransport) -> int:
    """A number that is another one as soon as the client's kernel has acknowledged a byte.

    Where the kernel does not tell, what still waits in this process, which shows it too as long as that is more than nothing.
    """
    if transport.is_closing():
        return 0  # its socket may be no more, and the number of it another's
    if sys.platform == "linux":
        known = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        if len(known) == BYTES_ACKED.stop:
            return int.from_bytes(known[BYTES_ACKED], sys.byteorder)
    return transport.get_write_buffer_size() if isinstance(transport, asyncio.WriteTransport) else 0
