"""`penstock streams`: look at the runs of a running server, read one along, cancel one."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.chat import INTERRUPTED, URL

if TYPE_CHECKING:
    from penstock.cli.client import Client

T = TypeVar("T")


@click.group("streams")
@click.option("--url", default=URL, envvar="PENSTOCK_URL", show_default=True, metavar="URL", help="The server.")
@click.pass_context
def command(context: click.Context, url: str) -> None:
    """List, read and cancel the runs of a running server.

    A server that wants a key is shown the one in the variable PENSTOCK_API_KEY, and tells of that key's runs.
    """
    context.obj = url


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def list_command(url: str, as_json: bool) -> None:
    """List the runs the server holds, newest first."""
    import json
    from datetime import UTC, datetime

    rows = on_server(url, lambda client: client.streams())
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    if not rows:
        click.echo("no runs", err=True)
    for row in rows:
        created = datetime.fromtimestamp(row["created"], UTC).astimezone()
        state = (row.get("end") or {}).get("type", row["state"])
        click.echo(f"{row['id']}  {created:%H:%M:%S}  {state:<9}  {row['readers']} reading  {row['model']}".rstrip())


@command.command("tail")
@click.argument("stream")
@click.option("--events", "raw", is_flag=True, help="Every event as one line of JSON, instead of the text.")
@click.pass_obj
def tail_command(url: str, stream: str, raw: bool) -> None:
    """Read a run along from its beginning to its end.

    Leaves with 0 if the run finished, with 1 if it failed or was cancelled.
    """
    end = on_server(url, lambda client: _tail(client, stream, raw))
    if end != "finished":
        sys.exit(1)


@command.command("cancel")
@click.argument("stream")
@click.pass_obj
def cancel_command(url: str, stream: str) -> None:
    """Cancel a run. One that has ended stays as it is."""
    state = on_server(url, lambda client: client.cancel(stream))
    click.echo(f"{stream}  {state.get('state', '')}")


@command.command("save")
@click.argument("stream")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.pass_obj
def save_command(url: str, stream: str, file: Path | None) -> None:
    """Record a run that has ended, with its timing, in FILE (default: STREAM.cassette.jsonl).

    What looks like a key is blackened; look through it all the same before you pass it on.
    """
    body = on_server(url, lambda client: client.cassette(stream))
    file = file or Path(f"{stream}.cassette.jsonl")
    try:
        file.write_bytes(body)
    except OSError as wrong:
        raise click.ClickException(f"{file} cannot be written: {wrong.strerror}") from None
    click.echo(f"{file}  play it with: penstock replay {file}")


async def _tail(client: Client, stream: str, raw: bool) -> str:
    """Show a run; returns the type of its last word."""
    import json
    from contextlib import aclosing

    from penstock.cli.client import Turn
    from penstock.cli.screen import screen

    shown = screen()
    end = ""
    try:
        async with aclosing(Turn(client, "chunked", stream=stream).events()) as events:
            async for event in events:
                end = event["type"]
                if raw:
                    click.echo(json.dumps(event, ensure_ascii=False, default=lambda data: data.hex()))
                else:
                    shown.show(event)
    finally:
        shown.done()
    return end


def on_server(url: str, operation: Callable[[Client], Awaitable[T]]) -> T:
    """One operation on a server, its errors said in one line."""
    import asyncio

    from penstock.cli.client import ServerRefused, Unreachable, connected

    async def run() -> Any:
        async with connected(url) as client:
            return await operation(client)

    try:
        result: T = asyncio.run(run())
    except (ServerRefused, Unreachable) as problem:
        raise click.ClickException(str(problem)) from None
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    return result
