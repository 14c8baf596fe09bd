"""Requests of every dialect, in whose texts and numbers no two are alike, so that each can be found again wherever it went."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

Object = dict[str, Any]
MARK = re.compile(r"W\d{6}W|7\d{8}(?!\d)")
"""A text of eight letters, which base64 and every name may hold, or a number."""


class Marks:
    """Gives a new mark each time."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self._count = 0

    def text(self) -> str:
        self._count += 1
        return f"W{self._count:06}W"

    def number(self) -> int:
        self._count += 1
        return 700_000_000 + self._count

    def maybe(self, **members: Any) -> Object:
        """Some of these members."""
        return {name: value for name, value in members.items() if self.draw(st.booleans())}

    def some(self, *choices: Any, least: int = 1, most: int = 3) -> list[Any]:
        """A few of these, each of which makes one."""
        return [make() for make in self.draw(st.lists(st.sampled_from(choices), min_size=least, max_size=most))]

    def one(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))()

    def schema(self) -> Object:
        return {"type": "object", "properties": {self.text(): {"type": "string", "description": self.text()}}}

    def arguments(self) -> Object:
        return {self.text(): self.text(), "n": self.number()}

    def image(self) -> str:
        return f"data:image/png;base64,{self.text()}"


@st.composite
def chat(draw: st.DrawFn) -> Object:
    """`POST /v1/chat/completions`."""
    m = Marks(draw)

    def text() -> Object:
        return {"type": "text", "text": m.text()}

    def image() -> Object:
        return {"type": "image_url", "image_url": {"url": m.image(), **m.maybe(detail="low")}}

    def audio() -> Object:
        return {"type": "input_audio", "input_audio": {"data": m.text(), "format": "wav"}}

    def file() -> Object:
        return {
            "type": "file",
            "file": {"file_data": f"data:application/pdf;base64,{m.text()}", "filename": f"{m.text()}.pdf"},
        }

    def said() -> Object:
        return {
            "role": "user",
            "content": m.one(m.text, lambda: m.some(text, image, audio, file)),
            **m.maybe(name=m.text()),
        }

    def told() -> Object:
        return {"role": draw(st.sampled_from(["system", "developer"])), "content": m.one(m.text, lambda: m.some(text))}

    def turn() -> list[Object]:
        answer: Object = {"role": "assistant", "content": m.one(m.text, lambda: m.some(text))}
        answer |= m.maybe(reasoning_content=m.text(), refusal=m.text())
        results = []
        if draw(st.booleans()):
            answer["tool_calls"] = m.some(lambda: _chat_call(m), most=2)
            ids = [call["id"] for call in answer["tool_calls"]]
            results = [{"role": "tool", "tool_call_id": each, "content": m.text()} for each in ids]
        return [answer, *results, said()]

    def tool() -> Object:
        return {
            "type": "function",
            "function": {"name": m.text(), "description": m.text(), "parameters": m.schema(), **m.maybe(strict=True)},
        }

    tools = m.some(tool, least=0, most=2)
    named = {"type": "function", "function": {"name": tools[0]["function"]["name"]}} if tools else "none"
    return {
        "model": "any",
        "messages": [*m.some(told, least=0, most=2), said(), *(turn() if draw(st.booleans()) else [])],
        **({"tools": tools} | m.maybe(tool_choice=named, parallel_tool_calls=False) if tools else {}),
        **m.maybe(
            max_tokens=m.number(), seed=m.number(), stop=[m.text()], user=m.text(), metadata={m.text(): m.text()},
            logit_bias={"7": 1}, unheard_of={"of": m.text()}, prompt_cache_key=m.text(),
            safety_identifier=m.text(), reasoning_effort="low", verbosity="low", store=True, service_tier="flex",
            response_format={"type": "json_schema", "json_schema": {"name": m.text(), "schema": m.schema()}},
        ),
        **m.one(dict, lambda: {"logprobs": True, **m.maybe(top_logprobs=3)}),
    }  # fmt: skip


