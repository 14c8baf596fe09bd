"""The descriptions of the HTTP surface and of the socket: read, their references followed, answers held against them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.contract.validate import PROTOCOLS, ContractBroken

OPENAPI = PROTOCOLS / "http" / "openapi.yaml"
ASYNCAPI = PROTOCOLS / "native" / "asyncapi.yaml"
RESPONSES_SOCKET = PROTOCOLS / "responses-socket" / "asyncapi.yaml"


@cache
def document(path: Path) -> Mapping[str, Any]:
    """A description or a schema as a value."""
    text = path.read_text(encoding="utf-8")
    value: Mapping[str, Any] = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    return value


def references(path: Path) -> Iterator[tuple[Path, str]]:
    """Every `$ref` of a document as the file and the pointer it means."""
    for node in nodes(document(path)):
        if isinstance(node, dict) and isinstance(ref := node.get("$ref"), str):
            file, _, pointer = ref.partition("#")
            yield (path.parent / file).resolve() if file else path, pointer


def nodes(value: Any) -> Iterator[Any]:
    """A value and everything within."""
    yield value
    if isinstance(value, dict):
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def resolve(path: Path, pointer: str) -> Any:
    """What a pointer means. Raises `LookupError` where it leads nowhere."""
    value: Any = document(path)
    for step in pointer.strip("/").split("/") if pointer else ():
        value = value[step.replace("~1", "/").replace("~0", "~")]
    return value


def follow(node: Any) -> Any:
    """A node of the HTTP description, or what it refers to within it."""
    while isinstance(node, dict) and isinstance(ref := node.get("$ref"), str) and ref.startswith("#"):
        node = resolve(OPENAPI, ref[1:])
    return node


@cache
def _registry() -> Registry[Any]:
    files = [OPENAPI, *PROTOCOLS.glob("native/*.json"), *PROTOCOLS.glob("dialects/*.json")]
    return Registry().with_resources(
        (file.as_uri(), DRAFT202012.create_resource(_without_id(document(file)))) for file in files
    )


def _without_id(contents: Mapping[str, Any]) -> dict[str, Any]:
    """The files refer to each other by where they lie, so that is what they are called here."""
    return {key: value for key, value in contents.items() if key != "$id"}


def check_answer(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Raise `ContractBroken` unless the HTTP description has this answer. `path` is a template such as `/v1/streams/{stream}`.

    Streams are checked for their media type alone; `check_body` reads them.
    """
    item = document(OPENAPI)["paths"][path]
    refused = (item.get("post") or item["get"])["responses"].get("default")
    # A method that is not allowed is refused in the words of those that are.
    answers = item.get(method.lower(), {"responses": {"default": refused}})["responses"]
    answer = follow(answers.get(str(status)) or answers.get("default"))
    where = f"{status} to {method} {path}"
    if answer is None:
        raise ContractBroken(f"no {where} is described")
    media = content_type.partition(";")[0].strip()
    content = answer.get("content", {})
    if not content:
        if body:
            raise ContractBroken(f"{where} has no body, but: {body[:200]!r}")
        return
    if not body and not media and "text/plain" in content:
        return  # text that is empty so far
    if media not in content:
        raise ContractBroken(f"{where} comes as {', '.join(content)}, not {media!r}")
    if not media.endswith("json"):
        return
    pointer = _schema_pointer(content[media]["schema"])
    validator = Draft202012Validator(pointer, registry=_registry())
    problem = best_match(validator.iter_errors(json.loads(body)))
    if problem is not None:
        raise ContractBroken(f"{where}: {problem.message} at {problem.json_path}")


def _schema_pointer(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of the HTTP description, with its references made whole."""
    base = OPENAPI.as_uri()

    def absolute(node: Any) -> Any:
        if isinstance(node, dict):
            inner = {key: absolute(value) for key, value in node.items()}
            ref = inner.get("$ref")
            if isinstance(ref, str):
                file, _, pointer = ref.partition("#")
                target = (OPENAPI.parent / file).resolve().as_uri() if file else base
                inner["$ref"] = f"{target}#{pointer}"
            return inner
        return [absolute(inner) for inner in node] if isinstance(node, list) else node

    value: dict[str, Any] = absolute(schema)
    return value
