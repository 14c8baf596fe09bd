"""A stand-in for a model that uses tools and keeps to a schema: what it says follows from the request alone.

It calls the tools it is told to, or that the question names, with arguments that fit their schemas and take their numbers and
quoted words from the question. Where a schema of the answer is given it says a small object that fits. It tells what a tool
has returned, and says back anything else. The same model is a source of penstock (`model`) and, as `Provider.unscripted`,
a provider (`steps`).
"""

import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.events import Closed, Delta, Event, Finished, Opened, Started, Usage
from penstock.core.request import ChatRequest, Run, text_of
from tests.fakes import script
from tests.fakes.schema import Wishes, fitting

if TYPE_CHECKING:
    from tests.fakes.provider import Request

JSON = Mapping[str, Any]
PIECE = 5
"""Characters of arguments in one fragment."""
THOUGHT = "Let me think about that."


@dataclass(frozen=True)
class Call:
    """One tool call. `arguments` is the JSON text of an object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Said:
    """One whole answer, before anybody cuts it into pieces. Counts are of words."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thought: str = ""
    reason: str = "stop"
    asked: int = 0

    def words(self) -> list[str]:
        return words_of(self.text)

    @property
    def spoken(self) -> int:
        """What this answer costs: its words and pieces of arguments, and what it thought."""
        return sum(
            map(len, (self.words(), words_of(self.thought), *(pieces_of(call.arguments) for call in self.calls)))
        )


def answer_to(asked: JSON) -> Said:
    """What the model says to the body of a chat request."""
    messages: Sequence[dict[str, Any]] = asked["messages"]
    last, question = messages[-1], next((text_of(each) for each in reversed(messages) if each["role"] == "user"), "")
    count = sum(len(words_of(text_of(each))) for each in messages)
    thought = THOUGHT if asked.get("reasoning_effort") else ""
    offered = [tool["function"] for tool in asked.get("tools") or ()]
    if offered and last["role"] != "tool" and (wanted := chosen(offered, asked, question)):
        made = tuple(
            Call(f"call_{number}", tool["name"], arguments_for(tool, question))
            for number, tool in enumerate(wanted, len(messages))
        )
        return Said("", made, thought, "tool_calls", count)
    text, reason = cut(spoken_text(asked, last, question), asked)
    return Said(text, (), thought, reason, count)


def chosen(offered: Sequence[dict[str, Any]], asked: JSON, question: str) -> Sequence[dict[str, Any]]:
    """The tools to call now: the one that is prescribed, or those whose name the question says, wholly or by one of its words."""
    choice = asked.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        return [tool for tool in offered if tool["name"] == choice["function"]["name"]]
    if choice == "none":
        return ()
    said = question.lower()
    wanted = [tool for tool in offered if re.search(rf"\b{re.escape(tool['name'].lower())}\b", said)]
    wanted = wanted or [
        tool for tool in offered if any(len(word) > 3 and word in said for word in tool["name"].lower().split("_"))
    ]
    if choice == "required" and not wanted:
        wanted = [offered[0]]
    return wanted[:1] if asked.get("parallel_tool_calls") is False else wanted


def arguments_for(tool: JSON, question: str) -> str:
    """The arguments of one call, as JSON text."""
    return compact(fitting(tool.get("parameters") or {"type": "object"}, Wishes(question)))


def spoken_text(asked: JSON, last: JSON, question: str) -> str:
    """The text of an answer that calls no tool."""
    form = asked.get("response_format") or {}
    if form.get("type") == "json_schema":
        return compact(fitting(form["json_schema"]["schema"], Wishes(question)))
    if form.get("type") == "json_object":
        return compact({name: f"some {name}" for name in Wishes(question).quoted} or {"said": question})
    if last["role"] == "tool":
        return f"The tool said: {text_of(dict(last))}"
    seen = sorted({part["type"] for part in last["content"]} - {"text"}) if isinstance(last["content"], list) else []
    return f"You said: {question}" + (f" And there was {', '.join(seen)}." if seen else "")


def cut(text: str, asked: JSON) -> tuple[str, str]:
    """The text as far as the stop words and the limit of tokens (words, here) let it go, and why it ends there."""
    stops = asked.get("stop") or ()
    for stop in (stops,) if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    most, words = asked.get("max_completion_tokens") or asked.get("max_tokens"), words_of(text)
    if most is not None and len(words) > most:
        return "".join(words[:most]), "length"
    return text, "stop"


def words_of(text: str) -> list[str]:
    """The text in pieces, each a word with the space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def pieces_of(arguments: str) -> list[str]:
    return [arguments[at : at + PIECE] for at in range(0, len(arguments), PIECE)]


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def model(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    """The model as a source: `tests.fakes.model:model` as the target of an alias."""
    said = answer_to({"messages": request.messages, **request.params})
    yield Started(run.id, request.model, run.created)
    part = 0
    for choice in range(int(str(request.params.get("n") or 1))):
        for opened, pieces in parts_of(said):
            yield Opened(part, opened.kind, choice=choice, name=opened.name, call_id=opened.call_id)
            for piece in pieces:
                yield Delta(part, piece)
            yield Closed(part, {"finish_reason": said.reason} if opened.kind != "reasoning" else None)
            part += 1
    yield Usage(said.asked, said.spoken, "reported")
    yield Finished(said.reason)


def parts_of(said: Said) -> Iterator[tuple[Opened, list[str]]]:
    """Each part of an answer with its pieces; the numbers of the parts are not its own business."""
    if said.thought:
        yield Opened(0, "reasoning"), words_of(said.thought)
    if said.text or not said.calls:
        yield Opened(0, "text"), said.words()
    for call in said.calls:
        yield Opened(0, "tool_call", name=call.name, call_id=call.id), pieces_of(call.arguments)


def steps(request: "Request") -> list[script.Step]:
    """The model as a provider that speaks OpenAI chat: what `Provider.unscripted` may be."""
    asked = request.json
    said = answer_to(asked)
    usage = script.usage_of(said.asked, said.spoken)
    if not asked.get("stream"):
        return [whole(said, asked, usage)]
    wants_usage = (asked.get("stream_options") or {}).get("include_usage")
    count = asked.get("n") or 1
    told: list[script.Step] = [script.Head()]
    for choice in range(count):
        told.append(
            script.Event(script.chunk({"role": "assistant", "content": ""}, choice=choice, model=asked["model"]))
        )
        told += (script.Event(script.chunk(delta, choice=choice, model=asked["model"])) for delta in deltas(said))
        told.append(script.Event(script.chunk(finish=said.reason, choice=choice, model=asked["model"])))
    counted = [script.Event(script.chunk(choices=[], usage=usage))] if wants_usage else []
    return [*told, *counted, script.Event("[DONE]"), script.End()]


def deltas(said: Said) -> Iterator[dict[str, Any]]:
    """The `delta` of every chunk between the role and the finish reason."""
    for word in words_of(said.thought):
        yield {"reasoning_content": word}
    for word in said.words():
        yield {"content": word}
    for index, call in enumerate(said.calls):
        function: dict[str, Any] = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for piece in pieces_of(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def whole(said: Said, asked: JSON, usage: JSON) -> script.Reply:
    """The answer to a request without `stream`."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    choices = [
        {"index": index, "message": message, "finish_reason": said.reason} for index in range(asked.get("n") or 1)
    ]
    body = {"id": "chatcmpl-fake", "object": "chat.completion", "created": script.CREATED, "model": asked["model"]}
    return script.Reply(body={**body, "choices": choices, "usage": usage})
