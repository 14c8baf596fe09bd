"""What the schemas say of requests is what the dialects do: a field that is named is understood, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from docs.dialects import SUPPORTED
from penstock.core.errors import Refused
from penstock.core.request import ChatRequest
from penstock.registry import resolve
from tests.contract.validate import check_value, schema


def examples(definition: str) -> Iterator[Any]:
    """Every example of every field of a definition, as parameters of a test."""
    for name in SUPPORTED:
        for field, described in schema(name)["$defs"].get(definition, {}).get("properties", {}).items():
            for number, example in enumerate(described["examples"]):
                yield pytest.param(name, field, example, id=f"{name}-{field}-{number}")


def body(name: str, **fields: Any) -> bytes:
    """The smallest request of a dialect, made of the first examples of what it requires, with more fields."""
    described = schema(name)["$defs"]["request"]
    least = {field: described["properties"][field]["examples"][0] for field in described["required"]}
    beside = described["properties"] | schema(name)["$defs"].get("refused", {}).get("properties", {})
    needed = {key: value for field in fields for key, value in beside[field].get("x-beside", {}).items()}
    return json.dumps({**least, **needed, **fields}).encode()


@pytest.mark.parametrize(("name", "field", "example"), list(examples("request")))
def test_a_field_that_is_named_is_understood(name: str, field: str, example: Any) -> None:
    asked = body(name, **{field: example})
    check_value(name, json.loads(asked), "request")
    assert isinstance(resolve("dialects", name)().parse(asked), ChatRequest)


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_field_that_cannot_be_carried_is_refused_by_its_name(name: str) -> None:
    for field, described in schema(name)["$defs"].get("refused", {}).get("properties", {}).items():
        for example in described["examples"]:
            with pytest.raises(Refused) as refused:
                resolve("dialects", name)().parse(body(name, **{field: example}))
            assert refused.value.fault.param == field
            assert field in refused.value.fault.message
