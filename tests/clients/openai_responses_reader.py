"""Asks for Responses with the `openai` package, as its users do; for any Python that has version 2 or 3 of it.

Standalone: `python openai_responses_reader.py`. Each line it is given is a JSON object: `base_url`, `do`, and `asked`, the arguments of
the method. `do` is `create` (its events), `stream` (the helper: its events, then the final response), `parse` (the response, parsed),
`reopen` (the helper again, for an answer that is taken up with a parser that is new),
`whole` (without a stream), `resume` (the events of `retrieve` with `stream=True`), or a method that gives a response, such as `retrieve`
and `cancel`. With `city` the answer is to be a `City`. It prints one JSON line per event, `{"response": …}` for a response, and last
`{"end": "complete"}` or `{"error": class, "message": …}` with `status_code`, `code` and `param` where the exception has them. It never
retries and imports nothing of the suite.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import openai
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    """What structured answers are."""

    name: str
    people: int


def told(client: OpenAI, do: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    responses = client.responses
    match do:
        case "create":
            yield from dumped(responses.create(**asked, stream=True))
        case "resume":
            yield from dumped(responses.retrieve(**asked, stream=True))
        case "stream":
            with responses.stream(**asked) as stream:
                yield from dumped(stream)
                yield answer(stream.get_final_response())
        case "reopen":
            with responses.stream(**asked, extra_query={"reopen": "1"}) as stream:
                yield from dumped(stream)
                yield answer(stream.get_final_response())
        case "parse":
            yield answer(responses.parse(**asked))
        case "whole":
            yield answer(responses.create(**asked))
        case _:
            yield answer(getattr(responses, do)(**asked))


def dumped(events: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (event.model_dump(mode="json", exclude_unset=True, warnings=False) for event in events)


def answer(response: Any) -> dict[str, Any]:
    parsed = getattr(response, "output_parsed", None)
    return {
        "response": response.model_dump(mode="json", warnings=False),
        "text": response.output_text,
        "parsed": parsed.model_dump() if isinstance(parsed, BaseModel) else None,
    }


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        serve(json.loads(line))


def serve(question: dict[str, Any]) -> None:
    """Everything about one question, its last line included."""
    asked = question["asked"] | ({"text_format": City} if question.get("city") else {})
    try:
        with OpenAI(base_url=question["base_url"], api_key="unused", max_retries=0, timeout=60) as client:
            for line in told(client, question["do"], asked):
                say(line)
    except openai.APIError as error:
        known = {name: getattr(error, name, None) for name in ("status_code", "code", "param")}
        present = {name: value for name, value in known.items() if value is not None}
        say({"error": type(error).__name__, "message": error.message, **present})
    except Exception as error:  # noqa: BLE001 - what the SDK lets through is the very thing to report
        say({"error": type(error).__name__, "message": str(error)})
    else:
        say({"end": "complete"})


if __name__ == "__main__":
    main()
