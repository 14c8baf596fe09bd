"""Anthropic's Messages API, and any server that speaks it: what it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from penstock.core.request import ChatRequest
from penstock.sources import anthropic_request
from penstock.sources.anthropic_answer import Answer
from penstock.sources.parser import Parser
from penstock.sources.provider import EVENT_STREAM, HttpProvider, Question
from penstock.sources.sse_splitter import SseSplitter

VERSION = "2023-06-01"
"""The only version of the API since then; new things come by `anthropic-beta`."""


class AnthropicMessages:
    """`POST /v1/messages`, which `penstock.sources.anthropic_request` translates into."""

    path = "/v1/messages"
    root = ""
    media_type = EVENT_STREAM
    calls: Mapping[str, str] = {"count_tokens": "/v1/messages/count_tokens"}
    features: Mapping[str, bool] = {"audio": False, "embeddings": False}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        return {"x-api-key": api_key}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        """The version, and the betas the client asked for."""
        asked = request.headers
        betas = asked.get("anthropic-beta")
        return {
            "anthropic-version": asked.get("anthropic-version") or VERSION,
            **({"anthropic-beta": betas} if betas else {}),
        }

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        return anthropic_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> Parser[Answer]:
        return Parser(Answer(host, secret=secret), SseSplitter)


AnthropicProvider = partial(HttpProvider, AnthropicMessages())
"""One server that speaks the Messages API, and one key. `base_url` ends where `/v1/messages` begins, as the clients of Anthropic have it;
a `/v1` at its end is the same."""
