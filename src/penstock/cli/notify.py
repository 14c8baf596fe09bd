"""What a service manager wants to know of the server, as sd_notify(3) has it; without one nothing is said."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Tell the manager behind `NOTIFY_SOCKET`, in lines such as `READY=1`; one that does not listen is no reason to fail."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        try:
            # A name that begins with @ is of Linux's abstract namespace (unix(7)).
            manager.sendto("\n".join(lines).encode(), "\0" + path[1:] if path[0] == "@" else path)
        except OSError:
            return
