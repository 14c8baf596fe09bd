"""Any server that speaks OpenAI's chat completions: what it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from penstock.core.carried import BOXES
from penstock.core.request import ChatRequest, Message
from penstock.sources.foreign import readable
from penstock.sources.openai_answer import Answer
from penstock.sources.parser import Parser
from penstock.sources.provider import EVENT_STREAM, HttpProvider, Question
from penstock.sources.sse_splitter import SseSplitter
from penstock.sources.translation import OPENAI, without_hints


class OpenAIChat:
    """`POST /chat/completions`. The canonical request has this very shape, so it goes out as it is."""

    path = "/chat/completions"
    root = "/v1"
    media_type = EVENT_STREAM
    calls: Mapping[str, str] = {"embeddings": "/embeddings"}
    features: Mapping[str, bool] = {}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        return {}

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        """The client's parameters as they are, always streamed, always with usage; of another protocol's, without its hints."""
        request, left_out = readable(request, "openai-chat", host)
        params, messages = request.params, request.messages
        if request.dialect:
            params = without_hints(params, left_out)
            messages = tuple(_plain(message, left_out) for message in messages)
            if host == OPENAI and "max_tokens" in params:  # which its models that reason refuse
                params["max_completion_tokens"] = params.pop("max_tokens")
        options = params.get("stream_options")
        return Question(
            msgspec.json.encode(
                {
                    **params,
                    "model": model,
                    "messages": messages,
                    "stream": True,
                    "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
                }
            ),
            left_out=tuple(left_out),
        )

    def parser(self, host: str, *, secret: str | None) -> Parser[Answer]:
        return Parser(Answer(host, secret=secret), SseSplitter)


def _plain(message: Message, left_out: list[str]) -> Message:
    """A message without the hints of another protocol, and without what only that protocol has a place for: that a result is
    an error, and where among the words a call was made."""
    plain = without_hints(message, left_out)
    if plain.pop("is_error", None) and "is_error" not in left_out:
        left_out.append("is_error")
    calls = plain.get("tool_calls")
    if isinstance(calls, list):
        plain["tool_calls"] = [
            {name: value for name, value in call.items() if name not in BOXES} if isinstance(call, dict) else call
            for call in calls
        ]
    return plain


OpenAIProvider = partial(HttpProvider, OpenAIChat())
"""One OpenAI-compatible server and one key. `base_url` ends where `/chat/completions` begins; without a path it gets `/v1`."""
