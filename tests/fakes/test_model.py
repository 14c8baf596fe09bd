"""The stand-in does what it is told, keeps to the schemas it is given, and is the same model as a source and as a provider."""

import json
from typing import Any

import jsonschema
import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.sources.callable import build
from tests.fakes.model import Call, Said, answer_to, model, steps
from tests.fakes.provider import Provider
from tests.fakes.schema import Wishes, fitting
from tests.serving import serving

ADD = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"], "type": "object"}
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": ADD}},
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"properties": {"city": {"type": "string"}}}},
    },
]


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], **more}


@pytest.mark.parametrize(
    ("request_body", "names"),
    [
        (asked("add 3 and 4", tools=TOOLS), ["add"]),
        (asked("The weather in 'Ulm', and add 3 and 4", tools=TOOLS), ["add"]),
        (asked("get_weather and add", tools=TOOLS), ["add", "get_weather"]),
        (asked("get_weather and add", tools=TOOLS, parallel_tool_calls=False), ["add"]),
        (asked("the weather?", tools=TOOLS), ["get_weather"]),
        (asked("hello", tools=TOOLS), []),
        (asked("hello", tools=TOOLS, tool_choice="required"), ["add"]),
        (asked("add", tools=TOOLS, tool_choice="none"), []),
        (asked("add", tools=TOOLS, tool_choice={"function": {"name": "get_weather"}}), ["get_weather"]),
    ],
)
def test_it_calls_the_tools_it_is_told_to(request_body: dict[str, Any], names: list[str]) -> None:
    said = answer_to(request_body)
    assert [call.name for call in said.calls] == names
    assert said.reason == ("tool_calls" if names else "stop")


def test_arguments_come_from_the_question() -> None:
    said = answer_to(asked("add 3 and 4", tools=TOOLS))
    assert said.calls == (Call("call_1", "add", '{"a":3,"b":4}'),)
    said = answer_to(asked("Was ist das weather in 'Köln'?", tools=TOOLS))
    assert said.calls == (Call("call_1", "get_weather", '{"city":"Köln"}'),)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": ["x", "y"]}}},
        {"anyOf": [{"type": "null"}, {"type": "array", "minItems": 2, "items": {"type": "number", "minimum": 5}}]},
        {"allOf": [{"properties": {"at": {"type": "string", "format": "date"}}}], "type": "object", "required": ["at"]},
        {"type": ["null", "string"], "minLength": 30, "maxLength": 40},
        {"type": "object", "properties": {"ok": {"type": "boolean"}, "no": {"type": "null"}, "one": {"const": 1}}},
    ],
)
def test_what_it_says_fits_the_schema(schema: dict[str, Any]) -> None:
    value = fitting(schema, Wishes("2 'words'"))
    jsonschema.validate(value, schema)
    assert value not in ({}, None)


def test_a_schema_it_cannot_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot meet a pattern"):
        fitting({"type": "string", "pattern": "^x+$"}, Wishes(""))


def test_it_tells_what_a_tool_returned_and_ends_where_it_should() -> None:
    returned = {"messages": [{"role": "user", "content": "add"}, {"role": "tool", "content": "7"}], "tools": TOOLS}
    assert answer_to(returned).text == "The tool said: 7"
    assert answer_to(asked("one two", stop=["two"])).text == "You said: one "
    assert answer_to(asked("one two", max_tokens=3)) == Said("You said: one", reason="length", asked=2)
    assert (
        answer_to(asked("'a' and 'b'", response_format={"type": "json_object"})).text == '{"a":"some a","b":"some b"}'
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "question",
    [
        asked("Hello", reasoning_effort="high", n=2),
        asked("the weather in 'Ulm', get_weather and add 3 and 4", tools=TOOLS),
    ],
)
async def test_it_is_the_same_model_as_a_source_and_as_a_provider(
    provider: Provider, question: dict[str, Any], stream: bool
) -> None:
    provider.unscripted = steps
    answers: list[list[object]] = []
    config = Config(models={"fake": ModelConfig(targets=(f"{provider.base_url}#fake",))})
    async with serving(config, sources={"model": build(model)}) as served, served.client() as client:
        for name in ("fake", "model"):
            body = {**question, "model": name, "stream": stream, "stream_options": {"include_usage": True}}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
            whole = [handle.log.snapshot() for handle in served.runs.by_id.values()][-1]
            answers.append([(part.kind, part.choice, part.name, part.call_id, part.text) for part in whole.parts])
            assert whole.usage is not None
            answers[-1].append(("usage", whole.usage.input, None, None, str(whole.usage.output)))
    assert sorted(map(json.dumps, answers[0])) == sorted(map(json.dumps, answers[1]))
    assert len(answers[0]) > 2
