"""What a request knows of its own question."""

from __future__ import annotations

from penstock.core.request import ChatRequest, text_of


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
