"""The `penstock` command. Nothing heavy is imported before a command that needs it runs."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from penstock import __version__

COMMANDS = {
    "serve": "penstock.cli.serve",
    "check": "penstock.cli.check",
    "chat": "penstock.cli.chat",
    "streams": "penstock.cli.streams",
    "models": "penstock.cli.models",
    "replay": "penstock.cli.replay",
    "keys": "penstock.cli.keys",
    "doctor": "penstock.cli.doctor",
    "completion": "penstock.cli.completion",
    "version": "penstock.cli.version",
}
"""Name → the module whose `command` it is, in the order of the help."""


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name where there is none of this name. Raises `click.UsageError`."""
        if args[0] not in COMMANDS and (near := get_close_matches(args[0], COMMANDS, 1)):
            ctx.fail(f"No such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", message="penstock %(version)s")
def main() -> None:
    """Stream from language models to browsers, chat clients and the shell.

    `penstock serve` needs no file and no key; `penstock chat` talks to it.
    """
