"""Which line of a TOML file says what: tomllib finds the mistakes, this finds the place.

A statement of TOML is a document of its own, so the lines are fed to tomllib until they parse, one statement after another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

Key = tuple[str | int, ...]
"""A path into the document: names of keys, numbers of array elements."""


class Places:
    """Where each key of a document stands. The text must be valid TOML."""

    def __init__(self, text: str):
        self._lines: dict[Key, int] = {}
        self._arrays: dict[Key, int] = {}
        table: Key = ()
        for line, statement, document in _statements(text):
            found = _deepest(document)
            if statement.startswith("[["):
                *outer, last = found[:-1]
                array = (*self._indexed(tuple(outer)), last)
                self._arrays[array] = self._arrays.get(array, -1) + 1
                table = (*array, self._arrays[array])
            elif statement.startswith("["):
                table = self._indexed(found)
            else:
                for key in _keys(document):
                    self._lines.setdefault((*table, *key), line)
                continue
            for length in range(1, len(table) + 1):
                # A header is the first word of every table around it that was not named before.
                self._lines.setdefault(table[:length], line)

    def line(self, key: Key) -> int | None:
        """The line, from 1, of the key or of the nearest thing around it; None where the file does not speak of it."""
        for length in range(len(key), 0, -1):
            if (line := self._lines.get(key[:length])) is not None:
                return line
        return None

    def _indexed(self, header: Key) -> Key:
        """The path a header means: below an array of tables, its last element."""
        key: Key = ()
        for step in header:
            key = (*key, step)
            if key in self._arrays:
                key = (*key, self._arrays[key])
        return key


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, object]]]:
    lines = text.replace("\r\n", "\n").split("\n")
    start = 0
    while start < len(lines):
        end = start + 1
        while (document := _parsed("\n".join(lines[start:end]))) is None and end < len(lines):
            end += 1
        if document:
            yield start + 1, lines[start].lstrip(), document
        start = end


def _parsed(text: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _deepest(document: object) -> Key:
    """The one path a header spells: `{"a": {"b": {}}}` is a.b, `{"a": [{}]}` is element 0 of a."""
    steps = _steps(document)
    return (steps[0][0], *_deepest(steps[0][1])) if steps else ()


def _keys(value: object) -> Iterator[Key]:
    """Every key within a statement, inline tables and arrays included."""
    for step, inner in _steps(value):
        yield (step,)
        yield from ((step, *key) for key in _keys(inner))


def _steps(value: object) -> list[tuple[str | int, object]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
