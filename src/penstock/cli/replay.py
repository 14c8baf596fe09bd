"""`penstock replay`: play a recorded run in the terminal, at its own pace or another. Needs no server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock.core.cassette import Cassette


@click.command("replay")
@click.argument("cassette", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How many times as fast; 0 is at once.",
)
@click.option("--events", "raw", is_flag=True, help="Every event as one line of JSON, instead of the text.")
def command(cassette: Path, speed: float, raw: bool) -> None:
    """Play a recorded run in the terminal.

    `penstock streams save` records one; a model with the target "cassette:FILE" plays it over every transport.
    Leaves with 0 if the run finished, with 1 if it failed or was cancelled.
    """
    import asyncio

    from penstock.cli.chat import INTERRUPTED
    from penstock.core.cassette import load

    try:
        recorded = load(cassette.read_bytes())
    except (OSError, ValueError) as wrong:
        raise click.ClickException(f"{cassette}: {wrong}") from None
    try:
        end = asyncio.run(_play(recorded, speed, raw))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if end not in ("finished", "failed", "cancelled"):
        raise click.ClickException(f"{cassette}: the recording breaks off; record a run that has ended")
    if end != "finished":
        sys.exit(1)


async def _play(cassette: Cassette, speed: float, raw: bool) -> str:
    """Show a run; returns the type of its last word."""
    from contextlib import aclosing

    import msgspec

    from penstock.cli.screen import screen
    from penstock.sources.replay import played

    shown = screen()
    end = ""
    try:
        async with aclosing(played(cassette, speed=speed)) as events:
            async for event in events:
                told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
                end = str(told["type"])
                if raw:
                    click.echo(msgspec.json.encode(event))
                else:
                    shown.show(told)
    finally:
        shown.done()
    return end
