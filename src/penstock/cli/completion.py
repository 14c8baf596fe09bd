"""`penstock completion`: the lines a shell reads to complete our commands."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion of a shell.

    \b
    bash  eval "$(penstock completion bash)"      in ~/.bashrc
    zsh   eval "$(penstock completion zsh)"       in ~/.zshrc
    fish  penstock completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from penstock.cli import main

    completion = get_completion_class(shell)
    if completion is None:
        raise click.ClickException(f"this version of click does not know {shell}")
    click.echo(completion(main, {}, "penstock", "_PENSTOCK_COMPLETE").source())