def _chat_call(m: Marks) -> Object:
    function = {"name": m.text(), "arguments": _dumped(m.arguments())}
    return {"id": f"call_{m.text()}", "type": "function", "function": function}


def _dumped(arguments: Object) -> str:
    inner = ",".join(
        f'"{name}":{value if isinstance(value, int) else chr(34) + value + chr(34)}'
        for name, value in arguments.items()
    )
    return "{" + inner + "}"


@st.composite
def responses(draw: st.DrawFn) -> Object:
    """`POST /v1/responses`."""
    m = Marks(draw)

    def text() -> Object:
        return {"type": "input_text", "text": m.text()}

    def image() -> Object:
        return {"type": "input_image", "image_url": m.image(), "detail": "low"}

    def stored() -> Object:
        return {"type": "input_image", "file_id": m.text(), "detail": "high"}

    def audio() -> Object:
        return {"type": "input_audio", "input_audio": {"data": m.text(), "format": "mp3"}}

    def file() -> Object:
        return {"type": "input_file", "filename": m.text(), "file_data": f"data:application/pdf;base64,{m.text()}"}

    def distant() -> Object:
        return {"type": "input_file", "file_url": f"https://host/{m.text()}"}

    def said() -> list[Object]:
        role = draw(st.sampled_from(["user", "developer", "system"]))
        content = m.one(
            m.text, lambda: m.some(text, image, stored, audio, file, distant) if role == "user" else m.some(text)
        )
        return [{"type": "message", "role": role, "content": content}]

    def answered() -> list[Object]:
        parts = m.some(
            lambda: {"type": "output_text", "text": m.text()}, lambda: {"type": "refusal", "refusal": m.text()}
        )
        return [{"type": "message", "role": "assistant", "content": parts, **m.maybe(phase="commentary")}]

    def called() -> list[Object]:
        call_id = f"call_{m.text()}"
        call = {"type": "function_call", "call_id": call_id, "name": m.text(), "arguments": _dumped(m.arguments())}
        output = m.one(m.text, lambda: m.some(text, image))
        return [call, {"type": "function_call_output", "call_id": call_id, "output": output}]

    def thought() -> list[Object]:
        plain = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": m.text()}]}
        hidden = {"type": "reasoning", "id": f"rs_{m.text()}", "summary": [], "encrypted_content": f"gAAAA{m.text()}"}
        return [draw(st.sampled_from([plain, hidden]))]

    def searched() -> list[Object]:
        action = {"type": "search", "query": m.text()}
        return [{"type": "web_search_call", "id": f"ws_{m.text()}", "status": "completed", "action": action}]

    def function() -> Object:
        return {
            "type": "function",
            "name": m.text(),
            "description": m.text(),
            "parameters": m.schema(),
            **m.maybe(strict=draw(st.booleans())),
        }

    def server() -> Object:
        return {"type": "mcp", "server_label": m.text(), "server_url": f"https://host/{m.text()}"}

    def custom() -> Object:
        return {"type": "custom", "name": m.text(), "description": m.text()}

    format_ = {"type": "json_schema", "name": m.text(), "schema": m.schema(), "strict": True}
    items = [item for items in m.some(said, answered, called, thought, searched, most=5) for item in items]
    tools = m.some(function, server, custom, least=0, most=2)
    return {
        "model": "any",
        "input": m.one(m.text, lambda: [*items, *said()]),
        **({"tools": tools} if tools else {}),
        **m.maybe(
            instructions=m.text(), max_output_tokens=m.number(), temperature=0.5, user=m.text(), truncation="auto",
            reasoning={"effort": "low", "summary": "auto"}, text={"format": format_, "verbosity": "low"}, top_logprobs=2,
            metadata={m.text(): m.text()}, include=["web_search_call.results"], prompt_cache_key=m.text(),
            unheard_of={"of": m.text()}, max_tool_calls=m.number(), service_tier="flex",
        ),
    }  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> Object:
    """`POST /v1/messages`."""
    m = Marks(draw)

    def mark() -> Object:
        return m.maybe(cache_control={"type": "ephemeral"})

    def text() -> Object:
        return {"type": "text", "text": m.text(), **mark()}

    def image() -> Object:
        return {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": m.text()},
            **mark(),
        }

    def linked() -> Object:
        return {"type": "image", "source": {"type": "url", "url": f"https://host/{m.text()}"}}

    def document() -> Object:
        return {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": m.text()},
            **m.maybe(title=m.text()),
        }

    def quoted() -> Object:
        return {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": m.text()},
            "citations": {"enabled": True},
        }

    def thinking() -> Object:
        return {"type": "thinking", "thinking": m.text(), "signature": m.text()}

    def hidden() -> Object:
        return {"type": "redacted_thinking", "data": m.text()}

    def said() -> Object:
        return {"role": "user", "content": m.one(m.text, lambda: m.some(text, image, linked, document, quoted))}

    def turn() -> list[Object]:
        content = m.some(text, thinking, hidden, most=2)
        calls = m.some(
            lambda: {"type": "tool_use", "id": f"toolu_{m.text()}", "name": m.text(), "input": m.arguments()},
            least=0,
            most=2,
        )
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": m.one(m.text, lambda: m.some(text, image)),
             **m.maybe(is_error=True)}
            for call in calls
        ]  # fmt: skip
        return [{"role": "assistant", "content": [*content, *calls]}, {"role": "user", "content": [*results, text()]}]

    def tool() -> Object:
        return {"name": m.text(), "description": m.text(), "input_schema": m.schema(), **mark()}

    def server() -> Object:
        return {"type": "web_search_20250305", "name": m.text(), "max_uses": m.number()}

    tools = m.some(tool, server, least=0, most=2)
    return {
        "model": "any",
        "max_tokens": m.number(),
        "messages": [said(), *(turn() if draw(st.booleans()) else [])],
        **({"tools": tools} | m.maybe(tool_choice={"type": "any", "disable_parallel_tool_use": True}) if tools else {}),
        **m.maybe(
            system=m.one(m.text, lambda: m.some(text)), temperature=0.5, top_k=m.number(), stop_sequences=[m.text()],
            metadata={"user_id": m.text()}, unheard_of={"of": m.text()}, service_tier="auto",
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": m.schema()}},
        ),
    }  # fmt: skip


