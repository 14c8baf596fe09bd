"""Rules of routing: which targets a request goes to, by what it asks for. Pure, and each says in words why it holds."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.core.asked import Asked

Hint = Literal["fast", "cheap", "best", "local"]
"""What a client may want of routing, beside a target by its name."""
HINTS: tuple[Hint, ...] = ("fast", "cheap", "best", "local")

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(k?) ?(tokens|words)", re.ASCII)
_SIGNS = ("code", "tools", "images", "audio", "structured", "reasoning")


class Length:
    """How long a text is: in the file a number of tokens, or text as in `"8000 tokens"`, `"8k tokens"`, `"200 words"`."""

    __slots__ = ("count", "unit")

    def __init__(self, count: int, unit: Literal["tokens", "words"] = "tokens"):
        self.count = count
        self.unit = unit

    @classmethod
    def read(cls, value: object) -> Length:
        """Raises `ValueError` for what is no length."""
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return cls(value)
        if isinstance(value, str) and (match := _LENGTH.fullmatch(value)):
            count = round(float(match[1]) * (1000 if match[2] else 1))
            if count > 0:
                return cls(count, "words" if match[3] == "words" else "tokens")
        raise ValueError(f'{str(value)[:60]!r} is no length; write it like "8000 tokens" or "200 words"')

    def of(self, asked: Asked) -> int:
        """How long a question is, in this unit."""
        return asked.tokens if self.unit == "tokens" else asked.words

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"

    def __repr__(self) -> str:
        return f"Length({self.count}, {self.unit!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Length) and (other.count, other.unit) == (self.count, self.unit)

    def __hash__(self) -> int:
        return hash((self.count, self.unit))


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What must hold for a rule, all of it; a rule without conditions always holds. Lengths are estimates of the last user
    message."""

    code: Annotated[bool | None, Meta(description="There is code in the question, or some is asked for.")] = None
    language: Annotated[
        str | tuple[str, ...],
        Meta(
            description='The natural language of the question, by its ISO 639-1 code: `"de"`, or one of `["zh", "ja"]`.'
        ),
    ] = ()
    tools: Annotated[bool | None, Meta(description="The request brings tools.")] = None
    images: Annotated[bool | None, Meta(description="It shows pictures, now or earlier in the conversation.")] = None
    audio: Annotated[bool | None, Meta(description="It plays sound.")] = None
    structured: Annotated[bool | None, Meta(description="It wants JSON.")] = None
    reasoning: Annotated[
        bool | None, Meta(description="It wants a reasoning effort above `low`, or asks for a proof or for steps.")
    ] = None
    longer_than: Annotated[Length | None, Meta(description="The question is longer than this.")] = None
    shorter_than: Annotated[Length | None, Meta(description="It is shorter than this.")] = None
    needs_context: Annotated[
        Length | None,
        Meta(
            description="The whole conversation, its tools and the longest answer wanted need a window of more than this."
        ),
    ] = None
    hint: Annotated[
        Hint | None,
        Meta(description="The client hints so, in the header `Penstock-Route` or in `metadata.route`; see the how-to."),
    ] = None

    @property
    def languages(self) -> tuple[str, ...]:
        return (self.language,) if isinstance(self.language, str) else self.language

    def holds(self, asked: Asked) -> bool:
        """Whether a request is meant. The cheap signs are looked at first."""
        if self.hint is not None and asked.hint != self.hint:
            return False
        if self.longer_than is not None and self.longer_than.of(asked) <= self.longer_than.count:
            return False
        if self.shorter_than is not None and self.shorter_than.of(asked) >= self.shorter_than.count:
            return False
        if self.needs_context is not None and asked.context <= self.needs_context.count:
            return False
        for sign, wanted in self._signs:
            if getattr(asked, sign) is not wanted:
                return False
        return not self.language or asked.language in self.languages

    @cached_property
    def _signs(self) -> list[tuple[str, bool]]:
        """The signs that are told, the cheap ones first."""
        return [(sign, wanted) for sign in reversed(_SIGNS) if (wanted := getattr(self, sign)) is not None]

    def covers(self, other: When) -> bool:
        """Whether this holds wherever the other does."""
        if self.hint is not None and self.hint != other.hint:
            return False
        if any(getattr(self, sign) not in (None, getattr(other, sign)) for sign in _SIGNS):
            return False
        if self.language and not (other.language and set(other.languages) <= set(self.languages)):
            return False
        return (
            _looser(self.longer_than, other.longer_than)
            and _looser(self.needs_context, other.needs_context)
            and _looser(self.shorter_than, other.shorter_than, sign=-1)
        )

    def __str__(self) -> str:
        """In words, as a reader of the decision wants them."""
        said = [sign if getattr(self, sign) else f"no {sign}" for sign in _SIGNS if getattr(self, sign) is not None]
        if self.language:
            said.append("language " + " or ".join(self.languages))
        if self.longer_than is not None:
            said.append(f"longer than {self.longer_than}")
        if self.shorter_than is not None:
            said.append(f"shorter than {self.shorter_than}")
        if self.needs_context is not None:
            said.append(f"needs a window of more than {self.needs_context}")
        if self.hint is not None:
            said.append(f"hint {self.hint}")
        return ", ".join(said) or "everything"


def _looser(mine: Length | None, theirs: Length | None, sign: int = 1) -> bool:
    """Whether a lower bound (an upper one with `sign` -1) lets through all that another does."""
    if mine is None or theirs is None:
        return mine is None
    return mine.unit == theirs.unit and sign * mine.count <= sign * theirs.count


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a kind, and the targets they go to, by the names the house knows them by."""

    when: When
    use: tuple[str, ...]
    why: str = ""
    """What the configuration says of it."""
