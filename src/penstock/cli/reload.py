"""SIGHUP: the configuration is read anew while the server runs. One that cannot be served leaves everything as it was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli import prepare
from penstock.cli.notify import notify

if TYPE_CHECKING:
    from penstock.config.model import Config
    from penstock.server.app import App
    from penstock.server.host import Host

FIXED = (
    ("server", "host"),
    ("server", "port"),
    ("server", "path_prefix"),
    ("server", "socket_send_buffer"),
    ("log", "format"),
    ("metrics", "enabled"),
    ("metrics", "host"),
    ("metrics", "port"),
)
"""What stays as it was at the start, whatever the file says later."""


class Reload:
    """What `host` does on SIGHUP. `file` and `given` are the command line's, `started` is what they came to at the start."""

    def __init__(self, app: App, *, file: Path | None, given: Mapping[str, object], started: Config):
        self._app = app
        self._file = file
        self._given = given
        self._started = started
        self._found = prepare.chosen(file)
        self._terminal = Terminal()

    def __call__(self, host: Host) -> None:
        if self._terminal.closed:
            host.handle_exit(signal.SIGINT, None)
            return
        # systemd wants to know since when, by its clock.
        notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        self._reload(host)
        notify("READY=1")

    def _reload(self, host: Host) -> None:
        from penstock.telemetry import logs

        try:
            config = self.read()
            tls = prepare.certificate(config)
            prepare.rebuild(self._app, config)
        except prepare.Misconfigured as wrong:
            logs.not_reloaded(wrong.message)
            return
        logs.configure(self._started.log.format, config.log.level)
        host.drain, host.accept = float(config.server.drain), float(config.server.drain_accept)
        host.renew(tls)
        logs.reloaded(unchanged=[".".join(key) for key in FIXED if _at(self._started, key) != _at(config, key)])

    def read(self) -> Config:
        """The new configuration. Raises `Misconfigured` for one that may not take the place of what the server has."""
        from penstock.config.load import is_loopback

        if self._found is not None and not self._found.is_file():
            raise prepare.Misconfigured(f"{self._found} is not there any more")
        config = prepare.read(self._file, self._given)
        # As at a start nobody is let in by accident, and what counts is where the server listens, not what the file says of it now.
        host = self._started.server.host
        if config.auth.open and not config.server.insecure and not is_loopback(host):
            raise prepare.Misconfigured(
                f"it has no keys any more, and until a restart the server listens on {host}, which can be reached from other "
                "machines; keep a key, restart, or say insecure = true in [server]"
            )
        return config


class Terminal:
    """The terminal the process was started on, if there was one. When it is closed SIGHUP comes too, and means the end."""

    def __init__(self) -> None:
        self._had = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _reachable()  # nohup(1) ignores it

    @property
    def closed(self) -> bool:
        return self._had and not _reachable()


def _reachable() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _at(config: Config, key: tuple[str, str]) -> object:
    return getattr(getattr(config, key[0]), key[1])
