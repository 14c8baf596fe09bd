"""What a request costs to read, to translate and to black out, and an answer to go on with, grows with its length alone.

Each case is so large that reading it once takes a fraction of a second, and reading it once per item minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from penstock.core.cassette import scrubbed
from penstock.core.cursor import Entry
from penstock.core.events import Delta, Json
from penstock.core.frame import Dialect
from penstock.core.joint import Joint
from penstock.core.request import ChatRequest, Message
from penstock.registry import resolve
from penstock.sources import anthropic_request, ollama_request, responses_request

MANY = 100_000
LONGEST = 5.0
"""Seconds of the processor."""

_encode = msgspec.json.Encoder().encode

ASKED: Message = {"role": "user", "content": "Hello"}


def seconds(do: Callable[[], object]) -> float:
    start = time.thread_time()
    do()
    return time.thread_time() - start


def _tools(number: int) -> list[Json]:
    return [{"type": "function", "name": f"tool_{index}", "parameters": {}} for index in range(number)]


BODIES: dict[str, tuple[str, Callable[[], dict[str, Json]]]] = {
    "tools": ("openai-responses", lambda: {"input": "Hello", "tools": _tools(MANY)}),
    "allowed tools": (
        "openai-responses",
        lambda: {
            "input": "Hello",
            "tools": _tools(MANY // 2),
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": _tools(MANY // 2)},
        },
    ),
    "what the assistant said": (
        "openai-responses",
        lambda: {"input": [{"role": "assistant", "content": "Hello"} for _ in range(MANY)]},
    ),
    "items of no other protocol": (
        "openai-responses",
        lambda: {"input": [{"type": "web_search_call", "id": "ws"} for _ in range(MANY)]},
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_is_read_once(case: str) -> None:
    name, fields = BODIES[case]
    dialect: Dialect = resolve("dialects", name)()
    body = _encode({"model": "any", **fields()})
    assert seconds(lambda: dialect.parse(body)) < LONGEST


def _chat(*messages: Message, **params: Json) -> ChatRequest:
    return ChatRequest(model="any", messages=messages, params=params)


QUESTIONS: dict[str, tuple[Callable[..., object], Callable[[], ChatRequest]]] = {
    "turns of one role": (anthropic_request.question, lambda: _chat(*(dict(ASKED) for _ in range(MANY)))),
    "members that are left out": (
        ollama_request.question,
        lambda: _chat(
            {"role": "user", "content": [{"type": "text", "text": "Hi", **{f"m{i}": 1 for i in range(MANY)}}]}
        ),
    ),
    "what is included": (
        responses_request.question,
        lambda: _chat(ASKED, include=[f"thing_{index}" for index in range(MANY)]),
    ),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_question_is_translated_once(case: str) -> None:
    translate, made = QUESTIONS[case]
    request = made()
    assert seconds(lambda: translate("model", request, host="provider.test")) < LONGEST


def test_what_stands_beside_a_message_is_not_repeated_with_each_of_its_parts() -> None:
    """Five hundred parts and five hundred annotations made eight megabytes of forty kilobytes."""
    number = 500
    notes: list[Json] = [{"type": "url_citation", "url_citation": {"url": "https://a.test"}}] * number
    call: Json = {"type": "openai-responses", "openai-responses": {"type": "web_search_call", "id": "ws"}}
    text: Json = {"type": "text", "text": "Hello"}
    parts: list[Json] = [part for _ in range(number) for part in (text, call)]
    message: Message = {"role": "assistant", "content": parts, "annotations": notes, "phase": "x" * 10_000}
    body = responses_request.question("model", _chat(ASKED, message), host="provider.test").body
    assert len(body) < 5 * len(_encode(message))


@pytest.mark.parametrize("piece", ["-eyJ", "eyJ-", "sk-", "bearer ", "://a:", "-----BEGIN ", "hello "])
def test_keys_are_looked_for_once(piece: str) -> None:
    said = [Entry(1, 1, 0, Delta(0, piece * (1_000_000 // len(piece))))]
    assert seconds(lambda: scrubbed(said)) < LONGEST


def test_an_answer_that_is_repeated_whole_is_compared_once() -> None:
    said = "".join(f"word {number} " for number in range(5 * MANY))
    joint = Joint(said)
    pieces = [said[at : at + 4] for at in range(0, len(said), 4)]
    assert seconds(lambda: [joint.more(piece) for piece in pieces]) < LONGEST
    assert (joint.rest(), joint.trimmed) == ("", len(said))
