"""Where the configuration comes from: defaults, then the file, then the environment, then flags; what comes later wins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import msgspec

from penstock.config.errors import ConfigError, Wrong, nearest, spelt
from penstock.config.locate import Key, Places
from penstock.config.model import Config
from penstock.config.providers import from_environment
from penstock.config.read import Names, Reader, Table, kind_at

FILE = "penstock.toml"
PREFIX = "PENSTOCK_"
SHORT: dict[str, Key] = {
    "PENSTOCK_HOST": ("server", "host"),
    "PENSTOCK_PORT": ("server", "port"),
    "PENSTOCK_MODEL": ("server", "model"),
    "PENSTOCK_INSECURE": ("server", "insecure"),
    "PENSTOCK_API_KEYS": ("auth", "api_keys"),
    "PENSTOCK_LOG_FORMAT": ("log", "format"),
    "PENSTOCK_LOG_LEVEL": ("log", "level"),
}
OTHERS = ("PENSTOCK_CONFIG", "PENSTOCK_URL", "PENSTOCK_API_KEY")
"""Variables of ours that set nothing here: which file, where the clients look for a server, and with which key."""

# Kubernetes tells every pod of a service called penstock its addresses in variables that look like ours.
_SERVICE_LINK = re.compile(r"PENSTOCK_(SERVICE|PORT)_[A-Z0-9_]+|PENSTOCK_PORT=\w+://.*", re.ASCII)


def load(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    flags: Mapping[Key, object] | None = None,
    names: Names | None = None,
) -> Config:
    """The configuration. `file` is the one of `--config`; without it `PENSTOCK_CONFIG`, else `penstock.toml` here, if it is there.

    `flags` are set values by their path, `{("server", "port"): 9000}`. With `names`, dialects and stages are known to exist.
    Raises `ConfigError`.
    """
    path = chosen_file(environ, file)
    document, places = _read(path) if path else ({}, None)
    origins: dict[Key, str] = {}
    reader = Reader(environ, path.parent if path else Path(), names)
    _from_environment(document, environ, reader, origins)
    for key, value in (flags or {}).items():
        _put(document, key, value)
        origins[key] = "--" + "-".join(str(step) for step in key if step != "server").replace("_", "-")
    try:
        config = reader.config(document, from_environment(environ))
        _alone(config)
    except Wrong as wrong:
        place = origins.get(wrong.key) or _place(path, places, wrong.key)
        raise ConfigError(wrong.message, key=spelt(wrong.key), place=place) from None
    return config


def chosen_file(environ: Mapping[str, str], file: Path | None) -> Path | None:
    """The file to read, if any. Raises `ConfigError` for one that was named and is not there."""
    named = file or (Path(environ["PENSTOCK_CONFIG"]) if environ.get("PENSTOCK_CONFIG") else None)
    if named is None:
        here = Path(FILE)
        return here if here.is_file() else None
    if not named.is_file():
        by = "--config" if file else "PENSTOCK_CONFIG"
        raise ConfigError(f"there is no file {named}", place=by)
    return named


def _read(path: Path) -> tuple[Table, Places]:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), Places(text)
    except OSError as wrong:
        raise ConfigError(f"the file cannot be read: {wrong.strerror}", place=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8 text", place=str(path)) from None
    except tomllib.TOMLDecodeError as wrong:
        said, _, where = str(wrong).partition(" (at ")
        line = re.match(r"line (\d+), column (\d+)", where)
        place = f"{path}:{line[1]}:{line[2]}" if line else str(path)
        raise ConfigError(f"this is no TOML: {said}", place=place) from None


def _place(path: Path | None, places: Places | None, key: Key) -> str:
    line = places.line(key) if places else None
    return f"{path}:{line}" if line else str(path or "")


def _from_environment(document: Table, environ: Mapping[str, str], reader: Reader, origins: dict[Key, str]) -> None:
    """Lay the variables over the document: short names first, so that the long ones win over them."""
    if "PORT" in environ and "port" not in document.get("server", {}):
        _set(document, "PORT", environ["PORT"], ("server", "port"), reader, origins)
    for name, key in SHORT.items():
        if name in environ and not _SERVICE_LINK.fullmatch(f"{name}={environ[name]}"):
            _set(document, name, environ[name], key, reader, origins)
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in SHORT or name in OTHERS or _SERVICE_LINK.fullmatch(name):
            continue
        if "__" in name:
            _set(document, name, text, tuple(name.removeprefix(PREFIX).lower().split("__")), reader, origins)
        elif (hint := nearest(name, [*SHORT, *OTHERS])).startswith("; did you mean"):
            raise ConfigError(f"there is no setting of this name{hint}", place=f"environment variable {name}")


def _set(document: Table, name: str, text: str, key: Key, reader: Reader, origins: dict[Key, str]) -> None:
    """One variable. A list or a table is written as in the file, everything else as it is."""
    place = f"environment variable {name}"
    try:
        kind = kind_at(key)
    except LookupError:
        raise ConfigError(f"there is no setting of this name{nearest(name, variables())}", place=place) from None
    value: object = text
    try:
        value = tomllib.loads(f"value = {text}")["value"] if text[:1] in ("[", "{") else reader.lax(text, kind)
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigError(f"this is no TOML value: {str(wrong).partition(' (at ')[0]}", place=place) from None
    except msgspec.ValidationError:
        pass  # the text stays as it is: the reader of the whole says what is wrong with it
    _put(document, key, value)
    origins[key] = place


def variables() -> list[str]:
    """Every variable that sets one thing and needs no name of the user's own in it."""
    sections = {field.encode_name: field.type for field in msgspec.structs.fields(Config)}
    return [
        *SHORT,
        *(
            f"{PREFIX}{name}__{field.encode_name}".upper()
            for name, section in sections.items()
            if isinstance(section, type) and issubclass(section, msgspec.Struct)
            for field in msgspec.structs.fields(section)
        ),
    ]


def _put(document: Table, key: Key, value: object) -> None:
    table: Table = document
    for step in key[:-1]:
        inner = table.setdefault(str(step), {})
        if not isinstance(inner, dict):
            return  # the file has something else there, and is told so
        table = inner
    table[str(key[-1])] = value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _alone(config: Config) -> None:
    """Nobody is let in from elsewhere by accident."""
    host = config.server.host
    if config.auth.open and not config.server.insecure and not is_loopback(host):
        raise Wrong(
            ("server", "host"),
            f"{host} can be reached from other machines, and whoever reaches it may use every model; "
            "set PENSTOCK_API_KEYS (or make keys with: penstock keys new NAME), listen on 127.0.0.1, "
            "or say --insecure (insecure = true in [server]) if that is what you want",
        )
