"""Law: whatever a client says in its dialect reaches a provider in the provider's protocol, or is refused by its name.

And a provider of the client's own protocol is asked just what the client asked.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.carried import BOXES
from penstock.core.errors import Broken
from penstock.core.request import ChatRequest
from penstock.registry import names, resolve
from penstock.sources.provider import HttpProvider, Protocol, Question
from penstock.sources.responses_request import REASONING
from tests.laws.asking import MARK, REQUESTS, Object

PROVIDERS = names("providers")
SAME = {"openai-chat": "openai", "openai-responses": "openai-responses", "anthropic": "anthropic"}
"""Dialect → the kind of provider that speaks the same."""
dialects = pytest.mark.parametrize("dialect", [name for name in names("dialects") if name in REQUESTS])


def protocol_of(kind: str) -> Protocol:
    provider: HttpProvider = resolve("providers", kind)("http://provider.test")
    return provider._protocol


def parsed(dialect: str, body: Object) -> ChatRequest:
    request: ChatRequest = resolve("dialects", dialect)().parse(json.dumps(body).encode())
    return request


def marks(value: Any, *path: str) -> dict[str, tuple[str, ...]]:
    """Every mark within a JSON value, and the names of the members it stands in."""
    if isinstance(value, dict):
        keys = {mark: path for name in value for mark in MARK.findall(name)}
        return keys | {mark: at for name, inner in value.items() for mark, at in marks(inner, *path, name).items()}
    if isinstance(value, list):
        return {mark: at for inner in value for mark, at in marks(inner, *path).items()}
    return dict.fromkeys(MARK.findall(str(value)), path)


@dialects
@pytest.mark.parametrize("kind", PROVIDERS)
@given(data=st.data())
def test_what_was_said_is_asked_or_refused_by_its_name(dialect: str, kind: str, data: st.DataObject) -> None:
    body = data.draw(REQUESTS[dialect])
    request = parsed(dialect, body)
    canonical = {"messages": list(request.messages), **request.params}
    assert marks(body).keys() - marks(canonical).keys() == set()
    refused, question = _asked(kind, request)
    if refused is not None:
        assert refused.fault.code == "not_carried"
        assert refused.fault.param
        return
    asked = msgspec.json.decode(question.body)
    assert asked["stream"] is True
    assert not BOXES & asked.keys()
    left_out = {name.rpartition(".")[2] for name in question.left_out}
    lost = {mark for mark, path in marks(canonical).items() if not left_out & {*path}} - marks(asked).keys()
    assert lost == set(), (question.left_out, asked)


def _asked(kind: str, request: ChatRequest) -> tuple[Broken | None, Question]:
    try:
        return None, protocol_of(kind).question("any", request, host="provider.test")
    except Broken as refused:
        return refused, Question(b"")


@pytest.mark.parametrize("dialect", [name for name in SAME if name in names("dialects")])
@given(data=st.data())
def test_a_provider_of_the_same_protocol_is_asked_the_same(dialect: str, data: st.DataObject) -> None:
    body = data.draw(REQUESTS[dialect])
    request = parsed(dialect, body)
    question = protocol_of(SAME[dialect]).question("any", request, host="provider.test")
    again = parsed(dialect, msgspec.json.decode(question.body))
    assert question.left_out == ()
    assert again.messages == request.messages
    assert without_ours(again.params) == without_ours(request.params)


def without_ours(params: Object) -> Object:
    """Without what a source adds by itself: the counting of tokens, and thoughts in cipher, which nobody else keeps."""
    told = {name: value for name, value in params.items() if name != "stream_options"}
    own = dict(told.get("openai-responses", {}))
    if include := [name for name in own.pop("include", []) if name != REASONING]:
        own["include"] = include
    return {**told, "openai-responses": own}
