"""The pages of the reference that say what of a foreign dialect is supported, from the schemas in `protocols/dialects/`.

A schema's `$defs.request` names every field that is understood, `request_…` the things inside it, and `$defs.refused` what is
turned down by name. `oneOf` has the messages of a stream, `whole` the answer to `stream: false`, `refusal` an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from penstock.registry import TABLES

SCHEMAS = Path(__file__).parents[1] / "protocols" / "dialects"
SUPPORTED = sorted(
    name
    for name in TABLES["dialects"]
    if "request"
    in json.loads(
        (SCHEMAS / f"{name}.schema.json").read_bytes() if (SCHEMAS / f"{name}.schema.json").exists() else b"{}"
    ).get("$defs", {})
)
"""The dialects whose schema describes requests."""

Schema = dict[str, Any]
Table = Callable[[tuple[str, ...], Iterator[tuple[str, ...]]], str]


def pages(table: Table) -> dict[str, Callable[[], str]]:
    """Every page there is, and what makes it."""
    return {f"reference/dialects/{name}.md": partial(page, name, table) for name in SUPPORTED}


def page(name: str, table: Table) -> str:
    """What is understood, what is refused, and what is said, in three tables and those of the things inside."""
    schema: Schema = json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    defs: dict[str, Schema] = schema["$defs"]
    said = [f"# {schema['title']}", schema["description"]]
    said += ["## Requests", defs["request"]["description"], _fields(defs["request"], table)]
    for inner in (definition for found, definition in defs.items() if found.startswith("request_")):
        said += [f"### {inner['title']}", inner["description"], _fields(inner, table)]
    if "refused" in defs:
        said += ["## Refused by name", defs["refused"]["description"], _fields(defs["refused"], table, typed=False)]
    said += ["## Answers", "What a stream consists of, each as the data of one message:", _messages(schema, table)]
    return "\n\n".join(said) + "\n"


def _fields(schema: Schema, table: Table, *, typed: bool = True) -> str:
    required = schema.get("required", [])
    rows = (
        (f"`{name}`", *([_type(field), "yes" if name in required else ""] if typed else []), field["description"])
        for name, field in schema["properties"].items()
    )
    return table(("field", "type", "required", "what becomes of it") if typed else ("field", "why"), rows)


def _messages(schema: Schema, table: Table) -> str:
    names = [branch["$ref"].rpartition("/")[2] for branch in schema["oneOf"]]
    return table(("message", "what it says"), ((f"`{name}`", schema["$defs"][name]["description"]) for name in names))


def _type(field: Schema) -> str:
    """The JSON type of a field in a few words."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2].removeprefix("request_").replace("_", " ")
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return " ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if branches := field.get("anyOf"):
        return " or ".join(_type(branch) for branch in branches)
    kinds = field.get("type", "any")
    words = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    if words == ["array"] and "items" in field:
        return f"list of {_type(field['items'])}"
    return " or ".join({"array": "list", "string": "text"}.get(word, word) for word in words)
