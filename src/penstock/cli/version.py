"""`penstock version`: what is installed, for a report of a mistake."""

from __future__ import annotations

import click

WORTH_KNOWING = ("uvicorn", "starlette", "aiohttp", "websockets", "msgspec", "orjson", "litellm")


@click.command("version")
def command() -> None:
    """Print the versions of penstock, Python and the libraries that matter."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from penstock import __version__

    click.echo(f"penstock {__version__}")
    click.echo(
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for name in WORTH_KNOWING:
        try:
            click.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            click.echo(f"{name} not installed")
