"""A configuration as it is written."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from penstock import registry
from penstock.config.load import load
from penstock.config.locate import Key
from penstock.config.model import Config


def written(text: str, environ: Mapping[str, str] | None = None, flags: Mapping[Key, object] | None = None) -> Config:
    """What the server makes of a file in the working directory, of variables and of flags. Raises `ConfigError`."""
    Path("penstock.toml").write_text(dedent(text))
    return load(environ or {}, flags=flags, names=registry.names)
