"""The listening socket: bound by us, because the options of every connection are inherited from it."""

from __future__ import annotations

import socket

KiB = 1024

USER_TIMEOUT = 30_000
"""Milliseconds after which the kernel gives up on data that nobody acknowledges (tcp(7), TCP_USER_TIMEOUT)."""


def listen(host: str, port: int, *, send_buffer: int = 64 * KiB) -> socket.socket:
    """A listening socket whose connections push back early. Raises `OSError` where the address is taken or not ours.

    Accepted sockets inherit the options. With Linux's own buffers megabytes of small events vanish into the kernel before
    a write ever waits.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
