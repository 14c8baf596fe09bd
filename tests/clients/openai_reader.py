"""Reads chat completions with the `openai` package, as its users do; for any Python that has version 2 or 3 of it.

Standalone: `python openai_reader.py`. Each line it is given is a JSON list of arguments: a base URL, `--model M`, `--prompt P`,
`--no-stream`, `--usage`, `--tools`, `--count N`, `--retries N`, `--parse` (the answer as a `City`), `--helper` (the stream helper).
For each it prints one JSON line per chunk, or per event of the helper, or the whole answer, then `{"end": "complete"}` or
`{"error": class, "message": …}` with `status`, `code`, `type`, `body`, `request` and `retry_after` where the exception has them.
It imports nothing of the suite. One process for all, since the import takes a second.
"""

import argparse
import json
import sys
from typing import Any

import openai
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    """One city."""

    name: str
    people: int


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def read(chosen: argparse.Namespace) -> None:
    asked: dict[str, Any] = {"model": chosen.model, "messages": [{"role": "user", "content": chosen.prompt}]}
    if chosen.tools:
        asked["tools"] = [WEATHER]
    if chosen.count is not None:
        asked["n"] = chosen.count
    if chosen.usage and not chosen.no_stream:
        asked["stream_options"] = {"include_usage": True}
    with OpenAI(base_url=chosen.base_url, api_key=chosen.key, max_retries=chosen.retries, timeout=60) as client:
        if chosen.parse and chosen.no_stream:
            parsed = client.chat.completions.parse(**asked, response_format=City).choices[0].message.parsed
            say({"parsed": parsed and parsed.model_dump()})
            return
        if chosen.parse or chosen.helper:
            help_with(client, {**asked, "response_format": City} if chosen.parse else asked)
            return
        if chosen.no_stream:
            say(client.chat.completions.create(**asked).model_dump(mode="json"))
            return
        with client.chat.completions.create(**asked, stream=True) as stream:
            for chunk in stream:
                say(chunk.model_dump(mode="json", exclude_unset=True))


def help_with(client: OpenAI, asked: dict[str, Any]) -> None:
    """The events of the stream helper that say something new, then the completion it put together."""
    with client.chat.completions.stream(**asked) as stream:
        for event in stream:
            if event.type == "content.delta" and event.delta:
                say({"event": event.type, "text": event.delta, "so_far": event.parsed})
            elif event.type == "tool_calls.function.arguments.done":
                say({"event": event.type, "name": event.name, "arguments": event.parsed_arguments or event.arguments})
        whole = stream.get_final_completion()
    parsed = whole.choices[0].message.parsed
    say({"answer": whole.model_dump(mode="json", exclude={"choices": {"__all__": {"message": {"parsed"}}}})})
    if parsed is not None:
        say({"parsed": parsed.model_dump()})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("base_url", help="such as http://127.0.0.1:8420/v1")
    options.add_argument("--key", default="unused")
    options.add_argument("--model", default="demo")
    options.add_argument("--prompt", default="hello")
    options.add_argument("--count", type=int, help="how many choices")
    options.add_argument("--no-stream", action="store_true")
    options.add_argument("--usage", action="store_true", help="ask for the usage chunk")
    options.add_argument("--retries", type=int, default=0)
    options.add_argument("--parse", action="store_true", help="ask for a City")
    options.add_argument("--helper", action="store_true", help="read with the stream helper")
    options.add_argument("--tools", action="store_true", help="offer one tool")
    for line in sys.stdin:
        answer(options.parse_args(json.loads(line)))


def answer(chosen: argparse.Namespace) -> None:
    """Everything about one request, its last line included."""
    try:
        read(chosen)
    except openai.APIError as error:
        known = {
            "status": getattr(error, "status_code", None),
            "code": error.code,
            "type": error.type,
            "body": error.body,
            "request": getattr(error, "request_id", None),
            "retry_after": error.response.headers.get("retry-after")
            if isinstance(error, openai.APIStatusError)
            else None,
        }
        present = {name: value for name, value in known.items() if value is not None}
        say({"error": type(error).__name__, "message": error.message, **present})
    except Exception as error:  # noqa: BLE001 - what the SDK lets through is the very thing to report
        say({"error": type(error).__name__, "message": str(error)})
    else:
        say({"end": "complete"})


if __name__ == "__main__":
    main()
