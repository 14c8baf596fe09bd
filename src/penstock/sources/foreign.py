"""A request in the words of another protocol, on its way to a provider that does not have them.

What is meant by them is said in the canonical request where that can say it; hints are left out by name; all else is refused by
its name. How hard Anthropic's clients want a model to think becomes an effort:

| Anthropic | elsewhere |
| --- | --- |
| `thinking` enabled, `budget_tokens` | `reasoning_effort`: `low`, from 8,192 tokens `medium`, from 24,576 `high`, unless one is asked for |
| `thinking` adaptive | the `reasoning_effort` asked for, or the model's own |
| `thinking` disabled | `reasoning_effort` `none` |
| `effort` `max` | `xhigh` |
| `user` of more than 64 characters | left out: OpenAI takes no longer one |
| `eager_input_streaming`, `input_examples` … of a tool | left out |
| `context_management`, `service_tier` …, `output_config.task_budget` | left out |
| of Responses: `annotations`, `logprobs` of an answer that comes back | left out |

The steps are those Google documents for the efforts of its own models (ai.google.dev/gemini-api/docs/openai), which are also
what Claude Code's three depths of thinking come to.
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import BOXES, boxes, hints, refuse_foreign
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.thoughts import own_thoughts, unsigned_calls
from penstock.sources.translation import OPENAI, Object, object_of

ANTHROPIC = "anthropic"
CHAT = "openai-chat"
RESPONSES = "openai-responses"
EFFORTS = ((24_576, "high"), (8_192, "medium"), (0, "low"))
"""Tokens to think with, from which on an effort is meant."""
LONGEST_USER = 64
"""Characters of `user` that OpenAI takes; Claude Code sends more."""
_OF_TOOLS = frozenset({"allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"})
"""What a tool may say to Anthropic beside what it is."""
_NOTES = frozenset({"annotations", "logprobs"})
"""What Responses tells beside a text, and takes back."""


def readable(request: ChatRequest, speaks: str, host: str) -> tuple[ChatRequest, list[str]]:
    """The request as a provider that speaks `speaks` can be given it, and the fields that were left out for that.

    Raises `Broken(not_carried)` naming what cannot be said.
    """
    left_out: list[str] = []
    if speaks != CHAT or host == OPENAI:
        request = unsigned_calls(request, left_out)
    if not request.dialect and not boxes(request):
        return request, left_out  # nobody's words but those of OpenAI chat
    request = own_thoughts(request, speaks, left_out)
    if speaks != ANTHROPIC and request.dialect == ANTHROPIC:
        request = msgspec.structs.replace(request, params=_from_anthropic(dict(request.params), left_out))
    if speaks != RESPONSES and request.dialect == RESPONSES:
        messages = tuple(_without_notes(message, left_out) for message in request.messages)
        request = msgspec.structs.replace(request, messages=messages)
    refuse_foreign(request, speaks, host)
    left_out += [hint for hint in hints(request, speaks) if hint not in left_out]
    params = {name: value for name, value in request.params.items() if name == speaks or name not in BOXES}
    return msgspec.structs.replace(request, params=params), left_out


def _from_anthropic(params: Object, left_out: list[str]) -> Object:
    box = dict(object_of(params.get(ANTHROPIC)))
    if params.get("reasoning_effort") == "max":
        params["reasoning_effort"] = "xhigh"
        left_out.append("reasoning_effort")
    if "thinking" in box and _think(object_of(box["thinking"]), params, left_out):
        del box["thinking"]
    output = dict(object_of(box.get("output_config")))
    if output.pop("task_budget", None) is not None:
        left_out.append("output_config.task_budget")
        box["output_config"] = output
    user, tools = params.get("user"), params.get("tools")
    if isinstance(user, str) and len(user) > LONGEST_USER:
        del params["user"]
        left_out.append("user")
    if isinstance(tools, list):
        params["tools"] = [_tool(tool, left_out) for tool in tools]
    return {**params, ANTHROPIC: box}


def _without_notes(message: Message, left_out: list[str]) -> Message:
    """What was said, without what was told beside it."""
    content = message.get("content")
    if not isinstance(content, list) or not any(_NOTES & object_of(part).keys() for part in content):
        return message
    left_out += sorted(
        name for name in _NOTES if name not in left_out and any(name in object_of(part) for part in content)
    )
    parts: list[Json] = [
        {name: value for name, value in part.items() if name not in _NOTES} if isinstance(part, dict) else part
        for part in content
    ]
    return {**message, "content": parts}


def _think(thinking: Object, params: Object, left_out: list[str]) -> bool:
    """Whether what is said of thinking could be said as an effort."""
    rest = dict(thinking)
    match rest.pop("type", None), rest.pop("budget_tokens", None):
        case "enabled", int(budget):
            params.setdefault("reasoning_effort", next(effort for least, effort in EFFORTS if budget >= least))
            approximated = "thinking.budget_tokens"
        case "adaptive", None:
            approximated = "thinking"
        case "disabled", None:
            params["reasoning_effort"] = "none"
            approximated = "reasoning_effort"
        case _:
            return False
    if rest.keys() - {"display"}:
        return False
    left_out += [approximated, *("thinking.display" for _ in rest)]
    return True


def _tool(tool: Json, left_out: list[str]) -> Json:
    if not isinstance(tool, dict) or "function" not in tool:
        return tool
    left_out += sorted(name for name in _OF_TOOLS & tool.keys() if name not in left_out)
    return {name: value for name, value in tool.items() if name not in _OF_TOOLS}
