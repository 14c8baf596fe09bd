"""`penstock serve`: run the server until it is told to stop."""

from __future__ import annotations

import errno
import gc
import math
import shutil
import sys
from pathlib import Path
from socket import gaierror
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
    from penstock.server.listener import raise_file_limit
    from penstock.telemetry import logs

    raise_file_limit()
    console = logs.configure(config.log.format, config.log.level)
    app = prepare.build(config, logs.LogObserver())
    tls = prepare.certificate(config)
    listener = bound(
        config.server.host,
        config.server.port,
        "with --port",
        send_buffer=config.server.socket_send_buffer,
        patience=_patience(config),
    )
    host, port = listener.getsockname()[:2]
    scraped = config.metrics
    scraped_at = (
        None if scraped.port is None or not scraped.enabled else bound(scraped.host, scraped.port, "in [metrics]")
    )
    server = Host(
        app,
        drain=float(config.server.drain),
        accept=float(config.server.drain_accept),
        on_listening=lambda: _begun(config, host, port, scraped_at, console=console),
        on_leaving=lambda: notify("STOPPING=1"),
        scraped_at=scraped_at,
        on_hangup=Reload(app, file=file, given=given, started=config),
        tls=tls,
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


def _begun(config: Config, host: str, port: int, scraped_at: socket.socket | None, *, console: bool) -> None:
    """All that is imported lives as long as the process: the collector need never look at it again, nor look so often."""
    _welcome(config, host, port, scraped_at, console=console)
    notify("READY=1")
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _patience(config: Config) -> int:
    """A little more than the longest stall that any route allows: who is let go for it shall stand in the log."""
    from penstock.server.listener import PATIENCE

    limits = [config.limits, *(route.limits for route in config.route if route.limits is not None)]
    return max(PATIENCE, math.ceil(max(float(each.stall) for each in limits)) + 2)


def bound(host: str, port: int, where: str, **options: int) -> socket.socket:
    """A listening socket. Raises `Misconfigured` with what can be done; `where` says where another port is chosen."""
    from penstock.server.listener import listen

    try:
        return listen(host, port, **options)
    except OSError as problem:
        way_out = _way_out(problem, where)
        said = problem.strerror or type(problem).__name__
        raise prepare.Misconfigured(
            f"cannot listen on {host}, port {port}: {said}{way_out and '; '}{way_out}"
        ) from None


def _way_out(problem: OSError, where: str) -> str:
    """What to do about an address or port that cannot be had; empty where nothing better is known than the system's words."""
    if isinstance(problem, gaierror):
        return "nothing has this name; give an address, such as 127.0.0.1"
    match problem.errno:
        case errno.EADDRINUSE:
            return f"choose another port {where}, or stop what listens there"
        case errno.EACCES | errno.EPERM:
            return (
                f"ports below 1024 are the system's own; choose a higher one {where} and let a proxy stand on this one, "
                "or give the service the capability CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            return "no interface of this machine has this address; 127.0.0.1 is this machine alone, 0.0.0.0 is every interface"
        case _:
            return ""


def _welcome(config: Config, host: str, port: int, scraped_at: socket.socket | None, *, console: bool) -> None:
    """Where the server is, what it offers, and to whom. On a terminal also what to do next."""
    from penstock.config.explain import address
    from penstock.config.load import is_loopback
    from penstock.telemetry import logs

    url = address(host, port, tls=config.server.tls_certificate is not None) + config.server.path_prefix
    keyed = not config.auth.open
    access = "keys" if keyed else "this machine" if is_loopback(host) else "everybody"
    metrics = "" if scraped_at is None else address(*scraped_at.getsockname()[:2], tls=False) + "/metrics"
    logs.listening(url, model=config.default_model, models=[*config.models, "demo"], access=access, metrics=metrics)
    if console:
        text = next((route.path for route in config.route if route.transport[0] == "text"), None)
        key = ' -H "Authorization: Bearer $PENSTOCK_API_KEY"' if keyed else ""
        click.echo(f"open: {url}/", err=True)
        if text is not None:
            click.echo(f"""try:  curl -N {url}{text}{key} -d '{{"prompt": "Hello"}}'""", err=True)
        click.echo(f"or:   {_called()} chat --url {url}", err=True)


def _called() -> str:
    """What calls this program in another terminal of the same folder: in a clone it is not on the path."""
    if shutil.which("penstock") is not None:
        return "penstock"
    return sys.argv[0] if Path(sys.argv[0]).name == "penstock" else "python -m penstock"
