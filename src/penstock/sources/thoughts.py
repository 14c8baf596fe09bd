"""Signed thoughts on their way back to the provider that signed them, whatever protocol their client speaks.

A client of one protocol that is answered by a provider of another is given signed thoughts in its own words, and hands them back
in these. The signature tells whose they are: OpenAI's ciphers are Fernet tokens, behind an id where penstock gave them out
(`responses_items.signature_of`); all others are Anthropic's. To any other provider a signature says nothing: it is given the
thought as `reasoning_content`, and nothing of one that is a cipher alone. Signatures of tool calls, which are Gemini's, stay with
providers of OpenAI chat other than OpenAI itself.
"""

from __future__ import annotations

import msgspec

from penstock.core.carried import box, boxed
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.core.signed_call import AGAIN
from penstock.sources.translation import Object, object_of, parts_of

_OPENAI = ("rs_", "gAAAA")
_OF_ITEMS = frozenset({"id", "summary", "content", "encrypted_content", "status"})


def own_thoughts(request: ChatRequest, speaks: str, left_out: list[str]) -> ChatRequest:
    """The request, with thoughts that a provider which speaks `speaks` has signed in boxes of its own, and others without
    their signatures, whose names are added to `left_out`."""
    return msgspec.structs.replace(
        request, messages=tuple(_message(each, speaks, left_out) for each in request.messages)
    )


def unsigned_calls(request: ChatRequest, left_out: list[str]) -> ChatRequest:
    """The request without what the makers of tool calls want to see again with them, for whom that is an unknown member."""
    if not any(AGAIN in call for message in request.messages for call in _calls(message)):
        return request
    left_out.append(f"tool_calls.{AGAIN}")
    return msgspec.structs.replace(
        request,
        messages=tuple(
            {**message, "tool_calls": [{n: v for n, v in call.items() if n != AGAIN} for call in calls]}
            if (calls := _calls(message))
            else message
            for message in request.messages
        ),
    )


def _calls(message: Message) -> list[Object]:
    return [object_of(call) for call in parts_of(message.get("tool_calls"))]


def _message(message: Message, speaks: str, left_out: list[str]) -> Message:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return message
    if all(boxed(part) in (None, speaks) for part in content):
        return message
    parts: list[Json] = []
    told = [message["reasoning_content"]] if message.get("reasoning_content") else []
    for part in content:
        if (name := boxed(part)) in (None, speaks):
            parts.append(part)
            continue
        thought = object_of(object_of(part)[name or ""])
        text, signature, sealed = _thought(thought)
        if sealed is None:
            parts.append(part)
        elif signature and speaks == _signer(signature):
            parts.append(_own(speaks, text, signature))
        else:
            told += [text] if text else []
            left_out += [name for name in sealed if name not in left_out]
    changed: Message = {**message, "content": parts or None}
    return {**changed, "reasoning_content": "\n\n".join(map(str, told))} if told else changed


def _thought(value: Object) -> tuple[str, str, tuple[str, ...] | None]:
    """Text and signature of a thought, and what of it only its signer can read; None for what is no thought, and for one
    that is not as its protocol has it."""
    match value:
        case {"type": "thinking", "thinking": str(text), "signature": str(signature), **rest} if not rest:
            return text, signature, ("thinking.signature",)
        case {"type": "redacted_thinking", "data": str(), **rest} if not rest:
            return "", "", ("redacted_thinking.data",)
        case {"type": "reasoning", **rest} if not rest.keys() - _OF_ITEMS:
            told = (*parts_of(rest.get("summary")), *parts_of(rest.get("content")))
            said = "\n\n".join(str(object_of(one).get("text")) for one in told)
            cipher = rest.get("encrypted_content") or ""
            if isinstance(cipher, str) and (cipher or said):
                return said, cipher, ("reasoning.encrypted_content", "reasoning.id")
    return "", "", None


def _signer(signature: str) -> str:
    """The protocol of the provider that signed."""
    return "openai-responses" if signature.startswith(_OPENAI) else "anthropic"


def _own(speaks: str, text: str, signature: str) -> Json:
    if speaks == "anthropic":
        return box(speaks, {"type": "thinking", "thinking": text, "signature": signature})
    summary: list[Json] = [{"type": "summary_text", "text": text}] if text else []
    return box(speaks, {"type": "reasoning", "summary": summary, "encrypted_content": signature})
