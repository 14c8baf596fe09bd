"""What a Responses provider answered comes back to it as it said it, when a client of Responses hands it back through penstock."""

import json
from typing import Any

import pytest

from penstock.core.cursor import Entry
from penstock.core.events import Started
from penstock.core.frame import View
from penstock.core.snapshot import fold
from penstock.dialects.openai_responses import OpenAIResponsesDialect
from penstock.sources.responses_request import question
from tests.sources.recordings import FOLDER, parsed, parser_of

RUN = "st_" + "a" * 26
DIALECT = OpenAIResponsesDialect()


def output(name: str) -> tuple[list[Any], list[Any]]:
    """The items of a recorded answer: as the provider says them at its end, and as the client is told them."""
    path = FOLDER / f"{name}.sse"
    stream = path.read_bytes()
    last = json.loads(stream.strip().rpartition(b"data: ")[2])
    events = [Started(RUN, "any", 1), *parsed(parser_of(path), stream)]
    told = fold([Entry(at, at, 0, event) for at, event in enumerate(events, 1)])
    return last["response"]["output"], json.loads(DIALECT.whole(told, View(run=RUN)))["output"]


def handed_back(items: list[Any]) -> list[Any]:
    """What the provider is then asked, before a last question."""
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "dry"}
        for item in items
        if item["type"] == "function_call"
    ]
    asked = {"model": "any", "input": [*items, *results, {"role": "user", "content": "Why?"}]}
    body = question("any", DIALECT.parse(json.dumps(asked).encode()), host="provider.test").body
    return [item for item in json.loads(body)["input"] if item.get("content") != "Why?" and "output" not in item]


def essence(item: Any) -> Any:
    """What of an item the provider must have again: thoughts with their id and cipher, calls, texts, and all of other items."""
    match item["type"]:
        case "reasoning":
            text = "\n\n".join(part["text"] for part in item["summary"])
            return item["type"], item["id"], item["encrypted_content"], text
        case "function_call":
            return item["type"], item["call_id"], item["name"], item["arguments"]
        case "message":
            content = item["content"]
            texts = [content] if isinstance(content, str) else [part["text"] for part in content]
            return item["type"], item["role"], item.get("phase"), "".join(texts)
        case _:
            return item


@pytest.mark.parametrize(
    "name",
    [
        "responses_text",
        "responses_reasoning",
        "responses_tools_parallel",
        "responses_web_search",
        "responses_background_items",
        "responses_logprobs",
    ],
)
def test_an_answer_comes_back_as_it_was_said(name: str) -> None:
    said, told = output(name)
    assert [essence(item) for item in handed_back(told)] == [essence(item) for item in said]
