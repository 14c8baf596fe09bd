"""Asks with langchain: for a Python that has langchain-openai and langchain-anthropic. See `asking.py` for what it reads and prints.

It imports nothing of the test suite.
"""

import json
import sys
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """One city."""

    name: str
    people: int


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


def say(**line: Any) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def chat(asked: dict[str, Any]) -> Any:
    if asked["speaks"] == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=asked["model"], base_url=asked["url"], api_key="unused", max_retries=0)
    return ChatOpenAI(
        model=asked["model"], base_url=f"{asked['url']}/v1", api_key="unused", max_retries=0, stream_usage=True
    )


def read(asked: dict[str, Any]) -> None:
    model = chat(asked)
    if asked["how"] == "schema":
        found = model.with_structured_output(City, method="function_calling").invoke(asked["prompt"])
        say(end="complete", value=found.model_dump())
        return
    if asked["how"] == "tools":
        model = model.bind_tools([weather])
    if asked["how"] == "whole":
        full = model.invoke(asked["prompt"])
        say(text=full.text)
    else:
        whole: AIMessageChunk | None = None
        for chunk in model.stream(asked["prompt"]):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                say(text=chunk.text)
        assert whole is not None
        full = whole
    calls = [[call["name"], call["args"]] for call in full.tool_calls]
    about = full.response_metadata
    say(
        end="complete",
        calls=calls,
        usage=(full.usage_metadata or {}).get("output_tokens"),
        finish=about.get("finish_reason"),
    )


for line in sys.stdin:
    try:
        read(json.loads(line))
    except Exception as error:  # noqa: BLE001 - what the framework lets through is the very thing to report
        say(error=type(error).__name__, message=str(error))
