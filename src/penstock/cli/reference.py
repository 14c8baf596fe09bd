"""The reference of the command, `docs/reference/cli.md`, from the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from penstock.cli import main

WIDTH = 96

_OPENING = """# Command line

<!-- Made by `python -m penstock.cli.reference` from src/penstock/cli/; change it there. -->

`penstock` and `python -m penstock` are the same. Every command has `--help`. Settings and variables that `serve` and
`check` read are in [Configuration](config.md).
"""

_CODES = """## Exit codes

| code | means |
| --- | --- |
| 0 | it worked |
| 1 | it did not, and the reason stands on standard error: a wrong configuration, no server, a refusal, an answer that failed |
| 2 | the command line itself is wrong |
| 130 | Ctrl-C |

`penstock serve` ends with 0 after the first Ctrl-C or SIGTERM: it begins nothing new, lets live answers end within
`server.drain`, and goes. A second signal ends it at once.

## Colour

Commands colour what they write to a terminal and nothing else. `NO_COLOR=1` turns it off.
"""


def reference() -> str:
    """The page."""
    return "\n".join([_OPENING, *_pages(main, "penstock", None), _CODES])


def _pages(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings)
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _pages(found, inner, context)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
