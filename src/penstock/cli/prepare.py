"""What `serve` and `check` do first: read the configuration and build the server, with every mistake said in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import ssl

    from penstock.config.locate import Key
    from penstock.config.model import Config
    from penstock.core.observer import Observer
    from penstock.server.app import App

F = TypeVar("F", bound=Callable[..., Any])

FLAGS: dict[str, Key] = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "model": ("server", "model"),
    "insecure": ("server", "insecure"),
    "tls_certificate": ("server", "tls_certificate"),
    "tls_key": ("server", "tls_key"),
    "log_format": ("log", "format"),
    "log_level": ("log", "level"),
}
"""Flag → the setting it is."""


class Misconfigured(click.ClickException):
    """The server cannot be built. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {self.format_message()}", err=True)


def options(command: F) -> F:
    """The flags that `serve` and `check` share."""
    for option in reversed(
        (
            click.option(
                "--config",
                "file",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Read this file instead of penstock.toml.",
            ),
            click.option("--host", metavar="ADDRESS", help="Listen on this address. [default: 127.0.0.1]"),
            click.option(
                "--port", type=int, metavar="NUMBER", help="Listen on this port; 0 takes a free one. [default: 8420]"
            ),
            click.option(
                "--model", metavar="NAME", help="Answer with this model where a request names none. [default: demo]"
            ),
            click.option(
                "--insecure", is_flag=True, help="Let everybody in who reaches the port, from other machines too."
            ),
            click.option(
                "--tls-certificate",
                type=click.Path(resolve_path=True),
                metavar="FILE",
                help="Serve TLS with this certificate (PEM).",
            ),
            click.option("--tls-key", type=click.Path(resolve_path=True), metavar="FILE", help="Its key (PEM)."),
            click.option(
                "--log-format", type=click.Choice(["auto", "console", "json"]), help="How the log is written."
            ),
            click.option(
                "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What is logged."
            ),
        )
    ):
        command = option(command)
    return command


def read(file: Path | None, given: Mapping[str, object]) -> Config:
    """The configuration, from the file, the environment and the flags. Raises `Misconfigured`."""
    from penstock import registry
    from penstock.config.errors import ConfigError
    from penstock.config.load import load

    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where `module:function` is looked for, as with `python -m`
    flags = {FLAGS[name]: value for name, value in given.items() if value is not None and value is not False}
    try:
        config = load(os.environ, file=file, flags=flags, names=registry.names)
    except ConfigError as wrong:
        raise Misconfigured(str(wrong)) from None
    _extras(config)
    return config


def chosen(file: Path | None) -> Path | None:
    """The file that `read` has just read, if there is one."""
    from penstock.config.load import chosen_file

    return chosen_file(os.environ, file)


def build(config: Config, observer: Observer | None = None) -> App:
    """The server, built and not started. Raises `Misconfigured`."""
    from penstock import assembly

    with _saying():
        return assembly.build(config, observer=observer)


def rebuild(app: App, config: Config) -> None:
    """The running server serves by another configuration from now on, or goes on as it did. Raises `Misconfigured`."""
    from penstock import assembly

    with _saying():
        assembly.reload(app, config)


@contextmanager
def _saying() -> Iterator[None]:
    from penstock.core.errors import Refused

    try:
        yield
    except (ValueError, LookupError, ImportError) as wrong:
        raise Misconfigured(str(wrong)) from None
    except Refused as wrong:
        raise Misconfigured(wrong.fault.message) from None


def certificate(config: Config) -> ssl.SSLContext | None:
    """What TLS is served with; None where it is not. Raises `Misconfigured`."""
    certificate, key = config.server.tls_certificate, config.server.tls_key
    if certificate is None or key is None:
        return None
    from penstock.server.tls import BadCertificate, read_certificate

    try:
        return read_certificate(certificate, key)
    except BadCertificate as wrong:
        raise Misconfigured(str(wrong)) from None


def _extras(config: Config) -> None:
    """Every optional package the configuration needs is there. Raises `Misconfigured` with the command that brings it."""
    from penstock.config.target import ThroughLitellm, read_target

    for name, model in config.models.items():
        through = any(
            isinstance(read_target(target, config.providers), ThroughLitellm)
            for target in model.targets
            if target not in config.models
        )
        if through and find_spec("litellm") is None:
            raise Misconfigured(f"models.{name} needs litellm; install it with: pip install 'penstock[litellm]'")
