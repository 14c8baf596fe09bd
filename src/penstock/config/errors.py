"""What is said of a configuration that cannot be: where, which key, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from penstock.config.locate import Key

MANY = 16
"""More names than this help nobody on one line."""


class ConfigError(Exception):
    """The configuration is wrong. `str()` of it is `place: key: message`.

    `key` is as the file writes it (`route[0].dialect`), `place` a file with its line, an environment variable or a flag.
    """

    def __init__(self, message: str, *, key: str = "", place: str = ""):
        self.message = message
        self.key = key
        self.place = place
        super().__init__(": ".join(piece for piece in (place, key, message) if piece))


class Wrong(ValueError):
    """A value at a path of the document is wrong; whoever knows the places makes a `ConfigError` of it."""

    def __init__(self, key: Key, message: str):
        self.key = key
        self.message = message
        super().__init__(message)


def spelt(key: Key) -> str:
    """A path as people write it: `route[0].dialect`."""
    text = ""
    for step in key:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or all there is where nothing is near."""
    names = list(known)
    if near := get_close_matches(name, names, 1):
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(names)}" if 0 < len(names) <= MANY else ""
