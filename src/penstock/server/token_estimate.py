"""How many tokens a question may have, by its length alone: for models whose tokenizer is out of reach.

A token of English has about four letters, and a letter beyond Latin is counted as one. It is for budgets, not for bills.
"""

from __future__ import annotations

import math

from penstock.core.events import Json

MESSAGE = 4
"""Tokens that frame each message."""
PICTURE = 1_600
"""Tokens of an image or a page that cannot be looked into: those of a large one."""

_PICTURES = ("image", "image_url", "base64", "input_image")
_SILENT = frozenset(
    {"type", "role", "id", "call_id", "tool_use_id", "cache_control", "media_type", "signature", "status", "detail"}
)
"""Members that no model reads as words."""


def estimate(fields: dict[str, Json]) -> int:
    """The tokens of a request in the shape of Anthropic or OpenAI: its system prompt, tools, and messages or items."""
    asked = [fields.get("messages"), fields.get("input")]
    framing = MESSAGE * sum(len(each) for each in asked if isinstance(each, list))
    said = _weight([fields.get("system"), fields.get("instructions"), *asked])
    return framing + math.ceil(said + _weight(fields.get("tools"), names=True))


def _weight(value: Json, *, names: bool = False) -> float:
    """The tokens of every text within; with `names`, of the names of members too, as a schema's are read."""
    total = 0.0
    waiting: list[Json] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            total += _words(each)
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            if each.get("type") in _PICTURES:
                total += PICTURE
            else:
                waiting += (inner for name, inner in each.items() if name not in _SILENT)
                total += sum(map(_words, each)) if names else 0
        elif each is not None:
            total += 1
    return total


def _words(text: str) -> float:
    return len(text) / 4 if text.isascii() else sum(0.25 if letter < "\u0250" else 1.0 for letter in text)
