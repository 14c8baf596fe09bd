"""`penstock keys`: make, list and revoke the keys of a server. A running one sees the change within a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    from penstock.auth.grant import Allowance
    from penstock.auth.keys import Key

Where: TypeAlias = Callable[[], Path]
"""Finds the file of keys; asked only once a command runs, so that help needs no configuration."""


@click.group("keys")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file of keys. [default: what the configuration names, else penstock-keys.json]",
)
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read this configuration instead of penstock.toml.",
)
@click.pass_context
def command(context: click.Context, file: Path | None, config: Path | None) -> None:
    """Make, list and revoke the keys of a server.

    The file holds their hashes. A running server sees a change within a second.
    """
    context.obj = lambda: file or _configured(config)


@command.command("new")
@click.argument("name")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Allow this model alone; may be repeated.")
@click.option(
    "--route", "routes", multiple=True, metavar="PATH", help="Let it begin runs at this path alone; may be repeated."
)
@click.option("--expires", metavar="TIME", help="When it ends: 30d, 12h, 45m.")
@click.option(
    "--runs-per-minute", type=click.FloatRange(min=0), metavar="NUMBER", help="Runs it may begin. 0: no limit."
)
@click.option("--burst", type=click.IntRange(min=0), metavar="NUMBER", help="Runs it may begin at once after a pause.")
@click.option("--concurrent-runs", type=click.IntRange(min=0), metavar="NUMBER", help="Its live runs. 0: no limit.")
@click.option(
    "--concurrent-readers", type=click.IntRange(min=0), metavar="NUMBER", help="Streams read at once. 0: no limit."
)
@click.pass_obj
def new_command(
    where: Where,
    /,
    name: str,
    models: tuple[str, ...],
    routes: tuple[str, ...],
    expires: str | None,
    **limits: float | None,
) -> None:
    """Make a key and print it, once. Keys of the same NAME share runs and limits, so that one can follow another."""
    from penstock.auth.keyfile import changing
    from penstock.auth.keys import new_key

    now = int(time.time())
    try:
        text, key = new_key(
            name,
            models=models,
            routes=routes,
            created=now,
            expires=now + _duration(expires) if expires else None,
            allowance=_allowance(limits),
        )
        path = where()
        with changing(path) as keys:
            keys[key.id] = key
    except (ValueError, OSError) as wrong:
        raise click.ClickException(_said(wrong)) from None
    click.echo(text)
    click.echo(f"{key.id} is in {path}; this is the only time the key is shown", err=True)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def list_command(where: Where, as_json: bool) -> None:
    """List the keys: their ids and what they may do. No key can be got back from the file."""
    keys = _read(where)
    if as_json:
        import msgspec

        for key in keys.values():
            told = msgspec.to_builtins(key)
            del told["digest"]
            click.echo(msgspec.json.encode(told).decode())
        return
    if not keys:
        click.echo("no keys", err=True)
    width = max((len(key.name) for key in keys.values()), default=0)
    for key in keys.values():
        click.echo(f"{key.id}  {key.name:<{width}}  {_term(key)}{_grants(key)}".rstrip())


@command.command("revoke")
@click.argument("which", metavar="ID-OR-NAME")
@click.pass_obj
def revoke_command(where: Where, which: str) -> None:
    """Revoke the key of an id, or all keys of a name."""
    from penstock.auth.keyfile import changing

    try:
        path = where()
        _read(where)
        with changing(path) as keys:
            gone = [key for key in keys.values() if which in (key.id, key.name)]
            for key in gone:
                del keys[key.id]
    except (ValueError, OSError) as wrong:
        raise click.ClickException(_said(wrong)) from None
    if not gone:
        click.echo(f"no key in {path} has this id or name", err=True)
        sys.exit(1)
    for key in gone:
        click.echo(f"revoked {key.id} of {key.name}", err=True)


def _configured(config: Path | None) -> Path:
    from penstock.cli import prepare
    from penstock.config.read import KEYS_FILE

    named = prepare.read(config, {}).auth.keys_file
    if named is not None:
        return Path(named)
    found = prepare.chosen(config)
    return (found.parent if found else Path()) / KEYS_FILE


def _read(where: Where) -> Mapping[str, Key]:
    from penstock.auth.keyfile import read

    try:
        return read(where())
    except ValueError as wrong:
        raise click.ClickException(str(wrong)) from None


def _said(wrong: Exception) -> str:
    return f"{wrong.filename}: {wrong.strerror}" if isinstance(wrong, OSError) else str(wrong)


def _duration(text: str) -> int:
    unit = {"d": 86400, "h": 3600, "m": 60}.get(text[-1:])
    number = text[:-1]
    if unit is None or not (number.isascii() and number.isdecimal()) or int(number) == 0 or len(number) > 5:
        raise ValueError(f"{text[:32]!r} is no time; write a number and d, h or m, as in 30d")
    return int(number) * unit


def _allowance(limits: Mapping[str, float | None]) -> Allowance | None:
    """The limits that were given, beside those of a server that sets none; None where none was given."""
    import msgspec

    from penstock.auth.grant import Allowance
    from penstock.config.model import AuthConfig

    if all(limit is None for limit in limits.values()):
        return None
    usual = AuthConfig()
    return msgspec.convert(
        {name: getattr(usual, name) if limit is None else limit for name, limit in limits.items()}, Allowance
    )


def _term(key: Key) -> str:
    made = time.strftime("%Y-%m-%d", time.localtime(key.created))
    if key.expires is None:
        return f"since {made}"
    ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.expires))
    return f"since {made}  {'expired' if key.expires <= time.time() else 'until'} {ends}"


def _grants(key: Key) -> str:
    told = [f"models {' '.join(key.models)}"] if key.models else []
    told += [f"routes {' '.join(key.routes)}"] if key.routes else []
    if (limits := key.allowance) is not None:
        told.append(
            f"{limits.runs_per_minute:g} runs a minute (burst {limits.burst}), {limits.concurrent_runs} runs and "
            f"{limits.concurrent_readers} readers at once"
        )
    return "".join(f"  {each}" for each in told)
