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
| 2 | the command line itself is wrong; from `penstock doctor` also: nobody answers |
| 130 | Ctrl-C |

## Signals

What `penstock serve` does with them:

- SIGTERM: it is unready at once, goes on taking new runs for `server.drain_accept`, refuses them then, lets live ones end,
  and is gone within `server.drain`, with exit code 0.
- SIGINT, Ctrl-C: the same, but no new runs from the start.
- A second one of these: it tells every reader that its answer was interrupted, and goes.
- SIGHUP: it reads the configuration anew. New requests go by it, live answers are left alone. A file that cannot be served
  changes nothing, and the log says why; what needs a restart is named. Where the terminal it was started on has been
  closed, SIGHUP is Ctrl-C.

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
