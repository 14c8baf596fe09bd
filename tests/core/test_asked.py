"""What is recognised in a request; the many labelled ones of examples/routing are in tests/examples/test_routing.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.asked import LOOKED_AT, Asked, unhinted
from penstock.core.language import LANGUAGES, language_of
from penstock.core.request import ChatRequest, Message


def asked(text: Any, *before: Message, **params: Any) -> Asked:
    return Asked(ChatRequest(model="", messages=(*before, {"role": "user", "content": text}), params=params))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The weather is nice in Lisbon.", "en"),
        ("Das Wetter ist schön in Lissabon.", "de"),
        ("Le temps est beau à Lisbonne.", "fr"),
        ("¿Qué tiempo hace en la ciudad?", "es"),
        ("Che tempo fa nella città di Lisbona?", "it"),
        ("O tempo está bom em Lisboa, não é?", "pt"),
        ("Het weer is mooi in de stad.", "nl"),
        ("Погода сегодня хорошая.", "ru"),
        ("東京の天気はどうですか", "ja"),
        ("今天天气怎么样", "zh"),
        ("오늘 날씨가 어때요", "ko"),
        ("كيف الطقس اليوم", "ar"),
        ("आज मौसम कैसा है", "hi"),
        ("Xyzzy plugh", ""),
        ("", ""),
        ("12345 + 67890", ""),
    ],
)
def test_the_language_is_told_by_script_and_common_words(text: str, language: str) -> None:
    assert language_of(text) == language


def test_code_in_another_tongue_does_not_hide_the_language_around_it() -> None:
    assert (
        asked("Was ist hier falsch, und warum?\n```python\nfor the in of: is to\n```\nBitte hilf mir.").language == "de"
    )


def test_a_huge_question_is_looked_at_at_both_its_ends_only() -> None:
    prose = "the sea is wide and the land is dry. "
    huge = prose * 40_000
    assert asked(huge).code is False
    assert asked(huge + "\n```python\nx\n```").code is True
    middle = huge[: len(huge) // 2] + "```" + huge[len(huge) // 2 :]
    assert len(middle) > 100 * LOOKED_AT
    assert asked(middle).code is False


def test_lengths_are_of_the_last_question_and_the_window_is_for_everything() -> None:
    before: Message = {"role": "user", "content": "word " * 4000}
    it = asked("one two three four", before, max_tokens=100)
    assert (it.words, it.tokens) == (4, 5)
    assert 5000 < it.context - 100 < 5100
    huge = asked("word " * 100_000)
    assert abs(huge.words - 100_000) < 1000


def test_a_tool_a_picture_and_a_call_take_room_in_the_window() -> None:
    bare = asked("hi").context
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 400}}
    assert asked("hi", tools=[tool]).context > bare + 100
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert bare + 500 < asked([{"type": "text", "text": "hi"}, picture]).context < bare + 2000
    called: Message = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "y" * 400}}]}
    assert asked("hi", called).context > bare + 100


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "low"}, False),
        ({"anthropic": {"thinking": {"type": "enabled", "budget_tokens": 2048}}}, True),
        ({}, False),
    ],
)
def test_reasoning_is_wanted_by_a_parameter(params: dict[str, Any], wanted: bool) -> None:
    assert asked("hi", **params).reasoning is wanted


def test_nothing_in_a_strange_request_is_a_surprise() -> None:
    odd: Message = {"role": "user", "content": [{"type": 7}, {"text": 3}, {"type": "image_url"}]}
    it = Asked(
        ChatRequest(model="", messages=({"role": "system"}, odd), params={"metadata": {"route": 5}, "tools": []})
    )
    assert (it.hint, it.code, it.language, it.images, it.tools) == ("", False, "", True, False)
    assert asked("\ud800 lone surrogate").context > 0


PARTS = st.dictionaries(
    st.sampled_from(["type", "text", "image_url", "x"]),
    st.one_of(st.text(max_size=8), st.integers(), st.sampled_from(["image_url"])),
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"])},
    optional={"content": st.one_of(st.none(), st.text(), st.lists(PARTS)), "tool_calls": st.lists(PARTS)},
)
PARAMS = st.dictionaries(
    st.sampled_from(["metadata", "tools", "response_format", "reasoning_effort", "max_tokens", "anthropic"]),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9)),
        lambda inner: st.dictionaries(st.sampled_from(["route", "type", "thinking", "metadata"]), inner),
        max_leaves=4,
    ),
)


@given(messages=st.lists(MESSAGES, min_size=1), params=PARAMS)
def test_of_any_request_everything_can_be_asked(messages: list[Message], params: dict[str, Any]) -> None:
    request = ChatRequest(model="", messages=tuple(messages), params=params)
    it = Asked(request)
    assert {it.code, it.tools, it.images, it.audio, it.structured, it.reasoning} <= {True, False}
    assert it.language in {"", *LANGUAGES}
    assert min(it.tokens, it.words, it.context) >= 0
    assert Asked(unhinted(request)).hint == ""
    assert isinstance(it.hint, str)
