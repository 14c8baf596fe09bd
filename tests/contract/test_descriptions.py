"""The HTTP surface and the socket are described as they are: every reference leads somewhere, every path is served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from penstock.config.explain import ALWAYS, METRICS
from penstock.config.routes import DEFAULT_ROUTES
from penstock.core.errors import TABLE, fault
from penstock.core.events import Finished
from penstock.dialects.native import NativeDialect
from penstock.registry import names
from penstock.registry import resolve as registered
from penstock.server.answers_api import LISTING, RETRIEVING
from penstock.server.arrival import READING
from penstock.server.door import ASKING, STARTING
from penstock.testing.laws.dialects import folded
from tests.contract.descriptions import (
    ASYNCAPI,
    OPENAPI,
    RESPONSES_SOCKET,
    check_answer,
    document,
    follow,
    nodes,
    references,
    resolve,
)
from tests.contract.transcripts import SITUATIONS, entries
from tests.contract.validate import PROTOCOLS, ContractBroken, schema
from tests.laws.pairs import Pair

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
every_file = pytest.mark.parametrize(
    "path",
    [OPENAPI, ASYNCAPI, RESPONSES_SOCKET, *sorted(PROTOCOLS.glob("[!t]*/*.json"))],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)


def operations() -> list[tuple[str, str, Mapping[str, Any]]]:
    """Path, method and operation of everything the HTTP description has."""
    found = []
    for path, item in document(OPENAPI)["paths"].items():
        found += [(path, method, item[method]) for method in METHODS if method in item]
    return found


def parameters(path: str, operation: Mapping[str, Any], place: str) -> set[str]:
    declared = [*document(OPENAPI)["paths"][path].get("parameters", []), *operation.get("parameters", [])]
    return {parameter["name"] for parameter in map(follow, declared) if parameter["in"] == place}


@every_file
def test_every_reference_leads_somewhere(path: Path) -> None:
    found = [resolve(file, pointer) for file, pointer in references(path)]
    assert all(isinstance(target, dict) for target in found)


def test_every_component_of_the_http_description_is_used() -> None:
    used = {pointer for file, pointer in references(OPENAPI) if file == OPENAPI}
    parts = document(OPENAPI)["components"]
    declared = {f"/components/{kind}/{name}" for kind in parts for name in parts[kind] if kind != "securitySchemes"}
    assert declared - used == set()


def test_operations_have_names_of_their_own_a_summary_and_answers() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for path, method, operation in operations():
        assert operation["summary"].endswith("."), (method, path)
        assert operation["responses"], (method, path)
        for answer in map(follow, operation["responses"].values()):
            assert answer["description"].endswith("."), (method, path)


def test_every_schema_in_the_http_description_is_valid() -> None:
    found = [node["schema"] for node in nodes(document(OPENAPI)) if isinstance(node, dict) and "schema" in node]
    assert len(found) > 50
    for value in [*found, *document(OPENAPI)["components"]["schemas"].values()]:
        Draft202012Validator.check_schema(value)


def test_the_names_in_a_path_are_its_parameters() -> None:
    for path, method, operation in operations():
        braced = {piece[1:-1] for piece in path.split("/") if piece.startswith("{")}
        assert parameters(path, operation, "path") == braced, (method, path)


def test_every_path_that_is_served_is_described_and_no_other() -> None:
    served = {
        (path.replace("{id}", "{stream}"), method.lower())
        for methods, paths, _ in (*ALWAYS, METRICS)
        for path in paths.split()
        for method in methods.split()
    }
    served |= {(route.path, method.lower()) for route in DEFAULT_ROUTES for method in route.methods}
    answering = [route.path for route in DEFAULT_ROUTES if registered("dialects", route.dialect).traits.answer_prefix]
    for path in answering:
        served |= {(path, "get"), (f"{path}/{{answer}}", "get"), (f"{path}/{{answer}}", "delete")}
        served |= {(f"{path}/{{answer}}/cancel", "post"), (f"{path}/{{answer}}/input_items", "get")}
    chats = [route.path for route in DEFAULT_ROUTES if registered("dialects", route.dialect).traits.chats]
    served |= {(f"{path}/{{chat}}/stream", method) for path in chats for method in ("get", "delete")}
    assert {(path, method) for path, method, _ in operations()} == served


def test_the_options_of_a_url_are_those_the_server_reads() -> None:
    told = {(path, method): parameters(path, operation, "query") for path, method, operation in operations()}
    assert told["/v1/streams/{stream}/events", "get"] == READING | {"wait"}
    assert told["/v1/chat/stream", "get"] == ASKING
    for route in (
        "/v1/streams",
        "/v1/chat/stream",
        "/v1/chat/chunked",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/chat/ui",
        "/v1/messages",
        "/api/chat",
    ):
        assert told[route, "post"] == STARTING
    assert told["/v1/chat/ui/{chat}/stream", "get"] == READING
    assert told["/v1/responses/{answer}", "get"] == RETRIEVING
    assert told["/v1/responses/{answer}/input_items", "get"] == LISTING


def test_the_dialects_of_the_description_are_the_registered_ones() -> None:
    assert follow({"$ref": "#/components/parameters/dialect"})["schema"]["enum"] == names("dialects")


@pytest.mark.parametrize(
    ("path", "messages_schema", "sides"),
    [(ASYNCAPI, "commands", ("command", "answer")), (RESPONSES_SOCKET, "responses-socket", ("message", "told"))],
    ids=["native", "responses"],
)
def test_the_socket_knows_every_command_and_every_answer(
    path: Path, messages_schema: str, sides: tuple[str, str]
) -> None:
    said = document(path)
    assert said["asyncapi"] == "3.0.0"
    messages = said["components"]["messages"]
    targets = {message["payload"].get("$ref", "").partition("#/$defs/")[2] for message in messages.values()}
    commands = schema(messages_schema)["$defs"]
    for side in sides:
        branches = {branch["$ref"].removeprefix("#/$defs/") for branch in commands[side]["oneOf"]}
        assert branches - targets == set()
    assert set(said["channels"]["socket"]["messages"]) == set(messages)
    carried = {
        reference["$ref"].rpartition("/")[2]
        for operation in said["operations"].values()
        for reference in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
    }
    assert carried == set(messages)
    assert {operation["action"] for operation in said["operations"].values()} == {"receive", "send"}


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_native_refusal_is_described(code: str) -> None:
    body = NativeDialect().refuse(fault(code, retry_after=1, param="model"), "req_1")
    check_answer("POST", "/v1/streams", TABLE[code].status, "application/json", body)


@pytest.mark.parametrize("folder", SITUATIONS, ids=lambda folder: folder.name)
def test_every_whole_native_answer_is_described(folder: Path) -> None:
    said = entries(folder)
    if isinstance(said[-1].event, Finished):
        body = NativeDialect().whole(folded(said, len(said)), Pair(NativeDialect(), "sse").view())
        check_answer("POST", "/v1/streams", 200, "application/json", body)
    else:
        with pytest.raises(ContractBroken):
            check_answer("POST", "/v1/streams", 200, "application/json", NativeDialect().refuse(fault("internal"), "r"))


@pytest.mark.parametrize(
    ("method", "path", "status", "media", "value"),
    [
        ("GET", "/healthz", 200, "application/json", {"status": "fine"}),
        ("GET", "/healthz", 200, "text/html", {"status": "alive"}),
        ("GET", "/healthz", 404, "application/json", {}),
        ("POST", "/v1/streams", 204, "application/json", {"unexpected": True}),
        ("GET", "/v1/models", 200, "application/json; charset=utf-8", {"object": "list"}),
    ],
)
def test_an_answer_that_is_not_described_is_caught(
    method: str, path: str, status: int, media: str, value: object
) -> None:
    with pytest.raises(ContractBroken):
        check_answer(method, path, status, media, json.dumps(value).encode())
