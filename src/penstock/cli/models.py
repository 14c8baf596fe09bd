"""`penstock models`: what a running server can be asked for, who answers, and how fast it has been lately."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.chat import URL

HEADS = ("MODEL", "PROVIDER", "ANSWERED BY", "CAN", "FIRST TOKEN", "TOKENS/S", "ANSWERS")


@click.command("models")
@click.option("--url", default=URL, envvar="PENSTOCK_URL", show_default=True, metavar="URL", help="The server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(url: str, as_json: bool) -> None:
    """List the models of a running server.

    CAN names what a model is known to do, and after a minus what it is known not to do. The figures are medians of the last answers;
    a dash is what nobody knows yet. Models of a provider can be asked for as PROVIDER/MODEL without being listed.
    """
    import json

    from penstock.cli.streams import on_server

    rows: list[dict[str, Any]] = on_server(url, lambda client: client.models())
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    table = [HEADS, *map(_row, rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(HEADS))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    features = model["features"]
    can = [name for name, has in features.items() if has]
    cannot = [f"-{name}" for name, has in features.items() if has is False]
    measured = model["measured"] or {}
    first, rate = measured.get("time_to_first_token"), measured.get("tokens_per_second")
    return (
        model["id"],
        model["provider"],
        " ".join(model["targets"]) or "-",
        " ".join([*can, *cannot]) or "-",
        f"{first:.2f} s" if first is not None else "-",
        f"{rate:.1f}" if rate is not None else "-",
        str(measured.get("answers", 0)),
    )
