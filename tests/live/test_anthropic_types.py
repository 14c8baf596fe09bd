"""What Anthropic is asked is what anthropic-python's own types allow, whatever dialect the question came in."""

import json
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from penstock.core.carried import BOXES
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.registry import resolve
from penstock.sources.anthropic_request import question
from penstock.sources.translation import SILENT
from tests.laws.asking import REQUESTS

TYPE: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)


def judged(value: Any) -> Any:
    """The value, looked at to its depth: pydantic judges an iterable as it is read. Raises `ValidationError`."""
    if isinstance(value, dict):
        return {name: judged(member) for name, member in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [judged(item) for item in value]


def sayable(request: ChatRequest) -> ChatRequest:
    """The request without what Anthropic's protocol is known to have no words for."""

    def can(part: Json) -> bool:
        return not isinstance(part, dict) or part.get("type") not in {*BOXES, "input_audio", "custom"}

    params = {name: value for name, value in request.params.items() if name not in {*SILENT, *BOXES, "service_tier"}}
    if isinstance(tools := params.get("tools"), list):
        params["tools"] = [tool for tool in tools if can(tool)]
    messages: list[Message] = []
    for message in request.messages:
        content = message.get("content")
        kept: Json = [part for part in content if can(part)] if isinstance(content, list) else content
        messages.append({**message, "content": kept, "name": None})
    return msgspec.structs.replace(request, params=params, messages=tuple(messages))


@pytest.mark.parametrize("dialect", sorted(REQUESTS.keys() - {"anthropic"}))
@given(data=st.data())
def test_a_question_has_the_types_of_the_sdk(dialect: str, data: st.DataObject) -> None:
    request = resolve("dialects", dialect)().parse(json.dumps(data.draw(REQUESTS[dialect])).encode())
    asked = question("claude", sayable(request), host="provider.test")
    judged(TYPE.validate_python(msgspec.json.decode(asked.body)))


def test_the_judge_finds_what_is_no_question() -> None:
    body = {
        "model": "c",
        "max_tokens": 5,
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "file"}]}],
    }
    with pytest.raises(ValidationError):
        judged(TYPE.validate_python(body))
