"""A small value that fits a JSON Schema, made of what a question offers: its numbers and its quoted words.

It knows what the schemas of tools and of structured answers are made of, and says so where one asks for more.
"""

import re
from collections.abc import Mapping
from typing import Any

JSON = Mapping[str, Any]
FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Wishes:
    """What a question offers for the values it asks for: each number and each quoted word once, in order, then none."""

    def __init__(self, question: str) -> None:
        self.quoted = re.findall(r"(?<!\w)['\"]([^'\"]+)['\"](?!\w)", question)
        self.numbers = [float(each) for each in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", question)]

    def text(self, name: str) -> str:
        return self.quoted.pop(0) if self.quoted else f"some {name or 'words'}"

    def number(self, least: float) -> float:
        return max(self.numbers.pop(0), least) if self.numbers else max(1.0, least)


def fitting(schema: JSON, wishes: Wishes, *, name: str = "", root: JSON | None = None) -> Any:
    """A value for one schema: required members of an object only, one item of an array, the first of several ways.

    Raises ValueError for a schema that it cannot meet: a `pattern`, or no type at all.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return fitting(referred(schema["$ref"], root), wishes, name=name, root=root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            ways = [way for way in schema[several] if way.get("type") != "null"]
            return fitting(ways[0], wishes, name=name, root=root)
    if "allOf" in schema:
        merged = {**schema, **{key: value for each in schema["allOf"] for key, value in resolved(each, root).items()}}
        del merged["allOf"]
        return fitting(merged, wishes, name=name, root=root)
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    match kind:
        case "object":
            members = schema.get("properties", {})
            wanted = schema.get("required", list(members))
            return {
                each: fitting(members.get(each, {"type": "string"}), wishes, name=each, root=root) for each in wanted
            }
        case "array":
            items = schema.get("items", {"type": "string"})
            return [fitting(items, wishes, name=name, root=root) for _ in range(schema.get("minItems", 1))]
        case "string":
            return text(schema, wishes, name)
        case "integer":
            return int(wishes.number(schema.get("minimum", float("-inf"))))
        case "number":
            return wishes.number(schema.get("minimum", float("-inf")))
        case "boolean":
            return True
        case "null":
            return None
    raise ValueError(f"the stand-in cannot meet this schema: {dict(schema)}")


def text(schema: JSON, wishes: Wishes, name: str) -> str:
    if "pattern" in schema:
        raise ValueError(f"the stand-in cannot meet a pattern: {schema['pattern']}")
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    made = wishes.text(name)[: schema.get("maxLength")]
    return made.ljust(schema.get("minLength", 0), ".")


def resolved(schema: JSON, root: JSON) -> JSON:
    return referred(schema["$ref"], root) if "$ref" in schema else schema


def referred(reference: str, root: JSON) -> JSON:
    """What `#/$defs/Name` points at."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    where: JSON = found
    return where
