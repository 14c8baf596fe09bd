"""`penstock check`: build everything, say what would be served, open nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli import prepare

if TYPE_CHECKING:
    from penstock.config.model import Config


@click.command("check")
@prepare.options
@click.option(
    "--route",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Print instead where each request of this file (JSON lines) would go, and whether it is where its label says.",
)
def command(file: Path | None, route: Path | None, **given: object) -> None:
    """Check the configuration and print what would be served.

    Exits with 1 and the mistake if there is one. Opens no port and calls no provider.
    """
    import os

    from penstock.config.explain import summary
    from penstock.config.load import chosen_file

    config = prepare.read(file, given)
    prepare.build(config)
    prepare.certificate(config)
    if route is not None:
        _print_routes(config, route)
        return
    found = chosen_file(os.environ, file)
    click.echo(summary(config, file=str(found) if found else None), nl=False)


def _print_routes(config: Config, path: Path) -> None:
    """Where each labelled request of a file goes, by which rule and why. Exits with 1 where one goes elsewhere."""
    from penstock import registry
    from penstock.catalog import Catalog
    from penstock.cli.labelled import BadLine, routed

    try:
        found = list(routed(path, Catalog(config, {}), registry.resolve("dialects", "openai-chat")()))
    except (BadLine, OSError) as wrong:
        raise prepare.Misconfigured(str(wrong)) from None
    width = max((len(each.name) for each in found), default=0)
    reach = max((len(each.target or "nobody") for each in found), default=0)
    for each in found:
        mark = "ok   " if each.right else click.style("WRONG", fg="red")
        wanted = "" if each.right else f" (expected {each.expected or 'nobody'})"
        click.echo(f"{mark}  {each.name:{width}}  → {each.target or 'nobody':{reach}}  {each.why}{wanted}")
    missed = sum(not each.right for each in found)
    said = f"{len(found)} request{'s' if len(found) != 1 else ''}, " + (
        f"{missed} elsewhere than labelled" if missed else "all as labelled"
    )
    click.echo(said)
    if missed:
        raise SystemExit(1)
