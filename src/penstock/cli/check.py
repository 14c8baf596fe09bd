"""`penstock check`: build everything, say what would be served, open nothing."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli import prepare


@click.command("check")
@prepare.options
def command(file: Path | None, **given: object) -> None:
    """Check the configuration and print what would be served.

    Exits with 1 and the mistake if there is one. Opens no port and calls no provider.
    """
    import os

    from penstock.config.explain import summary
    from penstock.config.load import chosen_file

    config = prepare.read(file, given)
    prepare.build(config)
    prepare.certificate(config)
    found = chosen_file(os.environ, file)
    click.echo(summary(config, file=str(found) if found else None), nl=False)
