"""`penstock doctor`: sends a lock-stepped stream through a public URL and says what stands in its way, with the line to change."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from ssl import SSLContext

    from penstock.cli.doctor_advice import Proxy
    from penstock.cli.doctor_checks import Finding

PROXIES = ("nginx", "caddy", "haproxy", "traefik", "ingress-nginx")
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "red"), "untested": ("–", "blue")}
UNREACHABLE = 2


class Nobody(Exception):
    """Nobody answers at the URL. The text is why."""


@click.command("doctor")
@click.argument("url")
@click.option(
    "--key", envvar="PENSTOCK_API_KEY", metavar="KEY", help="The key to come with, where the server wants one."
)
@click.option("--model", default="demo", show_default=True, metavar="NAME", help="The demo model's name there.")
@click.option("--proxy", type=click.Choice(PROXIES), help="What stands in front, where it does not show itself.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="When to give up on a token.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a silence to try: longer than the server's heartbeat, or 0 for none.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per finding and line.")
def command(
    url: str, *, key: str | None, model: str, proxy: Proxy | None, timeout: float, idle: float, as_json: bool
) -> None:
    """Find out what proxies do to the streams of the server at URL.

    A run of the demo says its next token only when the last one has arrived here, on every transport in turn, so that
    buffering shows without a clock. Exits with 0 if all is well, 1 if a fault was found, 2 if nobody could be reached.
    """
    import asyncio

    try:
        faults = asyncio.run(_report(url, key, model, proxy, timeout, idle, as_json=as_json))
    except Nobody as problem:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {problem}", err=True)
        sys.exit(UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if faults else 0)


async def _report(
    url: str, key: str | None, model: str, proxy: Proxy | None, patience: float, idle: float, *, as_json: bool
) -> int:
    """Write every finding as it is made; how many are faults."""
    faults = 0
    async for finding in examined(url, key=key, model=model, proxy=proxy, patience=patience, idle=idle):
        faults += finding.outcome == "fault"
        _write(finding, as_json=as_json)
    return faults


def _reason(problem: Exception) -> str:
    """Why nobody could be reached, in the system's words where it has some."""
    cause = getattr(problem, "os_error", problem)
    if getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
        return "what listens there speaks no TLS; write http://"
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(problem) or type(problem).__name__


def _write(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(finding))
        return
    mark, colour = MARKS[finding.outcome]
    click.echo(f"{click.style(mark, fg=colour)} {finding.check:<22} {finding.said}")
    if finding.advice is not None:
        click.echo(f"{'':<24} → {finding.advice}")


async def examined(
    url: str,
    *,
    key: str | None = None,
    model: str = "demo",
    proxy: Proxy | None = None,
    patience: float = 5.0,
    idle: float = 20.0,
    tls: SSLContext | None = None,
) -> AsyncIterator[Finding]:
    """Every finding about the server at `url`, as it is made. A token is given up after `patience` seconds. Raises `Nobody`."""
    import ssl

    import aiohttp

    from penstock.cli.doctor_advice import recognised, shown
    from penstock.cli.doctor_checks import Doctor, Finding, secured
    from penstock.cli.doctor_visit import Untestable, Visit
    from penstock.config.target import read_base_url

    try:
        url = read_base_url(url)
    except ValueError:
        raise Nobody(f"{url!r} is no URL of a server; write it like https://llm.example.org") from None
    tls = tls or ssl.create_default_context()
    limits = aiohttp.ClientTimeout(total=max(30.0, 4 * patience))
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as session:
        visit = Visit(url, session, key=key, model=model, tls=tls)
        try:
            answer = await visit.ask("GET", "/v1/models", Accept_Encoding="identity")
        except aiohttp.ClientConnectorCertificateError as wrong:
            said = f"the certificate is not accepted: {wrong.certificate_error}"
            yield Finding(check="TLS", outcome="fault", said=said, advice="serve the whole chain, for this very name")
            return
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise Nobody(f"nobody answers at {url}: {_reason(problem)}") from None
        between = shown(answer.headers)
        said = between or "no proxy shows itself; HAProxy and Traefik never do, --proxy says that there is one"
        yield Finding(check="proxy", outcome="ok", said=said)
        for finding in await secured(url, tls):
            yield finding
        if answer.status != 200:
            elsewhere = (
                f"with a redirect to {place}" if (place := answer.headers.get("location")) else f"with {answer.status}"
            )
            reason = answer.message or f"GET /v1/models is answered {elsewhere}, and not by a penstock server"
            advice = "come with --key KEY, or PENSTOCK_API_KEY=KEY" if answer.status == 401 else None
            yield Finding(check="penstock", outcome="fault", said=reason, advice=advice)
            return
        doctor = Doctor(visit, timeout=patience, idle=idle, proxy=proxy or recognised(answer.headers))
        try:
            async for finding in doctor.examine():
                yield finding
            async for finding in doctor.streams():
                yield finding
        except Untestable as reason:
            said = f"no stream could be tried, since the demo cannot be asked: {reason}"
            yield Finding(check="streams", outcome="untested", said=said)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            said = f"a plain request failed half-way: {str(problem) or type(problem).__name__}"
            yield Finding(check="connection", outcome="fault", said=said)
