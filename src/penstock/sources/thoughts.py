"""Signed thoughts on their way back to the provider that signed them, whatever protocol their client speaks.

A client of one protocol that is answered by a provider of another is given signed thoughts in its own words, and hands them back
in these. The signature tells whose they are: OpenAI's ciphers are Fernet tokens, behind an id where penstock gave them out
(`responses_items.signature_of`); all others are Anthropic's.
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import box, boxed
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.translation import object_of, parts_of

_OPENAI = ("rs_", "gAAAA")


def own_thoughts(request: ChatRequest, speaks: str) -> ChatRequest:
    """The request, with thoughts that a provider which speaks `speaks` has signed in boxes of its own."""
    return msgspec.structs.replace(request, messages=tuple(_message(each, speaks) for each in request.messages))


def _message(message: Message, speaks: str) -> Message:
    content = message.get("content")
    if not isinstance(content, list) or all(boxed(part) in (None, speaks) for part in content):
        return message
    return {**message, "content": [_part(part, speaks) for part in content]}


def _part(part: Json, speaks: str) -> Json:
    name = boxed(part)
    thought = object_of(object_of(part).get(name or ""))
    text: Json
    match name, thought.get("type"):
        case "anthropic", "thinking":
            text, signature = thought.get("thinking"), thought.get("signature")
        case "openai-responses", "reasoning":
            summaries = (object_of(one).get("text") for one in parts_of(thought.get("summary")))
            text, signature = "\n\n".join(map(str, summaries)), thought.get("encrypted_content")
        case _:
            return part
    if not isinstance(text, str) or not isinstance(signature, str):
        return part
    if speaks == "anthropic" and not signature.startswith(_OPENAI):
        return box(speaks, {"type": "thinking", "thinking": text, "signature": signature})
    if speaks == "openai-responses" and signature.startswith(_OPENAI):
        summary: list[Json] = [{"type": "summary_text", "text": text}] if text else []
        return box(speaks, {"type": "reasoning", "summary": summary, "encrypted_content": signature})
    return part
