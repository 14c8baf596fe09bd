"""Holds any bytes the suite sees against `protocols/`: one message with `check_frame`, a whole body with `check_body`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator

from penstock.registry import names, resolve

PROTOCOLS = Path(__file__).parents[2] / "protocols"
SCHEMAS = {
    "native": PROTOCOLS / "native" / "events.schema.json",
    "commands": PROTOCOLS / "native" / "commands.schema.json",
    "cassette": PROTOCOLS / "native" / "cassette.schema.json",
    "responses-socket": PROTOCOLS / "responses-socket" / "messages.schema.json",
    **{path.name.removesuffix(".schema.json"): path for path in (PROTOCOLS / "dialects").glob("*.schema.json")},
}
CURSOR_KEYS: dict[str, str] = {name: resolve("dialects", name)().traits.cursor_key for name in names("dialects")}

ANNOTATIONS = ("$schema", "$id", "$defs", "$comment", "title", "description")
"""Keywords that promise nothing."""


class ContractBroken(AssertionError):
    """Something was sent that `protocols/` does not promise."""


@cache
def schema(name: str) -> Mapping[str, Any]:
    """A schema by dialect, or `commands`."""
    value: Mapping[str, Any] = json.loads(SCHEMAS[name].read_bytes())
    return value


@cache
def validator(name: str, definition: str = "") -> Validator:
    """For the messages of a dialect, or for one definition of its schema such as `whole` or `refusal`."""
    whole = schema(name)
    if not definition:
        return Draft202012Validator(whole)
    return Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": whole["$defs"]})


@cache
def branches(name: str, definition: str = "") -> Mapping[str, Validator]:
    """`type` → a validator of the branches that a message of this type can be; empty where the schema is no choice among types.

    A branch whose `type` is another one cannot fit, so that leaving it out changes nothing but the time it takes to say so.
    """
    whole = schema(name)
    node = whole["$defs"][definition] if definition else whole
    if node.keys() - {"oneOf", *ANNOTATIONS}:
        return {}
    found: dict[str, list[Any]] = {}
    for branch in node.get("oneOf", ()):
        types = _types(branch, whole["$defs"])
        if not types:
            return {}
        for each in types:
            found.setdefault(each, []).append(branch)
    return {each: Draft202012Validator({"oneOf": them, "$defs": whole["$defs"]}) for each, them in found.items()}


def _types(branch: Mapping[str, Any], definitions: Mapping[str, Any]) -> Sequence[str]:
    """What a branch says its `type` is; empty where it does not."""
    while "$ref" in branch:
        branch = definitions[branch["$ref"].removeprefix("#/$defs/")]
    stated = branch.get("properties", {}).get("type", {})
    return [stated["const"]] if "const" in stated else stated.get("enum", [])


def fits(name: str, value: Any, definition: str = "") -> bool:
    """Whether the schema has words for this JSON."""
    known = branches(name, definition)
    kind = value.get("type") if isinstance(value, dict) else None
    if known and isinstance(kind, str):
        return kind in known and bool(known[kind].is_valid(value))
    return bool(validator(name, definition).is_valid(value))


def check_value(name: str, value: Any, definition: str = "") -> None:
    """Raise `ContractBroken` unless the schema has words for this JSON."""
    if not fits(name, value, definition):
        problem = best_match(validator(name, definition).iter_errors(value))
        assert problem is not None
        raise ContractBroken(f"{name}: {problem.message} at {problem.json_path} of {json.dumps(value)[:400]}")


def check_frame(dialect: str, encoder: str, payload: str | bytes) -> None:
    """One message: the data of an SSE block, an NDJSON line without its end, a WebSocket message, or a piece of bare text."""
    if encoder == "text":
        (payload.encode() if isinstance(payload, str) else payload).decode("utf-8")
        return
    if encoder == "websocket" and isinstance(payload, bytes):
        _check_binary(payload)
        return
    text = payload if isinstance(payload, str) else payload.decode()
    if "\n" in text or "\r" in text:
        raise ContractBroken(f"more than one line: {text!r}")
    if text == "[DONE]" and dialect in ("ai-sdk", "openai-chat", "openai-completions") and encoder == "sse":
        return
    try:
        value = json.loads(text)
    except ValueError:
        raise ContractBroken(f"not JSON: {text!r}") from None
    check_value(dialect, value)
    carried = {CURSOR_KEYS[dialect], "stream"} & value.keys()
    if encoder == "sse" and carried - {"stream"}:
        raise ContractBroken(f"SSE carries the cursor in its id field, not in {carried}")
    if encoder == "websocket" and "stream" not in value:
        raise ContractBroken(f"a message on a socket that many runs share names its stream: {text!r}")


def check_cassette(body: bytes) -> None:
    """A recorded run: what it is, then its events in the native dialect."""
    first, *lines = [json.loads(line) for line in body.splitlines()]
    check_value("cassette", first, "header")
    for line in lines:
        check_value("cassette", line, "line")
        check_value("native", line["event"])


def check_socket_message(dialect: str, message: str | bytes) -> None:
    """One message of a WebSocket: an answer to a command, or a frame of a run."""
    if isinstance(message, str):
        value = json.loads(message)
        if fits("commands", value, "answer"):
            return
    check_frame(dialect, "websocket", message)


def check_responses_message(message: str | bytes) -> None:
    """One message of a WebSocket that speaks OpenAI Responses: nothing of penstock's own is in it."""
    value = json.loads(message)
    if fits("responses-socket", value, "told"):
        return
    value.pop("stream_id", None)
    check_value("openai-responses", value)
    if {CURSOR_KEYS["openai-responses"], "stream"} & value.keys():
        raise ContractBroken(f"a cursor that no client of this protocol knows: {message!r}")


def check_body(dialect: str, encoder: str, body: bytes) -> None:
    """A whole HTTP body, or as much of it as arrived up to a boundary between two messages."""
    if encoder == "text":
        check_frame(dialect, encoder, body)
    elif encoder == "ndjson":
        *lines, rest = body.split(b"\n")
        for line in filter(None, lines):
            check_frame(dialect, encoder, line)
        if rest:
            raise ContractBroken(f"a line without an end: {rest!r}")
    else:
        *blocks, rest = body.split(b"\n\n")
        if rest.replace(b": ping\n", b""):
            raise ContractBroken(f"a block without an end: {rest!r}")
        for index, block in enumerate(blocks):
            _check_block(dialect, block, first=index == 0)


def _check_block(dialect: str, block: bytes, *, first: bool) -> None:
    fields = [line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":")]
    found = [name for name, _ in fields]
    if first and found == [b"id"]:
        return  # how a stream to an EventSource begins
    if found not in (
        [*event, b"data", *retry, *position]
        for event in ([], [b"event"])
        for retry in ([], [b"retry"])
        for position in ([], [b"id"])
    ):
        raise ContractBroken(f"no block of ours: {block!r}")
    check_frame(dialect, "sse", dict(fields)[b"data"])


def _check_binary(message: bytes) -> None:
    length = int.from_bytes(message[:2], "big")
    try:
        header = json.loads(message[2 : 2 + length])
    except ValueError:
        raise ContractBroken(f"no header in {message[:80]!r}") from None
    check_value("commands", header, "binary_header")
