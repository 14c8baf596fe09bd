"""The `penstock` command. Nothing heavy is imported before a command that needs it runs."""

from __future__ import annotations

from importlib import import_module

import click

from penstock import __version__

COMMANDS = {
    "serve": "penstock.cli.serve",
    "check": "penstock.cli.check",
    "chat": "penstock.cli.chat",
    "streams": "penstock.cli.streams",
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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", message="penstock %(version)s")
def main() -> None:
    """Stream from language models to browsers, chat clients and the shell.

    `penstock serve` needs no file and no key; `penstock chat` talks to it.
    """
