"""A client of each dialect: validating, written from the dialect's specification and not from its encoder.

They concatenate as the naive clients of the documentation do, know nothing of merging, resuming or positions, and raise `Illegal`
for a stream that a strict client would not take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.testing.readings.ai_sdk import read_ai_sdk, whole_ai_sdk
from penstock.testing.readings.anthropic import read_anthropic, whole_anthropic
from penstock.testing.readings.native import read_native, whole_native
from penstock.testing.readings.openai_chat import read_openai_chat, whole_openai_chat
from penstock.testing.readings.openai_completions import read_openai_completions, whole_openai_completions
from penstock.testing.readings.openai_responses import read_openai_responses, whole_openai_responses
from penstock.testing.readings.plain import read_plain, whole_plain
from penstock.testing.readings.reading import Illegal, Part, Read, Reading, read_events
from penstock.testing.readings.token_done import read_token_done, whole_token_done

READERS: dict[str, Read] = {
    "native": read_native,
    "openai-chat": read_openai_chat,
    "openai-responses": read_openai_responses,
    "openai-completions": read_openai_completions,
    "token-done": read_token_done,
    "plain": read_plain,
    "ai-sdk": read_ai_sdk,
    "anthropic": read_anthropic,
}
"""The client of each dialect of ours: what it makes of a stream."""

WHOLE: dict[str, Callable[[Any], str]] = {
    "native": whole_native,
    "openai-chat": whole_openai_chat,
    "openai-responses": whole_openai_responses,
    "openai-completions": whole_openai_completions,
    "token-done": whole_token_done,
    "plain": whole_plain,
    "ai-sdk": whole_ai_sdk,
    "anthropic": whole_anthropic,
}
"""And the words it finds in an answer that was not streamed, of choice 0."""

__all__ = ["READERS", "WHOLE", "Illegal", "Part", "Read", "Reading", "read_events"]
