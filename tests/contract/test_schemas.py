"""The schemas of `protocols/` are valid, agree with the types they describe, and cover whatever a run can say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from penstock.core.cursor import Entry
from penstock.core.errors import TABLE, fault
from penstock.core.events import Event, Fault, Finished
from penstock.encoders.stream import Stream
from penstock.registry import resolve
from penstock.testing.laws.dialects import folded
from penstock.testing.strategies import EPOCH, RUN, runs
from tests.contract.validate import (
    CURSOR_KEYS,
    PROTOCOLS,
    SCHEMAS,
    ContractBroken,
    branches,
    check_body,
    check_frame,
    check_value,
    fits,
    schema,
    validator,
)
from tests.laws.pairs import PAIRS, Pair, laws, naming

FOREIGN = sorted({*CURSOR_KEYS} - {"native"})
"""The whole answer and the refusals of the native dialect are in the description of the HTTP surface."""


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_and_all_of_it_is_described_where_it_can_be_used(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["$id"].startswith("urn:penstock:")


def test_the_events_schema_agrees_with_the_event_types() -> None:
    (_, components) = msgspec.json.schema_components([Event, Fault])
    ours = schema("native")["$defs"]
    for name, theirs in components.items():
        tag = name.lower() if name in ("Fault", "Spent") else theirs["properties"]["type"]["enum"][0]
        written = {key: _plain(value) for key, value in ours[tag]["properties"].items() if key not in ("id", "stream")}
        assert written == {key: _plain(value) for key, value in theirs["properties"].items()}, name
        assert set(ours[tag]["required"]) >= set(theirs["required"]), name
    tags = {tag for it in components.values() for tag in it["properties"].get("type", {}).get("enum", ())}
    assert set(ours) - tags == {"gap", "spent", "fault", "cursor", "run"}
    assert [branch["$ref"] for branch in schema("native")["oneOf"]] == [
        f"#/$defs/{tag}" for tag in ours if tag not in ("spent", "fault", "cursor", "run")
    ]


def _plain(node: Any) -> Any:
    """A schema without what only people read, and without the null that a missing member stands for."""
    if not isinstance(node, dict):
        return node
    if "const" in node:
        return {"enum": [node["const"]]}
    if "$ref" in node:
        target = node["$ref"].removeprefix("#/$defs/").lower()
        return {"type": "string"} if target in ("run", "cursor") else {"$ref": target}
    if "anyOf" in node:
        (only,) = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
        return _plain(only)
    return {key: _plain(value) for key, value in node.items() if key not in ("description", "default", "minimum")}


@laws
@given(entries=runs())
def test_whatever_a_run_says_is_in_the_schema(entries: list[Entry]) -> None:
    for pair in PAIRS:
        wires = Stream(pair.dialect.renderer(pair.view()), pair.encoder(), run=RUN, epoch=EPOCH).feed(entries)
        with naming(pair):
            if pair.transport == "websocket":
                for message in wires:
                    check_frame(pair.dialect.name, "websocket", message)
            else:
                check_body(pair.dialect.name, pair.transport, b"".join(wires))


@laws
@given(entries=runs(terminal=st.builds(Finished)))
def test_a_whole_answer_is_in_the_schema(entries: list[Entry]) -> None:
    said = folded(entries, len(entries))
    for name in FOREIGN:
        dialect = resolve("dialects", name)()
        body = dialect.whole(said, Pair(dialect, "sse").view())
        check_value(name, json.loads(body), "whole")


@pytest.mark.parametrize("name", FOREIGN)
def test_every_refusal_is_in_the_schema(name: str) -> None:
    for code in sorted(TABLE):
        body = resolve("dialects", name)().refuse(fault(code, retry_after=2.5, param="messages"), "req_1")
        with naming(code):
            check_value(name, json.loads(body), "refusal")


def test_the_errors_on_paper_are_the_table() -> None:
    assert json.loads((PROTOCOLS / "errors.json").read_bytes()) == msgspec.to_builtins(TABLE)


@pytest.mark.parametrize(
    ("dialect", "encoder", "payload"),
    [
        ("native", "sse", '{"type":"delta","part":0}'),
        ("native", "sse", '{"type":"delta","part":0,"text":"x","id":"st_aaaaaaaaaaaaaaaaaaaaaaaaaa:a1:1"}'),
        ("native", "ndjson", '{"type":"delta","part":0,"text":"x","id":"1"}'),
        ("native", "websocket", '{"type":"finished","reason":"stop"}'),
        ("native", "websocket", b"\x00\x02{}bytes"),
        ("native", "ndjson", '{"type":"news"}'),
        ("openai-chat", "ndjson", "[DONE]"),
        ("openai-chat", "sse", '{"id":"chatcmpl-1","choices":[]}'),
        ("token-done", "sse", '{"token":"x","done":false}'),
        ("plain", "sse", '{"text":"x",\n"y":1}'),
        ("plain", "sse", "words"),
    ],
)
def test_what_was_not_promised_is_caught(dialect: str, encoder: str, payload: str | bytes) -> None:
    with pytest.raises(ContractBroken):
        check_frame(dialect, encoder, payload)


@pytest.mark.parametrize(
    "body",
    [
        b'id: x\ndata: {"done":true}\n\n',
        b'data: {"done":true}\nid: x\nretry: 5\n\n',
        b'data: {"done":true}\n\nid: x\n\n',
        b'data: {"done":true}\n\n: ping\n\n',
        b'data: {"done":true}\n',
    ],
    ids=["id-first", "retry-last", "id-only", "comment-block", "cut"],
)
def test_an_event_stream_in_another_order_is_caught(body: bytes) -> None:
    with pytest.raises(ContractBroken):
        check_body("plain", "sse", body)


def test_the_quick_way_to_validate_says_what_the_whole_schema_says() -> None:
    """Frames of every dialect, whole and each without its last member, against every schema that is a choice among types."""
    told = (PROTOCOLS / "transcripts" / "tool-round-trip" / "out").glob("*.ndjson")
    lines = [json.loads(line) for file in told for line in file.read_bytes().splitlines()]
    frames = list({(frame.get("type"), *frame): frame for frame in lines}.values())
    values = frames + [dict(list(frame.items())[:-1]) for frame in frames]
    choices = [(name, "") for name in SCHEMAS if branches(name)] + [
        ("commands", "answer"),
        ("responses-socket", "told"),
    ]
    assert {name for name, _ in choices} > {"native", "anthropic", "openai-responses"}
    for name, part in choices:
        found = [fits(name, value, part) for value in values]
        assert found == [validator(name, part).is_valid(value) for value in values], (name, part)
