"""What a request knows of its own question."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.request import ChatRequest, outweighs, text_of


def test_the_prompt_is_the_text_of_the_last_user_message() -> None:
    request = ChatRequest(
        model="",
        messages=(
            {"role": "user", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "la"}, {"type": "image"}, {"text": "st"}]},
            {"role": "assistant", "content": "answer"},
        ),
    )
    assert request.prompt == "last"


def test_a_conversation_without_a_user_has_an_empty_prompt() -> None:
    assert ChatRequest(model="", messages=({"role": "system", "content": "x"},)).prompt == ""


def test_a_message_without_text_has_an_empty_text() -> None:
    assert [text_of({"role": "user"}), text_of({"role": "user", "content": 5})] == ["", ""]


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": ({"role": "user", "content": "x" * 9_000},)},
        {"messages": ({"role": "user", "content": [{"type": "text", "text": "x" * 5_000}] * 2},)},
        {"messages": ({"role": "user", "content": "x"},) * 300},
        {"params": {"tools": [{"function": {"name": "f"}}] * 300}},
        {"params": {"seeds": list(range(400))}},
    ],
)
def test_a_large_request_is_known_for_one_wherever_it_is_large(asked: dict[str, Any]) -> None:
    request = ChatRequest(model="", **{"messages": (), **asked})
    assert outweighs(request, 9_000)
    assert not outweighs(request, 90_000)


@pytest.mark.parametrize(
    "name", ["messages[x]", "messages[", "messages[-1].x", "messages[²]", "messages[" + "9" * 5_000]
)
def test_a_field_that_a_client_has_called_like_a_place_is_itself(name: str) -> None:
    request = ChatRequest(model="", messages=({}, {}, {}), recalled=2)
    assert request.spelled(name).startswith(name[:9])


def test_a_place_is_looked_up_in_one_step_however_long_its_name_is() -> None:
    request = ChatRequest(model="", messages=(), places={"metadata": "labels"})
    assert request.spelled("metadata" + ".a" * 5_000_000) == "labels"
