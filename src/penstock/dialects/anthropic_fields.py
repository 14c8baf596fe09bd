"""Checks of single fields of an Anthropic request. What is wrong is refused under the path Anthropic gives it, as in
`messages.0.content.1.source`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias, TypeGuard, TypeVar

from penstock.core.errors import Refused
from penstock.core.events import Json

Object: TypeAlias = "dict[str, Json]"
T = TypeVar("T", bool, float, int, str)

QUOTED = 64
"""Characters of a request that its error repeats."""
_KINDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def wrong(where: str, what: str) -> Refused:
    """The refusal of the field at `where`; `what` says what it has to be."""
    return Refused("invalid_request", f"{where}: {what}", param=where)


def kind(value: Json) -> str:
    """What a JSON value is, in words."""
    return _KINDS[type(value)]


def quoted(text: str) -> str:
    """What the client said, to be shown to it again, but never at length."""
    return repr(text if len(text) <= QUOTED else f"{text[:QUOTED]}…")


def is_object(value: Json) -> TypeGuard[Object]:
    return isinstance(value, dict)


def an_object(value: Json, where: str) -> Object:
    """The value, where it is an object. Raises `Refused`."""
    if not is_object(value):
        raise wrong(where, f"must be an object, not {kind(value)}")
    return value


def an_array(value: Json, where: str) -> list[Json]:
    """The value, where it is an array. Raises `Refused`."""
    if not isinstance(value, list):
        raise wrong(where, f"must be an array, not {kind(value)}")
    return value


def text(fields: Object, name: str, where: str) -> str:
    """A string that has to be there."""
    if name not in fields:
        raise wrong(f"{where}.{name}", "field required")
    value = fields[name]
    if not isinstance(value, str):
        raise wrong(f"{where}.{name}", f"must be a string, not {kind(value)}")
    return value


def optional(fields: Object, name: str, wanted: type[T], where: str) -> T | None:
    """A field that may be missing or null. Raises `Refused` for one of another type; a whole number is a float too."""
    value = fields.get(name)
    if value is None:
        return None
    if wanted is float and type(value) is int:
        try:
            return wanted(value)
        except OverflowError:
            raise wrong(where, "is beyond every number that is meant here") from None
    if type(value) is not wanted:
        raise wrong(where, f"must be {_KINDS[wanted]}, not {kind(value)}")
    return value


def one_of(value: Json, words: Collection[str], where: str) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in words:
        found = quoted(value) if isinstance(value, str) else kind(value)
        raise wrong(where, f"must be one of {', '.join(repr(word) for word in words)}, not {found}")
    return value


def without(fields: Object, *names: str) -> Object:
    """What an object holds beside the fields that were read."""
    return {name: value for name, value in fields.items() if name not in names}
