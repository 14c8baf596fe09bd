"""The listening socket: bound by us, because the options of every connection are inherited from it."""

from __future__ import annotations

import resource
import socket

KiB = 1024

PATIENCE = 22
"""Seconds after which the kernel gives up on a client that takes nothing: a little longer than `limits.stall`, which says so in the
log, and little enough that a client that vanished just after a heartbeat is gone within 40 s."""


def listen(host: str, port: int, *, send_buffer: int = 64 * KiB, patience: int = PATIENCE) -> socket.socket:
    """A listening socket whose connections push back early. Raises `OSError` where the address is taken or not ours.

    Accepted sockets inherit the options. With Linux's own buffers megabytes of small events vanish into the kernel before
    a write ever waits, a client that vanished is missed after a quarter of an hour, and after two hours where nothing is
    being said to it (tcp(7): TCP_USER_TIMEOUT, TCP_KEEPIDLE).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, value in (
            ("TCP_USER_TIMEOUT", 1000 * patience),
            ("TCP_KEEPIDLE", max(1, patience // 3)),
            ("TCP_KEEPINTVL", max(1, patience // 3)),
        ):
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def raise_file_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one, as every server may; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS has a lower limit than the one it tells
            return soft
    return hard
