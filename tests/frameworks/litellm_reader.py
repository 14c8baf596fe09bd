"""Asks with the litellm SDK, which aider and many agents stand on: for a Python that has it. See `asking.py` for what it reads and prints.

It imports nothing of the test suite.
"""

import gc
import json
import sys
from typing import Any

import litellm

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITY = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
            "required": ["name", "people"],
        },
    },
}


def say(**line: Any) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def read(asked: dict[str, Any]) -> None:
    anthropic = asked["speaks"] == "anthropic"
    request: dict[str, Any] = {
        "model": f"{'anthropic' if anthropic else 'openai'}/{asked['model']}",
        "api_base": asked["url"] if anthropic else f"{asked['url']}/v1",
        "api_key": "unused",
        "messages": [{"role": "user", "content": asked["prompt"]}],
        "max_retries": 0,
        **({"tools": [WEATHER]} if asked["how"] == "tools" else {}),
    }
    if asked["how"] == "schema":
        answer = litellm.completion(**request, response_format=CITY)
        say(end="complete", value=json.loads(answer.choices[0].message.content))
        return
    if asked["how"] == "whole":
        answer = litellm.completion(**request)
        say(text=answer.choices[0].message.content)
    else:
        chunks = []
        for chunk in litellm.completion(**request, stream=True, stream_options={"include_usage": True}):
            chunks.append(chunk)
            if chunk.choices and chunk.choices[0].delta.content:
                say(text=chunk.choices[0].delta.content)
        answer = litellm.stream_chunk_builder(chunks)
    (choice,) = answer.choices
    calls = [[call.function.name, json.loads(call.function.arguments)] for call in choice.message.tool_calls or ()]
    say(end="complete", calls=calls, usage=answer.usage.completion_tokens, finish=choice.finish_reason)


for line in sys.stdin:
    try:
        read(json.loads(line))
    except Exception as error:  # noqa: BLE001 - what the framework lets through is the very thing to report
        say(error=type(error).__name__, message=str(error))
    # litellm leaves a failed stream open, in a cycle. Collected in the middle of the next question, while httpcore holds the lock of
    # its pool, closing that stream would wait for the same lock, for ever.
    gc.collect()