@st.composite
def ui(draw: st.DrawFn) -> Object:
    """`POST /v1/chat/ui`."""
    m = Marks(draw)

    def text() -> Object:
        return {"type": "text", "text": m.text()}

    def image() -> Object:
        return {"type": "file", "mediaType": "image/png", "url": m.image()}

    def file() -> Object:
        return {
            "type": "file",
            "mediaType": "application/pdf",
            "url": f"data:application/pdf;base64,{m.text()}",
            "filename": m.text(),
        }

    def said() -> Object:
        return {"id": "m", "role": "user", "parts": m.some(text, image, file)}

    def called() -> Object:
        return {
            "type": f"tool-{m.text()}",
            "toolCallId": f"call_{m.text()}",
            "state": "output-available",
            "input": m.arguments(),
            "output": m.one(m.text, m.arguments),
        }

    def thought() -> Object:
        return {"type": "reasoning", "text": m.text()}

    def answer() -> Object:
        return {"id": "a", "role": "assistant", "parts": m.some(text, called, thought)}

    return {
        "messages": [said(), *([answer(), said()] if draw(st.booleans()) else [])],
        **m.maybe(system=m.text(), max_tokens=m.number(), user=m.text(), unheard_of={"of": m.text()}),
    }


REQUESTS: dict[str, st.SearchStrategy[Object]] = {
    "openai-chat": chat(),
    "openai-responses": responses(),
    "anthropic": messages(),
    "ai-sdk": ui(),
}
"""By the name of the dialect."""
