"""Asks with llama-index' `OpenAILike`: for a Python that has it. See `asking.py` for what it reads and prints.

It imports nothing of the test suite.
"""

import json
import sys
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
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


def read(asked: dict[str, Any]) -> None:
    model = OpenAILike(
        model=asked["model"],
        api_base=f"{asked['url']}/v1",
        api_key="unused",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        additional_kwargs={} if asked["how"] == "whole" else {"stream_options": {"include_usage": True}},
    )
    question = ChatMessage(role="user", content=asked["prompt"])
    tool = FunctionTool.from_defaults(fn=weather)
    if asked["how"] == "schema":
        model.additional_kwargs = {}
        found = model.as_structured_llm(City).chat([question])
        say(end="complete", value=found.raw.model_dump())
        return
    if asked["how"] == "whole":
        answer = model.chat([question])
        say(text=answer.message.content)
    else:
        if asked["how"] == "tools":
            answers = model.stream_chat_with_tools([tool], user_msg=question, allow_parallel_tool_calls=True)
        else:
            answers = model.stream_chat([question])
        for answer in answers:
            if answer.delta:
                say(text=answer.delta)
    calls = [
        [call.tool_name, call.tool_kwargs]
        for call in model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    ]
    choices = answer.raw.choices
    usage = answer.raw.usage
    say(
        end="complete",
        calls=calls,
        usage=usage and usage.completion_tokens,
        finish=choices and choices[0].finish_reason,
    )


for line in sys.stdin:
    try:
        read(json.loads(line))
    except Exception as error:  # noqa: BLE001 - what the framework lets through is the very thing to report
        say(error=type(error).__name__, message=str(error))
