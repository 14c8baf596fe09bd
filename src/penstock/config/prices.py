"""The price table: what a million tokens of a model cost, shipped with list prices and overridable by a file of one's own."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from penstock.config.models import PriceConfig

SHIPPED = "prices.toml"


def prices(file: Path | None) -> dict[str, PriceConfig]:
    """The price of every model that is known, by the name that clients ask for: those of `file` above the shipped ones.

    Raises `ValueError` for a file that cannot be read or is no price table.
    """
    if file is None:
        return dict(_shipped())
    try:
        own = _read(file.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise ValueError(f"prices.file: {file} cannot be read: {wrong.strerror}") from None
    except ValueError as wrong:
        raise ValueError(f"prices.file: {file}: {wrong}") from None
    return {**_shipped(), **own}


@cache
def _shipped() -> dict[str, PriceConfig]:
    return _read(files("penstock.config").joinpath(SHIPPED).read_text(encoding="utf-8"))


def _read(text: str) -> dict[str, PriceConfig]:
    found = {}
    for model, price in tomllib.loads(text).items():
        try:
            found[model] = msgspec.convert(price, PriceConfig)
        except msgspec.ValidationError as wrong:
            raise ValueError(f"{model}: {wrong}") from None
    return found
