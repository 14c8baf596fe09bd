"""Ids of tool calls that carry what the provider wants to see again with the call.

Gemini signs its calls, and models that think refuse a result whose call comes back without the signature. OpenAI chat and `useChat`
have a place for it beside the call; in the protocols that have none only the id is sure to come back, with the call as with its
result. So the signature stands there, behind a mark, in letters that an id may have everywhere; a dialect takes it off again.
"""

from __future__ import annotations

import base64
import binascii

from penstock.core.events import Json

MARK = "__signed_"
AGAIN = "extra_content"
"""The member of a tool call in OpenAI chat, and of `Opened.meta`, in which the signature stands."""


def signed_id(plain: str, meta: dict[str, Json] | None) -> str:
    """The id of a call, with its signature where it was opened with one."""
    match meta:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}} if _base64(signature):
            # Behind the first mark all is the signature's, which may spell a mark itself.
            return plain if MARK in plain else f"{plain}{MARK}{signature.translate(_SAFE).rstrip('=')}"
    return plain


def unsigned(told: str) -> tuple[str, dict[str, Json]]:
    """The id itself, and the member of a tool call that holds its signature; none for an id that has none."""
    plain, mark, safe = told.partition(MARK)
    signature = safe.translate(_PLAIN) + "=" * (-len(safe) % 4)
    if not mark or not plain or not _base64(signature):
        return told, {}
    return plain, {AGAIN: {"google": {"thought_signature": signature}}}


_SAFE = str.maketrans("+/", "-_")
_PLAIN = str.maketrans("-_+/", "+/!!")  # what no signature is written with here stays what it is: no base64


def _base64(text: str) -> bool:
    """Whether this is base64 as it is written by everybody: then, and only then, it can be written in another way and back."""
    try:
        return bool(text) and base64.b64encode(binascii.a2b_base64(text, strict_mode=True)).decode() == text
    except ValueError:
        return False
