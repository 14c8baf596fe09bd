"""Rules of routing: when one holds, and when one leaves nothing for another."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.asked import Asked
from penstock.core.request import ChatRequest
from penstock.core.rules import Length, When


def asked(text: str, hint: str = "", **params: Any) -> Asked:
    return Asked(ChatRequest(model="", messages=({"role": "user", "content": text},), params=params, hint=hint))


@pytest.mark.parametrize(
    ("value", "length"),
    [(800, Length(800)), ("8000 tokens", Length(8000)), ("8k tokens", Length(8000)), ("1.5k tokens", Length(1500)),
     ("200 words", Length(200, "words"))],
)  # fmt: skip
def test_a_length_is_a_number_of_tokens_or_says_its_unit(value: object, length: Length) -> None:
    assert Length.read(value) == length


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "", "8000", "many words", "8 pages", None, "0 tokens"])
def test_what_is_no_length_says_how_to_write_one(value: object) -> None:
    with pytest.raises(ValueError, match='write it like "8000 tokens" or "200 words"'):
        Length.read(value)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (When(), True),
        (When(language="de"), True),
        (When(language=("en", "fr")), False),
        (When(code=False, tools=False, images=False), True),
        (When(code=True), False),
        (When(longer_than=Length(3, "words")), True),
        (When(longer_than=Length(5, "words")), False),
        (When(shorter_than=Length(6, "words")), True),
        (When(shorter_than=Length(2)), False),
        (When(needs_context=Length(500)), True),
        (When(needs_context=Length(2000)), False),
        (When(hint="fast"), False),
        (When(language="de", tools=True), False),
    ],
    ids=str,
)
def test_all_conditions_of_a_rule_must_hold(when: When, holds: bool) -> None:
    assert when.holds(asked("Was ist das für ein", max_tokens=1000)) is holds


@pytest.mark.parametrize(
    ("first", "then", "covers"),
    [
        (When(), When(code=True), True),
        (When(code=True), When(code=True, tools=True), True),
        (When(code=True), When(), False),
        (When(code=True), When(code=False), False),
        (When(language=("de", "fr")), When(language="de"), True),
        (When(language="de"), When(language=("de", "fr")), False),
        (When(longer_than=Length(100)), When(longer_than=Length(200)), True),
        (When(longer_than=Length(200)), When(longer_than=Length(100)), False),
        (When(shorter_than=Length(200)), When(shorter_than=Length(100)), True),
        (When(shorter_than=Length(100)), When(shorter_than=Length(200)), False),
        (When(longer_than=Length(10)), When(longer_than=Length(20, "words")), False),
        (When(hint="fast"), When(hint="cheap"), False),
        (When(hint="fast"), When(hint="fast", code=True), True),
    ],
)
def test_a_rule_covers_another_that_can_only_hold_where_it_does(first: When, then: When, covers: bool) -> None:
    assert first.covers(then) is covers


def test_a_rule_says_what_it_is_about() -> None:
    when = When(code=True, tools=False, language=("de", "nl"), longer_than=Length(8000), hint="best")
    assert str(when) == "code, no tools, language de or nl, longer than 8000 tokens, hint best"
    assert str(When()) == "everything"
