"""`penstock serve`: run the server until it is told to stop."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli import prepare
from penstock.cli.notify import notify

if TYPE_CHECKING:
    import socket

    from penstock.config.model import Config


@click.command("serve")
@prepare.options
def command(file: Path | None, **given: object) -> None:
    """Run the server.

    Without a file it serves the demo model, and every provider whose key is in the environment, on 127.0.0.1:8420.
    The first Ctrl-C lets live answers end, the second stops at once.
    """
    config = prepare.read(file, given)

    from penstock.cli.reload import Reload
    from penstock.server.host import Host
    from penstock.telemetry import logs

    console = logs.configure(config.log.format, config.log.level)
    observer = logs.LogObserver()
    app = prepare.build(config, observer)
    listener = _listen(
        config.server.host, config.server.port, "with --port", send_buffer=config.server.socket_send_buffer
    )
    host, port = listener.getsockname()[:2]
    scraped = config.metrics
    scraped_at = None if scraped.port is None or not scraped.enabled else _listen(
        scraped.host, scraped.port, "in [metrics]"
    )
    server = Host(
        app,
        drain=float(config.server.drain),
        accept=float(config.server.drain_accept),
        on_listening=lambda: _begun(config, host, port, console=console),
        on_leaving=lambda: notify("STOPPING=1"),
        scraped_at=scraped_at,
        on_hangup=Reload(app, observer, file=file, given=given, started=config),
        root_path=config.server.path_prefix,
    )
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        listener.close()
        if scraped_at is not None:
            scraped_at.close()


def _begun(config: Config, host: str, port: int, *, console: bool) -> None:
    """All that is imported lives as long as the process: the collector need never look at it again, nor look so often."""
    _welcome(config, host, port, console=console)
    notify("READY=1")
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _listen(host: str, port: int, where: str, **options: int) -> socket.socket:
    from penstock.server.listener import listen

    try:
        return listen(host, port, **options)
    except OSError as problem:
        hint = f"; choose another port {where}, or stop what listens there" if port and "use" in str(problem) else ""
        raise prepare.Misconfigured(f"cannot listen on {host}, port {port}: {problem.strerror}{hint}") from None


def _welcome(config: Config, host: str, port: int, *, console: bool) -> None:
    """Where the server is. On a terminal also what to type next."""
    from penstock.config.explain import address
    from penstock.telemetry import logs

    url = address(host, port) + config.server.path_prefix
    logs.listening(url, model=config.default_model)
    if console:
        text = next((route.path for route in config.route if route.transport[0] == "text"), None)
        if text is not None:
            click.echo(f"""try:  curl -N {url}{text} -d '{{"prompt": "Hello"}}'""", err=True)
        click.echo(f"or:   penstock chat --url {url}", err=True)
