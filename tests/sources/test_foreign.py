"""What a client of Anthropic's says in words of its own, asked of providers that have others for it, or none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.core.errors import Broken
from penstock.dialects.anthropic import AnthropicDialect
from penstock.registry import resolve
from penstock.sources.translation import OPENAI

EFFORT = {
    "openai": lambda body: body.get("reasoning_effort"),
    "openai-responses": lambda body: body.get("reasoning", {}).get("effort"),
    "ollama": lambda body: body.get("think"),
}
"""Where each kind of provider is told how hard to think."""
everywhere = pytest.mark.parametrize("kind", EFFORT)
TURN: list[Any] = [{"role": "user", "content": "Why?"}]


def asked(kind: str, *, host: str = "provider.test", **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The body of the question, and what was left out."""
    stated = {"model": "m", "max_tokens": 40_000, "messages": TURN, **fields}
    request = AnthropicDialect().parse(json.dumps(stated).encode())
    question = resolve("providers", kind)("http://provider.test")._protocol.question("m", request, host=host)
    return msgspec.json.decode(question.body), list(question.left_out)


@everywhere
@pytest.mark.parametrize(("budget", "effort"), [(1024, "low"), (4_000, "low"), (8_192, "medium"), (31_999, "high")])
def test_a_budget_to_think_with_is_an_effort(kind: str, budget: int, effort: str) -> None:
    body, left_out = asked(kind, thinking={"type": "enabled", "budget_tokens": budget, "display": "summarized"})
    assert EFFORT[kind](body) == effort
    assert left_out == ["thinking.budget_tokens", "thinking.display"]
    assert "thinking" not in body


@everywhere
def test_an_effort_that_was_asked_for_stands(kind: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert EFFORT[kind](asked(kind, thinking=thinking, output_config={"effort": "high"})[0]) == "high"


@everywhere
def test_a_model_that_may_choose_how_long_to_think_is_left_to_itself(kind: str) -> None:
    body, left_out = asked(kind, thinking={"type": "adaptive"})
    assert (EFFORT[kind](body), left_out) == (None, ["thinking"])


@everywhere
def test_not_to_think_goes_before_any_effort(kind: str) -> None:
    body, left_out = asked(kind, thinking={"type": "disabled"}, output_config={"effort": "high"})
    assert EFFORT[kind](body) in ("none", False)
    assert left_out == ["reasoning_effort"]


@everywhere
def test_the_effort_that_only_anthropic_knows_is_the_highest_of_the_others(kind: str) -> None:
    body, left_out = asked(kind, output_config={"effort": "max"})
    assert EFFORT[kind](body) in ("xhigh", "high")
    assert left_out == ["reasoning_effort"]


@everywhere
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thinking", {"type": "deep"}),
        ("thinking", {"type": "adaptive", "about": "it"}),
        ("container", "c1"),
        ("mcp_servers", [{"type": "url", "url": "https://mcp.test", "name": "it"}]),
        ("output_config", {"shape": "round"}),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(kind: str, name: str, value: Any) -> None:
    with pytest.raises(Broken) as broken:
        asked(kind, **{name: value})
    assert (broken.value.fault.code, broken.value.fault.param) == ("not_carried", name)


@everywhere
def test_what_asks_for_nothing_is_no_reason_to_refuse(kind: str) -> None:
    assert asked(kind, mcp_servers=[])[1] == []


@everywhere
def test_hints_to_anthropic_are_left_out_and_named(kind: str) -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": True, "input_examples": [{}]}
    body, left_out = asked(
        kind,
        tools=[tool],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"task_budget": {"type": "tokens", "total": 9}},
        service_tier="auto",
        metadata={"user_id": "u" * 65},
    )
    assert sorted(left_out) == [
        "context_management", "eager_input_streaming", "input_examples", "output_config.task_budget", "service_tier", "user",
    ]  # fmt: skip
    (said,) = body["tools"]
    assert said.get("function", said).keys() - {"type", "strict"} == {"name", "parameters"}
    assert not {"user", "metadata", "anthropic", "service_tier"} & body.keys()


@everywhere
def test_a_thought_that_another_provider_signed_is_a_thought_without_its_signature(kind: str) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    redacted = {"type": "redacted_thinking", "data": "EmwK"}
    answer = {"role": "assistant", "content": [thinking, redacted, {"type": "text", "text": "So."}]}
    body, left_out = asked(kind, messages=[*TURN, answer, *TURN])
    said = json.dumps(body)
    assert left_out == ["thinking.signature", "redacted_thinking.data"]
    assert ("Hm." in said, "EqQB" in said, "EmwK" in said) == (True, False, False)


def test_openai_itself_is_told_the_limit_in_the_words_that_all_its_models_take() -> None:
    assert asked("openai", host=OPENAI)[0]["max_completion_tokens"] == 40_000
    assert asked("openai")[0]["max_tokens"] == 40_000


CITED = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 2}
TOLD = {"type": "output_text", "text": "So.", "annotations": [CITED], "logprobs": [{"token": "So.", "logprob": 0}]}


@pytest.mark.parametrize("kind", [*EFFORT, "anthropic"])
def test_what_responses_told_beside_a_text_comes_back_to_it_and_to_no_other(kind: str) -> None:
    stated = {"model": "m", "input": [*TURN, {"type": "message", "role": "assistant", "content": [TOLD]}, *TURN]}
    request = resolve("dialects", "openai-responses")().parse(json.dumps(stated).encode())
    question = resolve("providers", kind)("http://provider.test")._protocol.question("m", request, host="provider.test")
    if kind == "openai-responses":
        assert msgspec.json.decode(question.body)["input"][1]["content"] == [TOLD]
        assert question.left_out == ()
    else:
        assert b"url_citation" not in question.body
        assert question.left_out == ("annotations", "logprobs")
